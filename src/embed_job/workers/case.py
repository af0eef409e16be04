"""What the pool knows of one split: what to try next, and what an outcome means. No I/O."""

from __future__ import annotations

from collections.abc import Callable

from embed_job.admit import Exclusion
from embed_job.errors import WorkerError
from embed_job.records import Reason, Stage
from embed_job.source import Split
from embed_job.workers.messages import Kind, Task
from embed_job.workers.poison import Probe, Search, find_poison

_MAX_UNEXPLAINED = 2
"""Searches for a killing document that may end with none: the machine may have been at fault."""


class SplitCase:
    """A split on its way to its commit.

    A first death is retried as it is. After the second the split is bisected down to the
    document that kills, which is excluded, and the split is tried again without it.
    """

    def __init__(self, index: int, split: Split, *, max_poison_documents: int) -> None:
        self.index = index
        self.split = split
        self.done = False
        self.error: WorkerError | None = None
        self._max_poison = max_poison_documents
        self._deaths = 0
        self._unexplained = 0
        self._kind = Kind.EMBED
        self._exclude: dict[int, Exclusion] = {}
        self._search: Search | None = None
        self._probe: Probe = (0, 0)

    @property
    def name(self) -> str:
        """How a person finds the split."""
        more = f" and {len(self.split.files) - 1} more" if len(self.split.files) > 1 else ""
        return f"{self.split.files[0].name}{more} [{self.split.start}, {self.split.end})"

    @property
    def poisonous(self) -> int:
        """Documents found so far that kill their worker."""
        return len(self._exclude)

    def task(self) -> Task:
        """What to do next."""
        first, last = self._probe
        return Task(
            split_index=self.index,
            split=self.split,
            kind=self._kind,
            exclude=self._exclude,
            first=first,
            last=last,
        )

    def committed(self) -> None:
        self.done = True

    def survived(self, records: int) -> None:
        """A COUNT or PROBE came to its end."""
        if self._kind is Kind.COUNT:
            self._search = find_poison(records)
            self._kind = Kind.PROBE
            self._advance(next, "")
        else:
            self._advance(lambda search: search.send(False), "")

    def died(self, how: str) -> None:
        """The worker died of the last task; error is set where no document explains it."""
        if self._kind is Kind.COUNT:
            self._unexplain(f"its worker dies on reading it: {how}")
            return
        if self._kind is Kind.PROBE:
            self._advance(lambda search: search.send(True), how)
            return
        self._deaths += 1
        if self._deaths > 1:
            self._kind = Kind.COUNT

    def _advance(self, step: Callable[[Search], Probe], how: str) -> None:
        assert self._search is not None  # noqa: S101 - a probe has a search
        try:
            self._probe = step(self._search)
        except StopIteration as end:
            self._conclude(end.value, how)

    def _conclude(self, ordinal: int | None, how: str) -> None:
        if ordinal is None:
            self._unexplain("its worker keeps dying, but on none of its documents alone")
            return
        detail = f"its worker died each time it was embedded: {how}"
        self._exclude[ordinal] = Exclusion(Reason.KILLS_WORKER, Stage.EMBED, detail)
        if len(self._exclude) > self._max_poison:
            self._give_up(
                f"more than {self._max_poison} of its documents kill their worker; "
                f"the last one: {how}"
            )
        self._kind, self._deaths = Kind.EMBED, 1

    def _unexplain(self, what: str) -> None:
        """No document explains the deaths: begin anew, a few times."""
        self._unexplained += 1
        if self._unexplained > _MAX_UNEXPLAINED:
            self._give_up(what)
        self._kind, self._deaths = Kind.EMBED, 0

    def _give_up(self, what: str) -> None:
        self.error = WorkerError(
            self.name,
            what,
            "Other splits are unharmed and stay committed. Check memory (fewer "
            "execution.workers, smaller execution.batch_tokens) and run again: it resumes.",
        )
