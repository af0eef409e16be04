"""The figures of the report as shares and places: what the template draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from embed_job.manifest import Counts, StageTimes
from embed_job.report.model import Report, SplitReport

_MAX_BARS = 60
_MAX_BLOCKS = 600


@dataclass(frozen=True, slots=True)
class Share:
    """A part of a whole. percent: 0 to 100."""

    name: str
    value: float
    percent: float


@dataclass(frozen=True, slots=True)
class Bar:
    """A column of the chart of split times. percent: its height, of the highest."""

    percent: float
    label: str
    late: bool


@dataclass(frozen=True, slots=True)
class Block:
    """A split in its worker's lane. left and width in percent of the run's time."""

    left: float
    width: float
    label: str
    late: bool


@dataclass(frozen=True, slots=True)
class Lane:
    """A worker's splits of this run."""

    name: str
    busy_percent: float
    blocks: tuple[Block, ...]


def shares(values: Mapping[str, float]) -> list[Share]:
    """Each value as a share of their sum, the largest first."""
    whole = sum(values.values())
    found = [
        Share(name, value, 100 * value / whole if whole else 0) for name, value in values.items()
    ]
    return sorted(found, key=lambda share: -share.value)


def counted(counts: Counts) -> list[Share]:
    """What became of what was read; of what was read, or of the sum where that is more."""
    parts = {"written": counts.written, "rejected": counts.rejected, "skipped": counts.skipped}
    whole = max(counts.read, sum(parts.values()))
    return [Share(name, n, 100 * n / whole if whole else 0) for name, n in parts.items()]


def stage_shares(stages: StageTimes) -> list[Share]:
    """The stages in the order of the data's path."""
    parts = stages.model_dump()
    whole = sum(parts.values())
    return [Share(name, s, 100 * s / whole if whole else 0) for name, s in parts.items()]


def split_bars(splits: Sequence[SplitReport]) -> list[Bar]:
    """A column a split, or, where there are many, a histogram of their seconds."""
    if len(splits) <= _MAX_BARS:
        longest = max((split.seconds for split in splits), default=0.0) or 1.0
        return [
            Bar(
                100 * split.seconds / longest,
                f"{split.id} of {split.file}: {split.seconds:.2f} s",
                split.straggler,
            )
            for split in splits
        ]
    return _histogram(splits)


def _histogram(splits: Sequence[SplitReport]) -> list[Bar]:
    longest = max(split.seconds for split in splits) or 1.0
    step = longest / _MAX_BARS
    bins: list[list[SplitReport]] = [[] for _ in range(_MAX_BARS)]
    for split in splits:
        bins[min(_MAX_BARS - 1, int(split.seconds / step))].append(split)
    fullest = max(map(len, bins))
    return [
        Bar(
            100 * len(held) / fullest,
            f"{index * step:.1f}-{(index + 1) * step:.1f} s: {len(held)} splits",
            any(split.straggler for split in held),
        )
        for index, held in enumerate(bins)
    ]


def timeline(report: Report) -> list[Lane]:
    """When each worker was busy in this run; no lanes where it would be a blur."""
    fresh = [split for split in report.splits if not split.reused]
    if not fresh or len(fresh) > _MAX_BLOCKS:
        return []
    begin = min(report.started_at, *(split.started_at for split in fresh))
    end = max(report.finished_at, *(split.started_at + split.seconds for split in fresh))
    whole_s = max(end - begin, 1e-9)
    return [
        Lane(
            f"{worker.host} · {worker.worker}" if worker.host else str(worker.worker),
            100 * worker.busy_fraction,
            tuple(
                Block(
                    100 * (split.started_at - begin) / whole_s,
                    100 * split.seconds / whole_s,
                    f"{split.file}: {split.documents:,} documents in {split.seconds:.2f} s",
                    split.straggler,
                )
                for split in fresh
                if (split.host, split.worker) == (worker.host, worker.worker)
            ),
        )
        for worker in report.workers
    ]
