"""The tables of ten million rows that earlier runs have embedded: built, and asked.

Ledgers of the real format, with random hashes; no vectors are read.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from benchmarks.results import ROOT, Section, Setting, Table, Target, main, say
from embed_job.machine import peak_rss_bytes
from embed_job.manifest import SplitCounts, SplitManifest, SplitSource, StageTimes
from embed_job.reuse.build import build_lookup
from embed_job.reuse.document_hash import KEY, Keys
from embed_job.reuse.ledger import LedgerWriter, make_entries
from embed_job.reuse.lookup import Lookup
from embed_job.reuse.splits import EarlierSplit
from embed_job.sink import Part
from embed_job.storage.local import LocalStore

ROWS_A_SPLIT = 16_384
ASKED, ASKED_A_SPLIT, BLOCK = 500_000, 4096, 1024
GOAL_BYTES = 10**9
"""The memory that a host of two cores and 4 GB can spare beside its workers."""


def write_ledgers(folder: Path, *, rows: int) -> list[EarlierSplit]:
    """Ledgers of so many documents of one chunk each."""
    folder.mkdir(parents=True)
    splits = []
    for number, start in enumerate(range(0, rows, ROWS_A_SPLIT)):
        count = min(ROWS_A_SPLIT, rows - start)
        writer = LedgerWriter(folder / f"{number}.parquet")
        writer.write(
            make_entries(
                doc=_keys(number, count)["head"].copy(),
                document=_keys(number, count),
                text=pa.array(_keys(number, count)["tail"].copy()),
                content=_keys(number + (1 << 20), count),
                chunk=pa.array(np.zeros(count, np.int32)),
                lost=np.zeros(count, np.int32),
            )
        )
        writer.close()
        splits.append(EarlierSplit(str(folder), _manifest(number, count)))
    return splits


def _keys(seed: int, count: int) -> Keys:
    found = np.random.default_rng(seed).integers(1, 1 << 63, size=(count, 2), dtype=np.uint64)
    return found.view(KEY)[:, 0]


def _manifest(number: int, rows: int) -> SplitManifest:
    return SplitManifest(
        split=f"{number:064x}",
        attempt="0" * 12,
        fingerprint="f",
        source=SplitSource(files=(("f", "v"),), start=0, end=1, bytes=1),
        counts=SplitCounts(),
        parts=(Part(name=f"part-{number}", rows=rows, bytes=1, sha256="0"),),
        ids=None,
        ledger=f"{number}.parquet",
        dead_letters=None,
        worker=0,
        host="",
        started_at=0,
        finished_at=0,
        stages_s=StageTimes(),
        peak_rss_bytes=0,
    )


def build_and_ask(folder: Path, rows: int) -> dict[str, float]:
    """In this process: what building takes, and a question."""
    splits = write_ledgers(folder / "ledgers", rows=rows)
    before = peak_rss_bytes()
    began, cpu = time.perf_counter(), time.process_time()
    built = build_lookup(folder / "lookup", LocalStore(), splits, truncates_at=None)
    build_s, build_cpu_s = time.perf_counter() - began, time.process_time() - cpu
    peak = peak_rss_bytes()
    lookup = Lookup(folder / "lookup")
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, len(splits) - 1, size=min(ASKED, rows) // ASKED_A_SPLIT)
    known = np.concatenate([_keys(int(n), ROWS_A_SPLIT)[:ASKED_A_SPLIT] for n in drawn])
    known = known[rng.permutation(len(known))]
    took = {"known": _ask(lookup, known), "new": _ask(lookup, _keys(1 << 30, len(known)))}
    assert took["known"][1] == len(known), "a known document was not found"
    assert took["new"][1] == 0
    size = sum(path.stat().st_size for path in (folder / "lookup").iterdir())
    return {
        "rows": built.rows,
        "build_s": build_s,
        "build_cpu_s": build_cpu_s,
        "peak_bytes": peak,
        "before_bytes": before,
        "table_bytes": size,
        "asked": len(known),
        "known_us": took["known"][0],
        "new_us": took["new"][0],
        "anonymous_bytes": _anonymous_bytes(),
    }


def _ask(lookup: Lookup, keys: Keys) -> tuple[float, int]:
    """Microseconds of a document, and how many were found."""
    found = 0
    began = time.process_time()
    for start in range(0, len(keys), BLOCK):
        mask: npt.NDArray[np.bool_] = lookup.has_documents(keys[start : start + BLOCK])
        found += int(mask.sum())
    return (time.process_time() - began) / len(keys) * 1e6, found


def _anonymous_bytes() -> int:
    """Resident memory that is not of a file, which the system can't take back."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    return 0


def measure(setting: Setting) -> Section:
    """In a process of its own, so that its peak is the lookup's."""
    rows = setting.pick(ci=200_000, full=10_000_000)
    folder = setting.work / "lookup"
    shutil.rmtree(folder, ignore_errors=True)
    say(f"ledgers of {rows:,} rows")
    command = [sys.executable, "-m", "benchmarks.lookup_scale", "--build", str(folder), str(rows)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    shutil.rmtree(folder)
    peak = found["peak_bytes"]
    return Section(
        title=f"What was embedded before: a lookup over {rows:,} rows",
        tables=[
            Table(
                ("", ""),
                [
                    ("built from the ledgers", f"{found['build_s']:.1f} s"),
                    ("of one core's time", f"{found['build_cpu_s']:.1f} s"),
                    ("peak memory until then (VmHWM)", f"{peak / 1e6:,.0f} MB"),
                    ("of that before it began", f"{found['before_bytes'] / 1e6:,.0f} MB"),
                    ("on the host's disk", f"{found['table_bytes'] / 1e6:,.0f} MB"),
                    ("a document that is known", f"{found['known_us']:.1f} µs"),
                    ("a document that is new", f"{found['new_us']:.1f} µs"),
                    (
                        "memory after the questions, the mapped tables left out (RssAnon)",
                        f"{found['anonymous_bytes'] / 1e6:,.0f} MB",
                    ),
                ],
            )
        ],
        targets=[
            Target("memory", "< 1 GB", f"{peak / 1e9:.2f} GB", peak < GOAL_BYTES),
        ],
        notes=[
            f"Ledgers of {ROWS_A_SPLIT:,} rows on a local disk, read from the file cache; "
            f"questions of {BLOCK:,} documents each, {found['asked']:,} in all."
        ],
        failures=[] if found["rows"] == rows else ["rows are missing from the tables"],
        data=found,
    )


if __name__ == "__main__":
    if "--build" in sys.argv:
        print(json.dumps(build_and_ask(Path(sys.argv[-2]), int(sys.argv[-1]))))
    else:
        main(measure, __doc__)
