"""What one host does of a job: its share, or as much of the common plan as it gets."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from embed_job.commit.lease import Lease
from embed_job.embedding import Work, cases_of, crew_of, embed_supply, outlook_of
from embed_job.errors import ExitCode, OutputError
from embed_job.fleet import Host
from embed_job.fleet.board import Board
from embed_job.fleet.claims import ClaimedSplits, Claims, Pace
from embed_job.fleet.finalize import Ended, WholeJob
from embed_job.fleet.gather import gather
from embed_job.fleet.indexing import HostIndex
from embed_job.fleet.order import JobOrder
from embed_job.fleet.records import HostRecord, JobFolder, PlanRecord
from embed_job.fleet.waiting import Others
from embed_job.manifest import SplitCounts, total
from embed_job.plan import Plan
from embed_job.progress import Progress
from embed_job.report.machine import this_machine
from embed_job.report.model import Report
from embed_job.stop import StopSignals
from embed_job.workers.supply import AllCases

if TYPE_CHECKING:
    from embed_job.opensearch.load.loader import Loader


@dataclass(frozen=True, slots=True)
class HostResult:
    """What a host came to.

    counts: of what it embedded itself. splits_planned: of its share (sharded) or of the job
    (balanced), splits_committed: how many of those are committed, by whomever. problems: one
    sentence each, empty where exit_code is OK. finalized: whether this host ended the job; only
    then there is a report. left_to: the run that the job was left to, as it holds the output; then
    nothing was done. "" where it was done.
    """

    exit_code: ExitCode
    counts: SplitCounts
    splits_committed: int
    splits_planned: int
    problems: tuple[str, ...]
    finalized: bool
    report: Report | None
    left_to: str = ""


class HostShare:
    """What one host does of a job."""

    def __init__(
        self, order: JobOrder, host: Host, plan: Plan, pace: Pace, lease: Lease | None
    ) -> None:
        """lease: of the job; None where its hosts can't see the output."""
        self._order = order
        self._host = host
        self._plan = plan
        self._pace = pace
        self._lease = lease
        self._room = JobFolder(plan.target, plan.commits.folder, host.job)
        self._started_at = time.time()

    def run(self, progress: Progress, stop: StopSignals, spool: Path | None) -> HostResult:
        plan = self._plan
        others = Others(self._room, self._host.count, self._pace, lambda: stop.requested)
        index = HostIndex(plan, self._host, self._room, others, progress, stop)
        with index.loading(shared=self._order.shares_one_plan) as loader:
            work = self._embed(progress, stop, spool, loader)
            failure = loader and loader.drain()
        if failure is not None:
            work.incidents.append(
                f"index failed, to be tried again at the end of the job: {failure}"
            )
        done = plan.commits.committed_names() | plan.committed.keys()
        committed = sum(split in done for split in plan.planned)
        code, problems = self._outcome(len(plan.planned) - committed, work, stop)
        counts = total(manifest.counts for manifest in work.fresh.values())
        record = self._record(work, counts, code, problems)
        delivery = loader.facts if loader else None
        self._room.write_host(record.model_copy(update={"delivery": delivery}))
        if loader and loader.bug:
            raise loader.bug
        report: Report | None = None
        if code is ExitCode.OK and self._lease and self._is_mine_to_end(self._lease):
            progress.event("finalizing", job=self._host.job)
            others.await_records()
            load = partial(index.load_rest, loader)
            ended = self._whole().end(self._lease, by=self._host.name, load=load)
            report = ended.report
            code, problems = _ended(ended, stop)
        if self._lease and (report is not None or self._room.end() is not None):
            self._lease.release()  # no host has anything left to do
        return HostResult(
            code, counts, committed, len(plan.planned), problems, report is not None, report
        )

    def _outcome(
        self, missing: int, work: Work, stop: StopSignals
    ) -> tuple[ExitCode, tuple[str, ...]]:
        """What became of the share. Of a job that is at its end, or was taken over, what a late
        host misses is nobody's loss."""
        if self._lease and not self._lease.holds():
            if self._room.end() is not None:
                return ExitCode.OK, ()
            if by := self._lease.lost_to:
                what = f"{by} has taken over this output, as this job stood still too long"
                return ExitCode.INCOMPLETE, (f"{what}: that one counts",)
        return _ending(missing, len(self._plan.planned), work, stop)

    def _whole(self) -> WholeJob:
        listed = self._plan.listing.everything if self._order.listed else None
        return WholeJob(self._room, self._plan.commits, self._order, listed)

    def _embed(
        self, progress: Progress, stop: StopSignals, spool: Path | None, loader: Loader | None
    ) -> Work:
        """Embed this host's share, or as much of the common plan as there is to claim."""
        plan, host = self._plan, self._host
        cases = cases_of(plan)
        workers = min(crew_of(plan.spec).workers, len(cases))
        embed = partial(
            embed_supply, plan, progress=progress, stop=stop, spool=spool, host=host.name,
            committed=loader.add if loader else lambda _: None,
        )  # fmt: skip
        if not self._order.shares_one_plan:
            return embed(AllCases(cases.values()), outlook_of(plan, plan.planned, workers))
        self._agree()
        sizes = {split: found.bytes for split, found in plan.splits.items()}
        board = Board(sizes, rank=host.rank, hosts=host.count)
        share = board.share
        board.committed(plan.committed)
        with ClaimedSplits(
            cases,
            board,
            Claims(self._room, host),
            plan.commits,
            ahead=max(1, workers // 2),
            pace=self._pace,
            stopping=lambda: stop.requested,
        ) as supply:
            return embed(supply, outlook_of(plan, share, workers))

    def _agree(self) -> None:
        """Raise OutputError where this host has another plan than the first one."""
        mine = PlanRecord(
            planned=tuple(sorted(self._plan.planned)), without_splits=self._plan.without_splits
        )
        if self._room.agree(mine).planned != mine.planned:
            raise OutputError(
                self._plan.commits.folder,
                "hosts of this job see different splits of its input",
                "Another job writes to the same output, or the input changed: submit again when "
                "neither does.",
            )

    def _record(
        self, work: Work, counts: SplitCounts, code: ExitCode, problems: tuple[str, ...]
    ) -> HostRecord:
        plan, host = self._plan, self._host
        return HostRecord(
            host=host.name,
            rank=host.rank,
            count=host.count,
            planned=None if self._order.shares_one_plan else plan.planned,
            without_splits=plan.without_splits,
            embedded=len(work.fresh),
            counts=counts,
            exit_code=int(code),
            problems=problems,
            incidents=tuple(work.incidents),
            workers=work.workers,
            load_s=work.load_s,
            engines=work.engines,
            machine=this_machine(),
            started_at=self._started_at,
            finished_at=time.time(),
        )

    def _is_mine_to_end(self, lease: Lease) -> bool:
        if gather(self._order, self._room, self._room.hosts()).problems:
            return False
        return lease.holds() and self._room.may_finalize(self._host.name)


def _ended(ended: Ended, stop: StopSignals) -> tuple[ExitCode, tuple[str, ...]]:
    if ended.verdict.problems:
        return ExitCode.INCOMPLETE, ended.verdict.problems
    if ended.loaded and ended.loaded.problems:
        return stop.exit_code or ended.loaded.exit_code, ended.loaded.problems
    return ExitCode.OK, ()


def _ending(
    missing: int, planned: int, work: Work, stop: StopSignals
) -> tuple[ExitCode, tuple[str, ...]]:
    """A signal that came when all was done changes nothing; else the cause that came first."""
    if not missing:
        return ExitCode.OK, ()
    problem = (
        f"{missing} of {planned} splits are not committed yet: submit the job again, it goes on "
        "from here"
    )
    if stop.exit_code is not None:
        return stop.exit_code, (problem,)
    if work.error is not None:
        return work.error.exit_code, (str(work.error), problem)
    return ExitCode.INCOMPLETE, (problem,)
