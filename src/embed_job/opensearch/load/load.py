"""The end of a load, however its rows were sent before: all of them there, nothing else, finished.

Always in this order: acknowledged, receipt, what is stale deleted, finished. Killed anywhere, the
next load goes on from the receipts. What is sent and what is stale: :mod:`.reconcile`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from embed_job.errors import ExitCode, OutputError, UserError
from embed_job.manifest import SplitManifest
from embed_job.opensearch.index.finish import finish
from embed_job.opensearch.index.profile import restore
from embed_job.opensearch.load.delete import delete_stale
from embed_job.opensearch.load.delivering import Delivering
from embed_job.opensearch.load.opening import memory_needed
from embed_job.opensearch.load.rivals import OvertakenError, check_alone, last_generation
from embed_job.opensearch.load.splits import SplitDelivery
from embed_job.opensearch.load.stale import objection
from embed_job.opensearch.load.summary import (
    UNFINISHED,
    index_report,
    too_many_rejected,
    what_is_missing,
)
from embed_job.opensearch.load.view import Found, View
from embed_job.opensearch.patience import BRIEF
from embed_job.progress import Progress
from embed_job.report.model import IndexReport


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What a load came to. problems: a sentence each, empty where exit_code is OK. report: None
    where the index could not even be opened or counted."""

    report: IndexReport | None
    problems: tuple[str, ...]
    exit_code: ExitCode


def complete_load(
    delivery: SplitDelivery,
    splits: Sequence[SplitManifest],
    *,
    complete: bool,
    finishing: bool = True,
    progress: Progress,
    stopping: Callable[[], bool],
) -> LoadResult:
    """Deliver what has no receipt, see that the index holds it all, delete the rest, finish.

    splits: what counts of the output now; complete: the job over them is committed, so that what
    is of no split of it may go. finishing: whether graphs are built and the load's settings put
    back, which is done by whoever ends a load. Calling it again changes nothing. Raises
    OutputError; what has a receipt then stays delivered.
    """
    ending = _Ending(delivery, splits, complete, progress, stopping)
    try:
        return ending.run(finishing=finishing)
    except OutputError:
        # The first error is what is told; settings that stay are recorded in the index.
        with suppress(OutputError, OSError):
            ending.put_back()
        raise


def failed(name: str, folder: str, error: UserError) -> LoadResult:
    """The result of a load that the cluster, or its configuration, has failed."""
    problem = (
        f"the index {name} is not complete: {str(error).rstrip('.')}. What is embedded is safe in "
        f"{folder}: `embed-job load SPEC` goes on, and embeds nothing"
    )
    return LoadResult(None, (problem,), error.exit_code)


class _Ending:
    def __init__(
        self,
        delivery: SplitDelivery,
        splits: Sequence[SplitManifest],
        complete: bool,  # noqa: FBT001 - as of complete_load
        progress: Progress,
        stopping: Callable[[], bool],
    ) -> None:
        self._delivery = delivery
        self._load = delivery.load
        self._splits = splits
        self._complete = complete
        self._progress = progress
        self._stopping = stopping
        self._view = View(self._load, splits, complete=complete, stopping=stopping)
        self._delivering = Delivering(delivery, self._view, progress=progress, stopping=stopping)
        self._known = self._load.claimed or last_generation(self._load)
        self._problems: list[str] = []
        self._disputed = False
        self._deleted = 0

    def run(self, *, finishing: bool) -> LoadResult:
        rows = sum(part.rows for manifest in self._splits for part in manifest.parts)
        memory = self._memory(rows)
        found = self._delivering.run()
        ready = self._complete and found.is_whole
        if ready:
            found, ready = self._clear(found, rows)
        self._problems += what_is_missing(
            self._load, found, splits=len(self._splits), complete=self._complete
        )
        self._problems += too_many_rejected(self._load, found.receipts)
        finished = ready and finishing and self._finish()
        if finishing and not ready:
            self.put_back()
        report = index_report(
            self._delivery, found, self._view.origins, splits=self._splits,
            again=len(self._delivering.again), deleted=self._deleted,
            memory=memory, finished=finished,
        )  # fmt: skip
        problems = tuple(self._problems)
        return LoadResult(report, problems, ExitCode.INCOMPLETE if problems else ExitCode.OK)

    def put_back(self) -> None:
        """Put the index's settings back, unless another load is at work under them."""
        if not self._is_overtaken():
            restore(self._load.client, self._load.index, patience=BRIEF)

    def _memory(self, rows: int) -> str:
        """A line on the memory that the graphs need. What was sent already is brought to its end,
        whether or not there is room."""
        try:
            line = memory_needed(self._load, rows)
        except OutputError as error:
            if not (self._view.receipts or self._delivery.begun):
                raise
            self._problems.append(
                f"{error.where}: {error.what}; rows had been sent before, so the load went on"
            )
            line = error.what
        self._progress.event("index_memory", needed=line)
        return line

    def _clear(self, found: Found, rows: int) -> tuple[Found, bool]:
        """Delete what is of no live row; what is there then, and whether it may be finished."""
        load, view = self._load, self._view
        if not view.stale(found):
            with suppress(OvertakenError):
                self._retire()
            return found, True
        try:
            check_alone(load, view.live)
            return self._delete(found, rows)
        except OvertakenError as error:
            self._disputed = True
            self._problems.append(str(error))
            return found, False

    def _delete(self, found: Found, rows: int) -> tuple[Found, bool]:
        """As of _clear. Raises OvertakenError."""
        load, view = self._load, self._view
        stale = view.stale(found)
        against = objection(stale, rows=rows, max_fraction=load.max_delete_fraction)
        if against is not None:
            self._problems.append(against)
            return found, True
        if load.claimed is None:
            # Deletions win over all that has an earlier generation, so they may only be of what
            # is seen after it was claimed.
            self._known = load.generation
            found = self._delivering.look()
            return self._delete(found, rows) if found.is_whole else (found, False)
        self._retire()
        done = delete_stale(
            load, stale, check=lambda: check_alone(load, view.live), stopping=self._stopping
        )
        self._deleted += done.documents
        view.receipts.update(done.receipts)
        if self._stopping():
            self._problems.append(UNFINISHED)
            return found, False
        found = self._delivering.look()
        left = view.stale(found)
        if found.is_whole and left:
            self._problems.append(
                f"the index {load.name} still holds {left.documents:,} documents that are not in "
                "the output and were written after it was loaded: load again"
            )
        return found, found.is_whole

    def _retire(self) -> None:
        """Take back the receipts of origins that are gone. Raises OvertakenError."""
        if self._view.retired:
            check_alone(self._load, self._view.live)
            for origin in self._view.retired:
                self._view.withdraw(origin)

    def _finish(self) -> bool:
        """Build graphs and put settings back, where this or an earlier load has left that to do."""
        load, meta = self._load, self._load.index.meta
        own = self._delivery.begun or self._deleted
        if not (own or meta.profile or not meta.merged):
            return True
        try:
            if not own:
                # What is to be finished is of another, who may still be at work.
                check_alone(load, self._view.live)
        except OvertakenError as error:
            self._problems.append(str(error))
            return False
        if self._is_overtaken():
            self._problems.append(_LEFT_TO_LATER)
            return False
        finished = finish(
            load.client,
            load.index,
            progress=lambda step: self._progress.event("index", step=step),
            stopping=self._stopping,
        )
        self._problems += [] if finished else [UNFINISHED]
        return finished

    def _is_overtaken(self) -> bool:
        """Whether the settings that the index has now may be those of another load."""
        known = max(self._known, self._load.claimed or 0)
        return self._disputed or last_generation(self._load) > known


_LEFT_TO_LATER = (
    "a later load of this index has begun, so it was left to that one to finish it: let that one "
    "end, then load once more, to see that nothing is left"
)
