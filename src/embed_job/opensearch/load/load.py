"""The end of a load, however its rows were sent before: all of them there, nothing else, finished.

Always in this order: acknowledged, receipt, what is stale deleted, finished. Killed anywhere, the
next load goes on from the receipts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from embed_job.commit.commits import Commits
from embed_job.errors import ExitCode, OutputError, UserError
from embed_job.manifest import SplitManifest
from embed_job.opensearch.index.finish import finish
from embed_job.opensearch.index.profile import restore
from embed_job.opensearch.load.delete import delete_stale
from embed_job.opensearch.load.ledger import Receipt
from embed_job.opensearch.load.opening import memory_needed
from embed_job.opensearch.load.presence import count_by_split, make_visible
from embed_job.opensearch.load.reconcile import Difference, differences, standing
from embed_job.opensearch.load.splits import SplitDelivery, tell
from embed_job.opensearch.load.stale import find_stale, objection
from embed_job.opensearch.load.summary import index_report, too_many_rejected
from embed_job.opensearch.patience import BRIEF
from embed_job.progress import Progress
from embed_job.report.model import IndexReport

_MAX_ROUNDS = 3
"""Deliveries of what is missing, after each of which the index is counted."""


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What a load came to. problems: a sentence each, empty where exit_code is OK. report: None
    where the index could not even be opened or counted."""

    report: IndexReport | None
    problems: tuple[str, ...]
    exit_code: ExitCode


@dataclass(slots=True)
class _Found:
    """What the last count of the index said, against the receipts."""

    receipts: dict[str, Receipt] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    surplus: list[Difference] = field(default_factory=list)
    pending: list[SplitManifest] = field(default_factory=list)


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
        with suppress(OutputError):
            restore(delivery.load.client, delivery.load.index, patience=BRIEF)
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
        self._again = 0
        self._deleted = 0

    def run(self, *, finishing: bool) -> LoadResult:
        rows = sum(part.rows for manifest in self._splits for part in manifest.parts)
        memory = memory_needed(self._load, rows)
        self._progress.event("index_memory", needed=memory)
        found = self._deliver_all()
        problems = [*self._undelivered(found), *too_many_rejected(self._load, found.receipts)]
        ready = self._complete and not found.pending
        if ready:
            problems += self._delete_stale(found, rows)
        finished = False
        if ready and finishing:
            finished = self._finish(found)
            problems += [] if finished else [_UNFINISHED]
        elif finishing:
            restore(self._load.client, self._load.index, patience=BRIEF)
        report = index_report(
            self._delivery, found.receipts, splits=len(self._splits),
            again=self._again, deleted=self._deleted, memory=memory, finished=finished,
        )  # fmt: skip
        return LoadResult(report, tuple(problems), ExitCode.INCOMPLETE if problems else ExitCode.OK)

    def _deliver_all(self) -> _Found:
        """Deliver until the index holds what the receipts say, or until it is plain that it won't.

        What is still pending then has no receipt.
        """
        for attempt in range(_MAX_ROUNDS + 1):
            found = self._look()
            if not found.pending or attempt == _MAX_ROUNDS or self._stopping():
                return found
            self._deliver(found.pending)
        raise AssertionError("the last round returns")

    def _look(self) -> _Found:
        """Receipts against the index; those of splits that lost documents are withdrawn."""
        load, target = self._load, self._load.index.target
        found = _Found(standing(load.ledger.receipts(), self._splits))
        if (found.receipts or not self._splits) and make_visible(
            load.client, target, stopping=self._stopping
        ):
            found.counts = count_by_split(load.client, target)
            lost, found.surplus = differences(found.receipts, found.counts)
            for one in lost:
                load.ledger.withdraw(one.receipt.split)
                del found.receipts[one.receipt.split]
            if lost:
                self._again += len(lost)
                self._progress.event("index_lost_documents", splits=len(lost))
        found.pending = [split for split in self._splits if split.split not in found.receipts]
        return found

    def _deliver(self, pending: Sequence[SplitManifest]) -> None:
        for loaded in self._delivery.run(pending):
            tell(self._progress, loaded)

    def _undelivered(self, found: _Found) -> list[str]:
        output = self._load.rows.folder
        if found.pending:
            return [
                f"{len(found.pending)} of {len(self._splits)} splits are not in the index "
                f"{self._load.name} yet; their embeddings are safe in {output}, and "
                "`embed-job load SPEC` goes on"
            ]
        if not self._complete:
            return [
                f"the index {self._load.name} holds what is committed so far, and is finished "
                "once the output is complete: run the job to its end, then load again"
            ]
        return []

    def _delete_stale(self, found: _Found, rows: int) -> list[str]:
        load, gates = self._load, self._load.index.target.output.gates
        copies = load.index.target.is_serverless and self._delivery.begun
        stale = find_stale(
            found.counts,
            [split.split for split in self._splits],
            # Second copies on Serverless hold no content of their own: finishing sweeps them.
            [] if load.index.target.is_serverless else found.surplus,
            copied_rows=self._delivery.facts.rows if copies else 0,
        )
        if not (stale.splits or stale.surplus):
            return []
        against = objection(stale, rows=rows, max_fraction=gates.max_delete_fraction)
        if against is not None:
            return [against]
        self._check_newest()
        self._deleted = delete_stale(load, stale, stopping=self._stopping)
        return []

    def _check_newest(self) -> None:
        """Raise OutputError where a later run has committed other splits than are live here."""
        rows = self._load.rows
        job = Commits(rows.store, rows.folder).job()
        if job is None or set(job.splits) != {split.split for split in self._splits}:
            raise OutputError(
                rows.folder, "another run has committed it during this load", "Load again."
            )

    def _finish(self, found: _Found) -> bool:
        """Build graphs and put settings back, where this or an earlier load has left that to do."""
        load, meta = self._load, self._load.index.meta
        changed = self._delivery.begun or self._deleted or found.surplus
        if not (changed or meta.profile or not meta.merged):
            return True
        return finish(
            load.client,
            load.index,
            progress=lambda step: self._progress.event("index", step=step),
            stopping=self._stopping,
        )


_UNFINISHED = (
    "the index is loaded but not finished: `embed-job finalize SPEC`, or loading again, goes on"
)
