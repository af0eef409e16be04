"""How evenly hosts share inputs of skewed sizes, under each way of sharing.

First the plan's simulation of both ways, which knows sizes alone; then the largest share that
`balanced` really deals out, by the engine's own splits, for every number of hosts from 2 to 100.
"""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from benchmarks.results import Section, Setting, Table, Target, main
from embed_job.fleet.shares import lpt_shares
from embed_job.source import Compression, Format, SourceFile
from embed_job.source.plan import plan_splits
from embed_job.spec import InputSpec
from embed_job.storage.local import LocalStore
from launcher.planning.listing import code_of
from launcher.planning.sharing import Shares, cut, simulate

GIB = 1 << 30
HOSTS = (4, 20, 100)
SHOWN = (2, 10, 50, 100)
GOAL = 1.05
TOTAL_BYTES = 64 * GIB
SMALL_BYTES = 4 * GIB
REAL = "files of installed packages"
Sizes = npt.NDArray[np.int64]


def corpora(objects: int, rng: np.random.Generator) -> dict[str, Sizes]:
    """Sizes in bytes, 64 GiB in all."""
    shapes = {
        "equal": np.ones(objects),
        "lognormal, sigma 1": rng.lognormal(0, 1, objects),
        "lognormal, sigma 2": rng.lognormal(0, 2, objects),
        "Zipf, exponent 1": 1 / rng.permutation(np.arange(1, objects + 1)),
        "one object of half the bytes": np.r_[np.ones(objects - 1), objects - 1.0],
        "as many objects as hosts (100)": rng.lognormal(0, 1, 100),
        REAL: rng.choice(installed_sizes(), objects),
    }
    return {name: scaled(shape, TOTAL_BYTES) for name, shape in shapes.items()}


def scaled(shape: npt.NDArray[np.float64], total: int) -> Sizes:
    """Sizes of this shape, so many bytes in all."""
    sizes: Sizes = np.maximum(1, shape / shape.sum() * total).astype(np.int64)
    return sizes


def installed_sizes() -> npt.NDArray[np.float64]:
    """Bytes of the files that the installed packages have: from empty ones to hundreds of MB."""
    return np.array(
        [size for size in _sizes_below(sysconfig.get_paths()["purelib"]) if size], float
    )


def _sizes_below(folder: str) -> Iterator[int]:
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            yield from _sizes_below(entry.path)
        elif entry.is_file(follow_symlinks=False):
            yield entry.stat().st_size


def simulated(sizes: Sizes, hosts: int) -> tuple[Shares, Shares]:
    """JSONL files of these sizes: sharded, balanced."""
    made = cut(sizes, np.full(len(sizes), code_of("a.jsonl"), np.uint8), split_mib=None)
    return (
        simulate(made, sizes, "sharded_by_s3_key", hosts=hosts, workers=16),
        simulate(made, sizes, "balanced", hosts=hosts, workers=16),
    )


def split_sizes(sizes: Sizes) -> Sizes:
    """Bytes of every split that the engine makes of JSONL files of these sizes."""
    files = [
        SourceFile(
            f"s3://bucket/{number}", f"{number}.jsonl", size, "etag:0", Format.JSONL,
            Compression.NONE,
        )
        for number, size in enumerate(sizes.tolist())
    ]  # fmt: skip
    # Nothing is read: JSONL is cut by sizes alone.
    splits = plan_splits(LocalStore(), files, InputSpec(uri="s3://bucket/"))
    return np.array([split.bytes for split in splits], np.int64)


def largest_share(splits: Sizes, hosts: int) -> float:
    """The bytes of the host that has most, relative to the mean."""
    loads = np.bincount(lpt_shares(splits, hosts), weights=splits, minlength=hosts)
    return float(loads.max() / loads.mean())


def measure(setting: Setting) -> Section:
    """Every corpus on every number of hosts."""
    objects = setting.pick(ci=1_000, full=10_000)
    hosts = range(2, 101, setting.pick(ci=14, full=1))
    sizes = corpora(objects, np.random.default_rng(0))
    by_plan, makespans, data = _by_plan(sizes)
    splits = {name: split_sizes(found) for name, found in sizes.items()}
    small = scaled(sizes[REAL].astype(float), SMALL_BYTES)
    splits[f"{REAL}, {SMALL_BYTES // GIB} GiB"] = split_sizes(small)
    shares = {
        name: {count: largest_share(found, count) for count in hosts}
        for name, found in splits.items()
    }
    worst = max(share for found in shares.values() for share in found.values())
    uncut = largest_share(sizes[REAL], max(hosts))
    return Section(
        title="How evenly hosts share skewed inputs",
        tables=[by_plan, _by_engine(shares)],
        targets=[
            Target(
                "balanced, makespan of the plan, worst of all",
                "≤ 1.10",
                f"{max(makespans):.2f}",
                max(makespans) <= 1.10,
            ),
            Target(
                f"balanced, largest share, {len(hosts)} numbers of hosts from 2 to 100",
                f"≤ {GOAL} of the mean",
                f"{worst:.4f}",
                worst <= GOAL,
            ),
        ],
        notes=[
            f"{objects:,} JSONL objects, 64 GiB in all. First table: the busiest host's part "
            "relative to a perfect share, 16 workers a host; 2.00 takes twice as long. Sharded: "
            "the median over six orders of the objects, least and most in brackets. Second "
            "table: bytes of the host that has most, relative to the mean, before anybody relieves "
            "anybody. It can't hold where one split is larger than the mean share, as a .gz may be "
            f"(the files of installed packages, all of them uncut: {uncut:.2f} on {max(hosts)} "
            "hosts), nor where hosts get a handful of splits each: the largest share is the mean "
            "and one split at most."
        ],
        data=data | {"largest share": shares},
    )


def _by_plan(
    corpora: dict[str, Sizes],
) -> tuple[Table, list[float], dict[str, dict[str, float]]]:
    rows, balanced_of = [], []
    data: dict[str, dict[str, float]] = {}
    for name, sizes in corpora.items():
        row = [name]
        for hosts in HOSTS:
            sharded, balanced = simulated(sizes, hosts)
            spread = f"{sharded.makespan:.2f} ({sharded.lowest:.2f}–{sharded.highest:.2f})"
            row += [spread, f"{balanced.makespan:.2f}"]
            balanced_of.append(balanced.makespan)
            data[f"{name}, {hosts} hosts"] = {
                "sharded": sharded.makespan,
                "balanced": balanced.makespan,
            }
        rows.append(tuple(row))
    headers = [f"{hosts} hosts, {way}" for hosts in HOSTS for way in ("sharded", "balanced")]
    return Table(("sizes of objects", *headers), rows), balanced_of, data


def _by_engine(shares: dict[str, dict[int, float]]) -> Table:
    shown = sorted(
        {min(found, key=lambda has: abs(has - n)) for n in SHOWN for found in shares.values()}
    )
    rows = [
        (
            name,
            *(f"{found[count]:.4f}" for count in shown),
            f"{max(found.values()):.4f} ({max(found, key=found.__getitem__)} hosts)",
        )
        for name, found in shares.items()
    ]
    headers = [f"{count} hosts" for count in shown]
    return Table(("sizes of objects", *headers, "worst of 2 to 100"), rows)


if __name__ == "__main__":
    main(measure, __doc__)
