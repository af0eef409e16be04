"""A whole run on this machine: plan, resume, embed over the pool, finalize, report."""

from __future__ import annotations

import platform
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from embed_job.commit.ending import Ending
from embed_job.commit.finalize import Verdict, finalize, judge, whole_of
from embed_job.commit.lease import Holder, Lease, LeaseRecord, Rhythm
from embed_job.dataset import open_dataset
from embed_job.dataset.search import neighbour_examples
from embed_job.embedding import Work, cases_of, crew_of, embed_supply, outlook_of
from embed_job.errors import ExitCode, output_error
from embed_job.manifest import SplitManifest
from embed_job.opensearch.load.loading import loading
from embed_job.plan import Plan, make_plan
from embed_job.progress import Progress
from embed_job.report.build import build_report
from embed_job.report.examples import rejected_examples
from embed_job.report.machine import this_machine
from embed_job.report.model import (
    MAX_EXAMPLES,
    Inputs,
    NearestExample,
    Report,
    RunFacts,
    SampleInfo,
)
from embed_job.report.write import write_report
from embed_job.source.listing import input_folder
from embed_job.spec import JobSpec
from embed_job.stop import StopSignals
from embed_job.storage import join, store_for
from embed_job.workers.supply import AllCases

if TYPE_CHECKING:
    from embed_job.opensearch.load.load import LoadResult
    from embed_job.opensearch.load.loader import Loader


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run came to. exit_code is OK only where report.problems is empty."""

    report: Report
    exit_code: ExitCode


def run_job(
    spec: JobSpec,
    *,
    progress: Progress,
    report_dir: Path,
    sample: SampleInfo | None = None,
    rhythm: Rhythm | None = None,
) -> RunResult:
    """Embed what is not committed yet, commit the job, leave report.json and report.html.

    Running it again changes nothing; after a kill or a signal it goes on. Raises a UserError
    where nothing could be done at all, as another run is at work on the output (HeldError), or
    where the run had to be given up: what was committed until then stays. rhythm: of the lease.
    """
    try:
        return _run_job(spec, progress, report_dir, sample, rhythm or Rhythm())
    except OSError as error:
        explained = output_error(error, spec.parquet.uri)
        raise explained or error from error


def _run_job(
    spec: JobSpec,
    progress: Progress,
    report_dir: Path,
    sample: SampleInfo | None,
    rhythm: Rhythm,
) -> RunResult:
    started_at = time.time()
    plan, stop = make_plan(spec), StopSignals()
    with _taken(plan, stop, rhythm, progress) as lease, stop:
        if plan.commits.generation() != plan.generation:
            plan = make_plan(spec)  # another run came to its end since
        with loading(plan, plan.planned, host=None, progress=progress, stop=stop) as loader:
            work = embed_all(plan, progress, stop, loader)
            manifests, verdict = _end(plan, lease)
            facts = _facts(plan, work, manifests, verdict, started_at, sample)
            loaded = loader.complete(manifests, complete=not verdict.problems) if loader else None
            if loaded is not None and not (loaded.problems or stop.requested):
                loaded = _promoted(plan, loaded, report_dir, progress)
            report = build_report(with_index(facts, loaded, time.time()))
            write_report(report, report_dir)
            if loader and loader.bug:
                raise loader.bug
    return RunResult(report, _exit_code(report, stop, work, loaded))


def _taken(plan: Plan, stop: StopSignals, rhythm: Rhythm, progress: Progress) -> Lease:
    """The lease of a run of its own. Raises HeldError."""

    def tell(found: LeaseRecord) -> None:
        progress.event("held", run=found.run, host=found.host, watched_s=rhythm.dead_s)

    holder = Holder(f"run-{secrets.token_hex(4)}", platform.node(), alone=True)
    lease = Lease(plan.commits, holder, rhythm=rhythm, lost=stop.ask)
    lease.take(watching=tell)
    return lease


def _end(plan: Plan, lease: Lease) -> tuple[list[SplitManifest], Verdict]:
    """Commit the job where all of it is there. The manifests that count, in the input's order."""
    commits, spec = plan.commits, plan.spec
    found = commits.committed(plan.dataset.fingerprint)
    counted = {split: found[split] for split in plan.planned if split in found}
    live, problems = whole_of(commits, counted, remove=lease.holds())
    if problems:
        verdict = judge(commits, spec, planned=plan.planned, live=live, problems=problems)
        return list(live.values()), verdict
    source, folder = store_for(spec.input.uri), input_folder(plan.listing, spec.input.uri)
    ending = Ending(
        spec=spec,
        fingerprint=plan.dataset.fingerprint,
        planned=plan.planned,
        live=live,
        found=found,
        without_splits=plan.without_splits,
        size_of=lambda name: source.stat(join(folder, name)).size,
        lease=lease,
    )
    return list(live.values()), finalize(commits, ending, now=time.time())


def _promoted(plan: Plan, loaded: LoadResult, report_dir: Path, progress: Progress) -> LoadResult:
    """What the spec wants done with an index that is loaded."""
    from embed_job.opensearch.promotion.at_end import promote_at_end

    def write_page(page: bytes) -> str:
        path = report_dir / "canary.html"
        path.write_bytes(page)
        return str(path)

    return promote_at_end(
        plan.spec,
        open_dataset(plan.target, plan.commits.folder),
        loaded,
        bundle=plan.place.bundle,
        write_page=write_page,
        progress=progress,
    )


def _exit_code(
    report: Report, stop: StopSignals, work: Work, loaded: LoadResult | None
) -> ExitCode:
    """A signal that came when all was done changes nothing; else the cause that came first."""
    if report.ok:
        return ExitCode.OK
    if stop.exit_code is not None:
        return stop.exit_code
    if work.error is not None:
        return work.error.exit_code
    return loaded.exit_code if loaded and loaded.problems else ExitCode.INCOMPLETE


def embed_all(plan: Plan, progress: Progress, stop: StopSignals, loader: Loader | None) -> Work:
    """Embed and commit what is planned and not committed yet. loader: gets what is committed."""
    cases = cases_of(plan)
    outlook = outlook_of(plan, plan.planned, min(crew_of(plan.spec).workers, len(cases)))
    return embed_supply(
        plan,
        AllCases(cases.values()),
        outlook,
        progress=progress,
        stop=stop,
        committed=loader.add if loader else lambda _: None,
    )


def _facts(
    plan: Plan,
    work: Work,
    manifests: Sequence[SplitManifest],
    verdict: Verdict,
    started_at: float,
    sample: SampleInfo | None,
) -> RunFacts:
    finished_at = time.time()
    examples: Sequence[NearestExample] = ()
    if sample is not None and not verdict.problems:
        dataset = open_dataset(plan.target, plan.commits.folder)
        examples = neighbour_examples(dataset)
    return RunFacts(
        spec=plan.spec,
        fingerprint=plan.dataset.fingerprint,
        manifests=manifests,
        fresh=frozenset(work.fresh),
        inputs=Inputs(
            uri=plan.spec.input.uri,
            files=len(plan.listing.files),
            bytes=sum(file.size for file in plan.listing.files),
            splits=len(plan.planned),
            ignored=len(plan.listing.ignored),
            ignored_examples=plan.listing.ignored[:MAX_EXAMPLES],
            hidden=plan.listing.hidden,
        ),
        machine=this_machine(),
        workers=work.workers,
        started_at=started_at,
        finished_at=finished_at,
        wall_s=finished_at - started_at,
        load_s=work.load_s,
        engines=work.engines,
        problems=[*([str(work.error)] if work.error else []), *verdict.problems],
        incidents=work.incidents,
        rejected_examples=rejected_examples(plan.target, plan.commits.folder, manifests),
        duplicates_across_splits=verdict.duplicates.count,
        duplicate_examples=[found.doc_id for found in verdict.duplicates.listed],
        sample=sample,
        examples=examples,
    )


def with_index(facts: RunFacts, loaded: LoadResult | None, finished_at: float) -> RunFacts:
    """The facts of a run whose index was completed behind its embedding."""
    if loaded is None:
        return facts
    return replace(
        facts,
        index=loaded.report,
        problems=[*facts.problems, *loaded.problems],
        finished_at=finished_at,
        wall_s=finished_at - facts.started_at,
        index_s=finished_at - facts.finished_at,
    )
