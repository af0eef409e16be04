"""What one attempt at a split has counted so far, and where its seconds went."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from embed_job.manifest import Counts, SplitCounts, StageTimes
from embed_job.records import Rejection

if TYPE_CHECKING:
    from embed_job.reuse.carry import CarriedRows


@dataclass(slots=True)
class Carried:
    """Running counts of documents whose rows are those of an earlier part. They may be written by
    another thread than those that embed, so they are counted apart."""

    documents: int = 0
    chunks: int = 0
    tokens: int = 0
    truncated_documents: int = 0
    truncated_tokens: int = 0

    def add(self, taken: CarriedRows) -> None:
        self.documents += len(taken.documents)
        self.chunks += taken.rows.num_rows
        self.tokens += taken.tokens
        self.truncated_documents += len(taken.lost)
        self.truncated_tokens += sum(taken.lost)


@dataclass(slots=True)
class Tally:
    """Running counts of one split. Documents read, and what became of each, never both from
    one number: that ``read = written + rejected + skipped`` is a check, not a definition."""

    documents_read: int = 0
    documents_written: int = 0
    documents_skipped: int = 0
    chunks_read: int = 0
    chunks_written: int = 0
    chunks_rejected: int = 0
    tokens: int = 0
    embedded_tokens: int = 0
    padded_tokens: int = 0
    truncated_documents: int = 0
    truncated_tokens: int = 0
    reused_chunks: int = 0
    reused_tokens: int = 0
    embedded_chunks: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    carried: Carried = field(default_factory=Carried)

    def reject(self, rejection: Rejection) -> None:
        self.rejected[rejection.reason.value] += 1

    def counts(self, *, lines: int, absent_fields: dict[str, int]) -> SplitCounts:
        """The counts as a manifest holds them."""
        carried = self.carried
        return SplitCounts(
            documents=Counts(
                read=self.documents_read,
                written=self.documents_written + carried.documents,
                rejected=self.rejected.total(),
                skipped=self.documents_skipped,
            ),
            chunks=Counts(
                read=self.chunks_read + carried.chunks,
                written=self.chunks_written + carried.chunks,
                rejected=self.chunks_rejected,
            ),
            lines=lines,
            tokens=self.tokens + carried.tokens,
            embedded_tokens=self.embedded_tokens,
            padded_tokens=self.padded_tokens,
            truncated_documents=self.truncated_documents + carried.truncated_documents,
            truncated_tokens=self.truncated_tokens + carried.truncated_tokens,
            carried_documents=carried.documents,
            carried_chunks=carried.chunks,
            reused_chunks=self.reused_chunks,
            taken_over_tokens=self.reused_tokens + carried.tokens,
            embedded_chunks=self.embedded_chunks,
            rejected_by_reason=dict(self.rejected),
            absent_fields=absent_fields,
        )


class _Lane(threading.local):
    """Where one thread stands: since when, and in which stage, the innermost last."""

    def __init__(self) -> None:
        self.mark = time.perf_counter()
        self.stages = ["wait"]


class Stopwatch:
    """Seconds by stage. Stages nest: the inner one's seconds are not the outer one's.

    Threads may share one, as long as no two are in the same stage. Stages of several threads
    overlap, so they add up to more than the time that passed; wait is that of the thread which
    made the watch.
    """

    def __init__(self) -> None:
        self._owner = threading.get_ident()
        self._lane = _Lane()
        self._spent: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Charge what happens inside to a stage of :class:`StageTimes`."""
        self._charge()
        self._lane.stages.append(stage)
        try:
            yield
        finally:
            self._charge()
            self._lane.stages.pop()

    def _charge(self) -> None:
        lane, now = self._lane, time.perf_counter()
        stage = lane.stages[-1]
        if stage != "wait" or threading.get_ident() == self._owner:
            self._spent[stage] += now - lane.mark
        lane.mark = now

    def times(self) -> StageTimes:
        """Seconds so far."""
        self._charge()
        return StageTimes(**self._spent)
