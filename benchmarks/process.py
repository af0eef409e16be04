"""``embed-job run`` as a process whose time, processor time and memory are taken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.job import Job
from benchmarks.results import ROOT

_WITH_PEAK = """
import os
from pathlib import Path
from embed_job.machine import peak_rss_bytes
from launcher.cli import main
try:
    main()
finally:
    Path(os.environ["PARENT_PEAK"]).write_text(str(peak_rss_bytes()))
"""
"""The program itself; its peak is written when it ends. rusage would give the largest of its
children."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What a run took. began_s: Unix seconds before its process was started. wall_s: from there to
    its end. cpu_s: user and system seconds of the process and of all its workers. parent_bytes:
    peak resident memory of the process itself, where it was asked for; 0 elsewhere."""

    report: dict[str, Any]
    began_s: float
    wall_s: float
    cpu_s: float
    parent_bytes: int

    @property
    def worker_bytes(self) -> int:
        """Peak resident memory of the largest worker."""
        return int(self.report["peak_rss_bytes"])

    @property
    def documents(self) -> int:
        return int(self.report["counts"]["documents"]["written"])


def take(job: Job, *, parent_peak: bool = False, again: bool = False) -> Taken:
    """Run a job to its end; one that is no success raises with what it said. again: over the output
    of the last run, instead of from nothing."""
    spec = job.folder / "spec.yaml" if again else job.write_spec()
    peak, errors = job.folder / "parent-peak", job.folder / "errors"
    program = ["-c", _WITH_PEAK] if parent_peak else ["-m", "launcher.cli"]
    command = [sys.executable, *program, "run", str(spec), "--quiet"]
    command += ["--report", str(job.folder / "report")]
    for override in job.overrides:
        command += ["--set", override]
    with errors.open("wb") as stream:
        began_s, began = time.time(), time.perf_counter()
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=stream,
            env=os.environ | {"PARENT_PEAK": str(peak)},
        )
        _, status, used = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        said = errors.read_text(encoding="utf-8", errors="replace")[-2000:]
        raise RuntimeError(f"embed-job run ended with {process.returncode}: {said}")
    report = json.loads((job.folder / "report" / "report.json").read_text(encoding="utf-8"))
    parent_bytes = int(peak.read_text(encoding="utf-8")) if parent_peak else 0
    return Taken(report, began_s, wall_s, used.ru_utime + used.ru_stime, parent_bytes)


def manifests(job: Job) -> list[dict[str, Any]]:
    """What a finished job committed."""
    folder: Path = job.folder / "vectors" / "_embed_job" / "manifests"
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.iterdir())]
