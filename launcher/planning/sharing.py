"""How evenly hosts would share an input, under each way of sharing; by bytes, simulated.

The makespan is the busiest host's part relative to a perfect share: 1.0 is perfect, 2.0 takes
twice as long. See ``docs/plan.md``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from embed_job.fleet.shares import lpt_shares
from embed_job.source import Compression, Format
from embed_job.source.bundles import BUNDLE_CUTS, MANY_FILES, SMALL_FILE_BYTES
from embed_job.source.sizes import MAX_SPLIT_BYTES, MIB, MIN_SPLIT_BYTES, SPLITS_PER_SMALL_FILE
from launcher.planning.listing import KINDS

Way = Literal["sharded_by_s3_key", "balanced"]
Sizes = npt.NDArray[np.int64]

SHUFFLES = 5
SINGLED_OUT = 200_000
"""The largest splits are shared out one by one; what is left is poured over the hosts, which is
off by one of the smaller splits at most."""

_TEXT = [code for code, kind in enumerate(KINDS) if kind and kind[0] is Format.TEXT]
_WHOLE = [code for code, kind in enumerate(KINDS) if kind and kind[1] is not Compression.NONE]


@dataclass(frozen=True, slots=True)
class Shares:
    """One way of sharing. makespan: relative to perfect; of sharded_by_s3_key, whose order is
    arbitrary, the median over some orders, and lowest, highest of them. busiest_bytes: what the
    busiest host embeds. copied_bytes: what the fullest volume receives before the start. splits:
    fewest and most of a host. idle: hosts without anything to embed. held_up: whether a split that
    can't be cut is what the makespan waits for."""

    way: Way
    hosts: int
    makespan: float
    lowest: float
    highest: float
    busiest_bytes: int
    copied_bytes: int
    splits: tuple[int, int]
    idle: int
    held_up: bool


@dataclass(frozen=True, slots=True)
class Cut:
    """An input cut into splits. counts: splits of each object, fractions for what is bundled.
    sizes: bytes of a split of it. largest: bytes of the largest split."""

    weights: Sizes
    counts: npt.NDArray[np.float32]
    sizes: Sizes
    largest: int

    @property
    def splits(self) -> int:
        return int(np.ceil(self.counts.sum(dtype=np.float64) - 1e-6))


def cut(weights: Sizes, codes: npt.NDArray[np.uint8], *, split_mib: float | None) -> Cut:
    """Cut objects as :func:`embed_job.source.plan.plan_splits` does, by their sizes alone.

    Row groups are not known here: Parquet is taken to be cut at any byte.
    """
    if split_mib is not None:
        sizes = np.full(len(weights), max(1, round(split_mib * MIB)), np.int64)
    else:
        sizes = -(-weights // SPLITS_PER_SMALL_FILE)
        np.clip(sizes, MIN_SPLIT_BYTES, MAX_SPLIT_BYTES, out=sizes)
    np.minimum(sizes, weights, out=sizes)
    whole, bundled = np.isin(codes, _WHOLE), np.zeros(len(weights), np.bool_)
    sizes[whole] = weights[whole]
    for chosen in _bundled_together(weights, codes):
        bundled |= chosen
        total = int(weights[chosen].sum())
        # As bundles are made: a power of two, and most of them end by a hash long before.
        full = split_mib * MIB if split_mib is not None else _bundle_bytes(total)
        sizes[chosen] = np.maximum(weights[chosen], max(1, min(total, int(full / BUNDLE_CUTS))))
    counts = np.zeros(len(weights), np.float32)
    cuttable = (weights > 0) & ~bundled
    counts[cuttable] = -(-weights[cuttable] // sizes[cuttable])
    counts[bundled] = weights[bundled] / sizes[bundled]
    return Cut(weights, counts, sizes, int(sizes[weights > 0].max(initial=0)))


def _bundled_together(
    weights: Sizes, codes: npt.NDArray[np.uint8]
) -> Iterator[npt.NDArray[np.bool_]]:
    """Which objects share bundles, as :func:`embed_job.source.bundles.bundle_kind` has it."""
    text = (weights > 0) & np.isin(codes, _TEXT)
    if text.any():
        yield text
    small = (weights > 0) & (weights < SMALL_FILE_BYTES)
    for code, kind in enumerate(KINDS):
        if kind is None or kind[0] in (Format.TEXT, Format.PARQUET):
            continue
        chosen = small & (codes == code)
        if chosen.sum() >= MANY_FILES:
            yield chosen


def _bundle_bytes(total: int) -> int:
    share = min(MAX_SPLIT_BYTES, max(MIN_SPLIT_BYTES, -(-total // SPLITS_PER_SMALL_FILE)))
    return 1 << (share.bit_length() - 1)


def simulate(
    made: Cut, stored: Sizes, way: Way, *, hosts: int, workers: int | None, seed: int = 0
) -> Shares:
    """Share an input out.

    stored: bytes of each object, those without documents included, for they are copied too.
    workers: processes of a host, where known: a split too large to cut keeps one of them busy
    alone, and the job waits for it.
    """
    if way == "balanced":
        return _balanced(made, hosts, workers)
    return _sharded(made, stored, hosts, workers, seed)


def _sharded(made: Cut, stored: Sizes, hosts: int, workers: int | None, seed: int) -> Shares:
    """As many objects for each host, in the order of the keys and in some arbitrary ones."""
    rng = np.random.default_rng(seed)
    orders: list[npt.NDArray[np.int64] | slice] = [slice(None)]
    # One shuffle says as much as five where there are millions.
    orders += [rng.permutation(len(stored)) for _ in range(SHUFFLES if len(stored) < 1e6 else 1)]
    spans, busiest, copied, idle, splits = [], [], [], [], []
    for order in orders:
        loads = _dealt(made.weights[order], hosts)
        spans.append(_makespan(loads, made.largest, workers))
        busiest.append(int(loads.max()))
        copied.append(int(_dealt(stored[order], hosts).max()))
        idle.append(int((loads == 0).sum()))
        splits.append(_dealt(made.counts[order], hosts))
    middle = int(np.argsort(spans)[len(spans) // 2])
    return Shares(
        "sharded_by_s3_key",
        hosts,
        makespan=spans[middle],
        lowest=min(spans),
        highest=max(spans),
        busiest_bytes=busiest[middle],
        copied_bytes=max(copied),
        splits=_range(splits[middle]),
        idle=idle[middle],
        held_up=bool(made.largest * (workers or 1) > busiest[middle]),
    )


def _dealt(values: npt.NDArray[np.generic], hosts: int) -> npt.NDArray[np.float64]:
    """Sum of every hosts-th value, for each host."""
    return np.array([values[host::hosts].sum(dtype=np.float64) for host in range(hosts)])


def _balanced(made: Cut, hosts: int, workers: int | None) -> Shares:
    singled, rest_bytes, rest_splits = _largest_splits(made)
    shares = lpt_shares(singled, hosts)
    loads = np.bincount(shares, weights=singled, minlength=hosts).astype(np.float64)
    counts = np.bincount(shares, minlength=hosts).astype(np.float64)
    # Poured over the hosts from the lowest up, the rest raises the highest only past the mean.
    busiest = max(loads.max(initial=0.0), (loads.sum() + rest_bytes) / hosts)
    if rest_bytes:
        room = np.maximum(busiest - loads, 0)
        counts += rest_splits * room / room.sum() if room.sum() else rest_splits / hosts
    poured = loads if not rest_bytes else np.maximum(loads, busiest)
    span = _makespan(poured, made.largest, workers, total=float(made.weights.sum(dtype=np.float64)))
    return Shares(
        "balanced",
        hosts,
        makespan=span,
        lowest=span,
        highest=span,
        busiest_bytes=int(busiest),
        copied_bytes=0,
        splits=_range(counts),
        idle=0 if rest_bytes else int((loads == 0).sum()),
        held_up=bool(made.largest * (workers or 1) > busiest),
    )


def _largest_splits(made: Cut) -> tuple[Sizes, float, float]:
    """The largest splits one by one; bytes and number of the rest."""
    bundled = (made.counts > 0) & (made.counts < 1)
    files = len(made.sizes)
    order = np.arange(files)
    if files > SINGLED_OUT:
        order = np.argpartition(made.sizes, files - SINGLED_OUT)[files - SINGLED_OUT :]
    order = order[made.counts[order] >= 1]
    order = order[np.argsort(-made.sizes[order], kind="stable")]
    order = order[np.cumsum(made.counts[order], dtype=np.float64) <= SINGLED_OUT]
    counts, sizes = made.counts[order].astype(np.int64), made.sizes[order]
    each = np.repeat(sizes, counts)
    # The last split of a file is what its others leave.
    each[np.cumsum(counts) - 1] = made.weights[order] - (counts - 1) * sizes
    bundled_bytes = int(made.weights[bundled].sum())
    rest_bytes = int(made.weights.sum()) - int(made.weights[order].sum()) - bundled_bytes
    rest_splits = made.counts.sum(dtype=np.float64) - made.counts[bundled].sum(dtype=np.float64)
    bundles = _bundles(made.sizes[bundled], made.weights[bundled])
    return np.concatenate([each, bundles]), float(rest_bytes), float(rest_splits - counts.sum())


def _bundles(sizes: Sizes, weights: Sizes) -> Sizes:
    """Files that are smaller than a bundle, bundled. sizes: of the bundle of each."""
    made: list[int] = []
    for size in np.unique(sizes).tolist():
        full, left = divmod(int(weights[sizes == size].sum()), size)
        made += [size] * full + ([left] if left else [])
    return np.array(made, np.int64)


def _makespan(
    loads: npt.NDArray[np.float64], largest: int, workers: int | None, *, total: float | None = None
) -> float:
    perfect = (loads.sum() if total is None else total) / len(loads)
    if not perfect:
        return 1.0
    return float(max(loads.max(), largest * (workers or 1), perfect) / perfect)


def _range(counts: npt.NDArray[np.float64]) -> tuple[int, int]:
    return int(np.floor(counts.min() + 1e-6)), int(np.ceil(counts.max() - 1e-6))
