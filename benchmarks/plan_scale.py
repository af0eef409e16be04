"""Planning over ten million objects: seconds and peak memory, listing and simulation included.

The pages are made here, as boto3 hands them over, so what S3 takes to answer is not in the figures.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np

from benchmarks.results import ROOT, Section, Setting, Table, Target, main
from embed_job.fleet.order import LISTING_FILE
from embed_job.machine import peak_rss_bytes
from embed_job.spec import JobSpec
from embed_job.storage.s3 import S3Store
from launcher.planning.choices import simulate_ways
from launcher.planning.listing import list_objects

PAGE = 1000
GOAL_S, GOAL_BYTES = 120, 10**9
HOSTS = 20
_MIX = 0x9E3779B97F4A7C15F39CC0605CEDC835
"""Odd, so that ETags differ and compress no better than real ones."""


class Pages:
    """Answers list_objects_v2 with as many objects as wanted, of lognormal sizes."""

    def __init__(self, objects: int) -> None:
        self._objects = objects
        self._rng = np.random.default_rng(0)

    def list_objects_v2(self, *, ContinuationToken: str = "0", **_: Any) -> dict[str, Any]:  # noqa: N803 - boto3's
        """One page; the second page of a folder asks with the token of the first."""
        start = int(ContinuationToken)
        end = min(start + PAGE, self._objects)
        sizes = self._rng.lognormal(12, 2, end - start).astype(np.int64)
        return {
            "Contents": list(self._contents(start, sizes.tolist())),
            "IsTruncated": end < self._objects,
            "NextContinuationToken": str(end),
        }

    def _contents(self, start: int, sizes: list[int]) -> Iterator[dict[str, Any]]:
        for number, size in enumerate(sizes, start):
            ending = "jsonl.gz" if number % 10 == 0 else "jsonl"
            key = f"corpus/year={number % 30 + 1995}/part-{number:09d}.{ending}"
            yield {"Key": key, "Size": size, "ETag": f'"{number * _MIX % 2**128:032x}"'}


class Client(Pages):
    """Pages, for a store that first asks whether the prefix is one object."""

    def list_objects_v2(self, *, MaxKeys: int = PAGE, **request: Any) -> dict[str, Any]:  # noqa: N803 - boto3's
        return {"Contents": []} if MaxKeys == 1 else super().list_objects_v2(**request)


def plan(objects: int) -> dict[str, float]:
    """One listing and both simulations, in this process."""
    spec = JobSpec.model_validate(
        {
            "name": "scale",
            "input": {"uri": "s3://bucket/corpus"},
            "outputs": [{"parquet": {"uri": "s3://bucket/vectors"}}],
            "compute": {"instance_count": HOSTS},
        }
    )
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        store = S3Store(cast(Any, Client(objects)))
        listing = list_objects(store, spec.input.uri, Path(folder))
        listed_s = time.perf_counter() - began
        listing_bytes = (Path(folder) / LISTING_FILE).stat().st_size
    assert listing.objects == listing.files == objects
    ways, splits = simulate_ways(spec, listing)
    return {
        "objects": objects,
        "listed_s": listed_s,
        "wall_s": time.perf_counter() - began,
        "cpu_s": time.process_time(),
        "peak_rss_bytes": peak_rss_bytes(),
        "listing_bytes": listing_bytes,
        "splits": splits,
        **{f"makespan {way}": shares.makespan for (way, _), shares in ways.items()},
    }


def measure(setting: Setting) -> Section:
    """In a process of its own, so that its peak is the plan's."""
    objects = setting.pick(ci=200_000, full=10_000_000)
    command = [sys.executable, "-m", "benchmarks.plan_scale", "--plan", str(objects)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    wall_s, peak = found["wall_s"], found["peak_rss_bytes"]
    return Section(
        title=f"Planning over {objects:,} objects",
        tables=[
            Table(
                ("", ""),
                [
                    ("listed and written to listing.parquet", f"{found['listed_s']:.1f} s"),
                    ("both ways of sharing simulated as well", f"{wall_s:.1f} s"),
                    ("of one core's time, start-up included", f"{found['cpu_s']:.1f} s"),
                    ("peak memory (VmHWM)", f"{peak / 1e6:,.0f} MB"),
                    ("listing.parquet", f"{found['listing_bytes'] / 1e6:,.0f} MB"),
                    ("splits", f"{found['splits']:,.0f}"),
                ],
            )
        ],
        targets=[
            Target("time", f"< {GOAL_S} s", f"{wall_s:.1f} s", wall_s < GOAL_S),
            Target("memory", "< 1 GB", f"{peak / 1e9:.2f} GB", peak < GOAL_BYTES),
        ],
        notes=[
            "Pages are made in memory; S3 itself answers some 10,000 requests for ten million "
            "objects, one after the other."
        ],
        failures=[] if found["splits"] > objects else ["fewer splits than objects"],
        data=found,
    )


if __name__ == "__main__":
    if "--plan" in sys.argv:
        print(json.dumps(plan(int(sys.argv[-1]))))
    else:
        main(measure, __doc__)
