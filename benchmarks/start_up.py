"""From the start of the process to the first vector, with the default bundle.

``--profile`` prints what the imports of parent and worker take instead.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.corpus import write_short
from benchmarks.job import Job
from benchmarks.model import model_bundle
from benchmarks.process import manifests, take
from benchmarks.results import ROOT, Section, Setting, Table, Target, main, median_and_range

GOAL_S = 3.0
DOCUMENTS = 8
ROUNDS = 5
_SHOWN_IMPORTS = 20


@dataclass(frozen=True, slots=True)
class Start:
    """Seconds since the process was started, but cpu_s: processor seconds of the whole run, parent
    and workers. begun: the program is imported and the spec read. handed_out: listed, bundle
    verified, output claimed, model loaded and golden texts embedded in the first worker. vector:
    the first texts are embedded. part: their part file is committed. ended: report and exit."""

    begun: float
    handed_out: float
    vector: float
    part: float
    ended: float
    cpu_s: float


def start(job: Job, *, cold: bool) -> Start:
    """One run of a few documents in one split. cold: the bundle's files are not in memory."""
    if cold:
        _drop_from_memory(job.bundle)
    taken = take(job)
    (manifest,) = manifests(job)
    stages = manifest["stages_s"]
    handed_out = manifest["started_at"] - taken.began_s
    return Start(
        begun=taken.report["started_at"] - taken.began_s,
        handed_out=handed_out,
        vector=handed_out + stages["read"] + stages["tokenize"] + stages["embed"],
        part=manifest["finished_at"] - taken.began_s,
        ended=taken.wall_s,
        cpu_s=taken.cpu_s,
    )


def _drop_from_memory(folder: Path) -> None:
    """Ask the kernel to forget a folder's files; what others hold mapped stays."""
    for path in folder.iterdir():
        with path.open("rb") as stream:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure(setting: Setting) -> Section:
    """Every case in turn, five times."""
    bundle = model_bundle(setting.work)
    source = setting.work / "start.jsonl"
    write_short(source, documents=DOCUMENTS)
    cases: dict[str, tuple[dict[str, object], bool]] = {
        "1 worker": ({"execution.workers": 1}, False),
        "workers: auto": ({"execution.workers": "auto"}, False),
        "1 worker, bundle not in memory": ({"execution.workers": 1}, True),
    }
    found: dict[str, list[Start]] = {name: [] for name in cases}
    for _ in range(setting.pick(ci=1, full=ROUNDS)):
        for name, (options, cold) in cases.items():
            job = Job(setting.work, "start", source, bundle, ("text",), (), options)
            found[name].append(start(job, cold=cold))
    middle = statistics.median(one.vector for one in found["1 worker"])
    headers = (
        "", "imports, spec", "model loaded and checked", "first vector", "first part committed",
        "process ended", "processor seconds in all",
    )  # fmt: skip
    return Section(
        title="Start-up",
        tables=[Table(headers, [_row(name, starts) for name, starts in found.items()])],
        targets=[
            Target("process start to first vector", f"≤ {GOAL_S:g} s", f"{middle:.2f} s",
                   middle <= GOAL_S),
        ],
        notes=[
            f"Seconds since the process was started, {len(found['1 worker'])} interleaved rounds, "
            f"median and range; {DOCUMENTS} short documents. Between imports and model lie the "
            "listing, the sha256 of every file of the bundle "
            f"({_bytes_of(bundle) / 1e6:.0f} MB), the claim of the output, the worker's own "
            "imports and the golden texts. Not in memory: the kernel was asked to drop the "
            "bundle's files before each run."
        ],
        data={name: [_as_dict(one) for one in starts] for name, starts in found.items()},
    )  # fmt: skip


def _row(name: str, starts: Sequence[Start]) -> tuple[str, ...]:
    columns = zip(*(_as_dict(one).values() for one in starts), strict=True)
    return (name, *(median_and_range(column, digits=2) for column in columns))


def _as_dict(one: Start) -> dict[str, float]:
    return {field: getattr(one, field) for field in Start.__dataclass_fields__}


def _bytes_of(bundle: Path) -> int:
    return sum(path.stat().st_size for path in bundle.iterdir())


def print_profile() -> None:
    """The costliest imports of both sides, by their own time."""
    for name, module in {"parent": "embed_job.run", "worker": "embed_job.workers.toolbox"}.items():
        command = [sys.executable, "-X", "importtime", "-c", f"import {module}"]
        done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
        lines = re.findall(r"import time:\s*(\d+) \|\s*(\d+) \|\s*(\S+)", done.stderr)
        spent = sorted(((int(own), module) for own, _, module in lines), reverse=True)
        print(f"{name}: {sum(own for own, _ in spent) / 1e3:.0f} ms in {len(spent)} modules")
        for own, imported in spent[:_SHOWN_IMPORTS]:
            print(f"  {own / 1e3:6.1f} ms  {imported}")


if __name__ == "__main__":
    if "--profile" in sys.argv:
        print_profile()
    else:
        main(measure, __doc__)
