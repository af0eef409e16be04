"""One host of a job: its share, or as much of the common plan as it gets, and perhaps the end."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from embed_job.embedding import Work, cases_of, crew_of, embed_supply, outlook_of
from embed_job.errors import ExitCode, OutputError, output_error
from embed_job.fleet import Host
from embed_job.fleet.board import Board
from embed_job.fleet.claims import ClaimedSplits, Claims, Pace
from embed_job.fleet.finalize import end_job, gather
from embed_job.fleet.order import JobOrder
from embed_job.fleet.planning import InputSet, plan_share
from embed_job.fleet.records import HostRecord, JobFolder, PlanRecord
from embed_job.fleet.waiting import Others
from embed_job.manifest import SplitCounts, total
from embed_job.opensearch.load.loading import load_rest, loading
from embed_job.plan import Plan
from embed_job.progress import Progress
from embed_job.report.machine import this_machine
from embed_job.report.model import Report
from embed_job.stop import StopSignals
from embed_job.workers.supply import AllCases

if TYPE_CHECKING:
    from embed_job.opensearch.load.load import LoadResult
    from embed_job.opensearch.load.loader import Loader


@dataclass(frozen=True, slots=True)
class HostResult:
    """What a host came to.

    counts: of what it embedded itself. splits_planned: of its share (sharded) or of the job
    (balanced), splits_committed: how many of those are committed, by whomever. problems: one
    sentence each, empty where exit_code is OK. finalized: whether this host ended the job; only
    then there is a report.
    """

    exit_code: ExitCode
    counts: SplitCounts
    splits_committed: int
    splits_planned: int
    problems: tuple[str, ...]
    finalized: bool
    report: Report | None


def run_host(
    order: JobOrder,
    host: Host,
    inputs: InputSet,
    *,
    target_uri: str,
    spool: Path | None,
    bundle: Path | None,
    progress: Progress,
    stop: StopSignals,
) -> HostResult:
    """Embed what this host is to embed and is not committed yet; leave word of it; end the job if
    all of it is done.

    target_uri: the output's URI, or a local folder that SageMaker uploads (delivery:
    processing_output). Then nothing unfinished ever lies in it, provided that spool is on the same
    file system and outside of it; manifests of earlier runs come in ``inputs.earlier``, and nobody
    in the job ends it: finalize_job does, once all is in S3. spool: where unfinished files lie;
    None: a temporary folder. bundle: the model's; None: the spec's. stop: entered by the caller.

    Raises a UserError where nothing could be done, or the work had to be given up; what is
    committed stays. A host that raises, or dies, has no record, and the job is not finalized.
    """
    try:
        plan = plan_share(order, inputs, target_uri=target_uri, spool=spool, bundle=bundle)
        return _Share(order, host, plan, inputs.pace).run(progress, stop, spool)
    except OSError as error:
        explained = output_error(error, target_uri)
        raise explained or error from error


class _Share:
    """What one host does of a job."""

    def __init__(self, order: JobOrder, host: Host, plan: Plan, pace: Pace) -> None:
        self._order = order
        self._host = host
        self._plan = plan
        self._pace = pace
        self._room = JobFolder(plan.target, plan.commits.folder, host.job)
        self._started_at = time.time()

    def run(self, progress: Progress, stop: StopSignals, spool: Path | None) -> HostResult:
        plan = self._plan
        with self._loading(progress, stop) as loader:
            work = self._embed(progress, stop, spool, loader)
            failure = loader and loader.drain()
        if failure is not None:
            work.incidents.append(
                f"index failed, to be tried again at the end of the job: {failure}"
            )
        done = plan.commits.committed_names() | plan.committed.keys()
        committed = sum(split in done for split in plan.planned)
        missing = len(plan.planned) - committed
        code, problems = _ending(missing, len(plan.planned), work, stop)
        counts = total(manifest.counts for manifest in work.fresh.values())
        record = self._record(work, counts, code, problems)
        delivery = loader.facts if loader else None
        self._room.write_host(record.model_copy(update={"delivery": delivery}))
        if loader and loader.bug:
            raise loader.bug
        report: Report | None = None
        if code is ExitCode.OK and self._is_mine_to_end():
            progress.event("finalizing", job=self._host.job)
            self._others(stop).await_records()
            listed = self._plan.listing.everything if self._order.listed else None
            ended = end_job(
                plan.target, plan.commits.folder, self._host.job, self._order, listed,
                host=self._host, load=partial(self._load_rest, progress, stop, loader),
            )  # fmt: skip
            report = ended.report
            if ended.verdict.problems:
                code, problems = ExitCode.INCOMPLETE, ended.verdict.problems
            elif ended.loaded and ended.loaded.problems:
                code, problems = stop.exit_code or ended.loaded.exit_code, ended.loaded.problems
        return HostResult(
            code, counts, committed, len(plan.planned), problems, report is not None, report
        )

    def _loading(
        self, progress: Progress, stop: StopSignals
    ) -> AbstractContextManager[Loader | None]:
        """Load what this host commits; of what is committed already, what nobody else does."""
        share, host = self._plan.planned, self._host
        if self._order.shares_one_plan:
            share = tuple(sorted(share)[host.rank :: host.count])
        return loading(self._plan, share, host=host, progress=progress, stop=stop)

    def _load_rest(
        self, progress: Progress, stop: StopSignals, loader: Loader | None
    ) -> LoadResult | None:
        """Bring the index to what the job came to, as its last deed."""
        if loader is not None and not loader.live and self._host.count > 1:
            progress.event("index", step="waiting for what other hosts deliver")
            self._others(stop).await_deliveries(loader.receipts)
        plan = self._plan
        return load_rest(
            plan.spec, plan.target, plan.commits.folder,
            host=self._host, progress=progress, stop=stop,
        )  # fmt: skip

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

    def _others(self, stop: StopSignals) -> Others:
        return Others(self._room, self._host.count, self._pace, lambda: stop.requested)

    def _is_mine_to_end(self) -> bool:
        if self._order.is_uploaded:
            return False
        if gather(self._order, self._room, self._room.hosts()).problems:
            return False
        return self._room.may_finalize(self._host.name)


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
