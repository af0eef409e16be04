"""Ours and the peers, each from the same JSONL to Parquet, in interleaved rounds."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from benchmarks.job import Job, Vectors, cosines, output_vectors, read_vectors, run_job
from benchmarks.peers.programs import CannotRunError, Machine, run_program
from benchmarks.peers.trial import Trial, parts_of
from benchmarks.results import median_and_range, say

TRAILS = 1.5


@dataclass(frozen=True, slots=True)
class Lap:
    """Seconds of one run. steady_s: loading apart. whole_s: from the start of its process."""

    steady_s: float
    whole_s: float


class Side(Protocol):
    """Who takes part. name: of its row. setting: what it was given, for a reader."""

    @property
    def name(self) -> str: ...

    @property
    def setting(self) -> str: ...

    def run(self) -> Lap:
        """The whole job once. CannotRunError with the reason, in one line."""
        ...

    def vectors(self) -> Vectors:
        """What the last run wrote, by id."""
        ...


@dataclass(slots=True)
class Ours:
    """``embed-job run``. report: of the last run."""

    name: str
    job: Job
    report: dict[str, Any] = field(default_factory=dict)

    @property
    def setting(self) -> str:
        """What the report says that it ran on."""
        told = [
            f"{engine['engine']} {engine['instructions']}".strip()
            for engine in self.report.get("engines", ())
        ]
        return ", ".join(told)

    @property
    def tokens(self) -> int:
        return int(self.report["counts"]["tokens"])

    def run(self) -> Lap:
        ran = run_job(self.job)
        self.report = ran.report
        return Lap(ran.steady_s, ran.process_s)

    def vectors(self) -> Vectors:
        return output_vectors(self.job)


@dataclass(frozen=True, slots=True)
class Theirs:
    """A peer's program with the batch size that its trial found."""

    trial: Trial
    source: Path
    machine: Machine

    @property
    def name(self) -> str:
        return self.trial.program.name

    @property
    def setting(self) -> str:
        if self.trial.ran is None:
            return "–"
        return f"batch size {self.trial.ran.batch_size or self.trial.program.batch_sizes[0]}"

    @property
    def _out(self) -> Path:
        program = self.trial.program
        name = f"{self.source.stem}-{program.module}-{program.variant}.parquet"
        return self.machine.work / "peers" / name

    def run(self) -> Lap:
        if self.trial.ran is None:
            raise CannotRunError(self.trial.why_not)
        size = self.trial.ran.batch_size or self.trial.program.batch_sizes[0]
        ran = run_program(
            self.trial.program, self.source, self._out, self.machine, ["--batch-size", str(size)]
        )
        return Lap(ran.steady_s, ran.process_s)

    def vectors(self) -> Vectors:
        return read_vectors(parts_of(self._out))


@dataclass(frozen=True, slots=True)
class Score:
    """laps: one a round. least, mean: cosine to the reference. why_not: empty where it ran."""

    side: Side
    laps: Sequence[Lap] = ()
    least: float = 0.0
    mean: float = 0.0
    why_not: str = ""

    @property
    def steady_s(self) -> float:
        return statistics.median(lap.steady_s for lap in self.laps)

    def row(self, *, tokens: int, reference_s: float) -> tuple[str, ...]:
        """Name, setting, tokens/s, ratio, tokens/s with loading, least cosine."""
        if self.why_not:
            return (self.side.name, "–", f"cannot run: {self.why_not}", "–", "–", "–")
        return (
            self.side.name,
            self.side.setting,
            median_and_range([tokens / lap.steady_s for lap in self.laps]),
            f"{reference_s / self.steady_s:.2f}",
            median_and_range([tokens / lap.whole_s for lap in self.laps]),
            f"{self.least:.6f}",
        )


def hold(
    sides: Sequence[Side],
    *,
    rounds: int,
    reference: Vectors | None = None,
    after_each: Callable[[], None] = lambda: None,
) -> list[Score]:
    """Every side once a round, in turn; one that fails once is out, and its score says why. A peer
    that trails far behind the fastest in the first round is not run again.

    reference: vectors to compare with; else those of the first side. after_each: what else belongs
    into a round.
    """
    laps: dict[int, list[Lap]] = {at: [] for at in range(len(sides))}
    out: dict[int, str] = {}
    trailing: set[int] = set()
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}")
        for at, side in enumerate(sides):
            if at in out or at in trailing:
                continue
            try:
                laps[at].append(side.run())
            except CannotRunError as error:
                out[at] = str(error)
        after_each()
        trailing |= _trailing(sides, laps) if number == 0 else set()
    compare_to = reference if reference is not None else sides[0].vectors()
    return [
        Score(side, why_not=out[at]) if at in out else _scored(side, laps[at], compare_to)
        for at, side in enumerate(sides)
    ]


def _trailing(sides: Sequence[Side], laps: dict[int, list[Lap]]) -> set[int]:
    """Peers that took TRAILS times as long as the fastest of them, or longer."""
    took = {
        at: found[0].steady_s
        for at, found in laps.items()
        if found and isinstance(sides[at], Theirs)
    }
    return {at for at, seconds in took.items() if seconds >= TRAILS * min(took.values())}


def _scored(side: Side, laps: Sequence[Lap], reference: Vectors) -> Score:
    try:
        found = cosines(side.vectors(), reference)
    except RuntimeError as error:
        if isinstance(side, Ours):
            raise
        return Score(side, why_not=str(error))
    return Score(side, laps, float(found.min()), float(found.mean()))
