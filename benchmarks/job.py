"""``embed-job run`` as its users start it: a process of its own, a spec, a report."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from benchmarks.results import ROOT

Vectors = dict[str, npt.NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Job:
    """A run that always starts from nothing. name: folder below work. options: dotted keys of the
    spec, as for --set."""

    work: Path
    name: str
    source: Path
    bundle: Path
    fields: tuple[str, ...] = ("title", "body")
    metadata: tuple[str, ...] = ("module",)
    options: Mapping[str, object] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return self.work / self.name

    @property
    def overrides(self) -> list[str]:
        """The options as --set takes them; values in JSON, as YAML reads a bare null as nothing."""
        return [f"{key}={json.dumps(value)}" for key, value in self.options.items()]

    def spec(self) -> dict[str, Any]:
        """The spec without the options."""
        return {
            "name": "bench",
            "input": {
                "uri": str(self.source),
                "fields": {"id": "id", "text": list(self.fields), "metadata": list(self.metadata)},
            },
            "model": {"bundle": str(self.bundle)},
            "outputs": [{"parquet": {"uri": str(self.folder / "vectors")}}],
        }

    def write_spec(self) -> Path:
        """The spec's file, in a folder that is made anew."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        path = self.folder / "spec.yaml"
        path.write_text(json.dumps(self.spec()), encoding="utf-8")  # JSON is YAML
        return path


@dataclass(frozen=True, slots=True)
class Ran:
    """report: report.json. process_s: from the process's start to its end, imports included."""

    report: dict[str, Any]
    process_s: float

    @property
    def steady_s(self) -> float:
        """Seconds less those until the model was loaded."""
        return float(self.report["wall_s"] - self.report["load_s"])

    @property
    def tokens(self) -> int:
        return int(self.report["counts"]["tokens"])

    @property
    def documents(self) -> int:
        return int(self.report["counts"]["documents"]["written"])


def run_job(job: Job) -> Ran:
    """Run to the end; a job that is no success raises with what it said."""
    spec = job.write_spec()
    command = [sys.executable, "-m", "launcher.cli", "run", str(spec), "--quiet"]
    command += ["--report", str(job.folder / "report")]
    for override in job.overrides:
        command += ["--set", override]
    began = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    process_s = time.perf_counter() - began
    if done.returncode != 0:
        raise RuntimeError(f"embed-job run ended with {done.returncode}: {done.stderr[-2000:]}")
    report = json.loads((job.folder / "report" / "report.json").read_text(encoding="utf-8"))
    return Ran(report, process_s)


def read_rows(folder: Path, columns: list[str]) -> list[dict[str, Any]]:
    """Rows of a finished output."""
    rows: list[dict[str, Any]] = []
    for path in sorted(folder.glob("part-*.parquet")):
        rows += pq.read_table(path, columns=columns).to_pylist()
    return rows


def read_vectors(paths: list[Path]) -> Vectors:
    """Vectors of Parquet files by id, float32 [dimension]."""
    found: Vectors = {}
    for path in paths:
        table = pq.read_table(path, columns=["id", "vector"])
        column = table.column("vector").combine_chunks()
        flat = column.flatten().to_numpy(zero_copy_only=False).reshape(len(table), -1)
        found |= zip(table.column("id").to_pylist(), flat, strict=True)
    return found


def output_vectors(job: Job) -> Vectors:
    """Vectors that a finished job wrote."""
    return read_vectors(sorted((job.folder / "vectors").glob("part-*.parquet")))


def cosines(left: Vectors, right: Vectors) -> npt.NDArray[np.float64]:
    """Cosine by id; both must hold the same ids."""
    if left.keys() != right.keys():
        raise RuntimeError(f"ids differ: {len(left.keys() ^ right.keys())} are on one side only")
    a = np.array([left[name] for name in left], np.float64)
    b = np.array([right[name] for name in left], np.float64)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.asarray((a * b).sum(axis=1) / norms)
