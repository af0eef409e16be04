"""A whole run on this machine: plan, resume, embed over the pool, finalize, report."""

from __future__ import annotations

import platform
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from embed_job.commit.commits import Commits
from embed_job.commit.dead_letters import DeadLetter, first_letters
from embed_job.commit.finalize import Verdict, finalize
from embed_job.dataset import open_dataset
from embed_job.dataset.search import neighbour_examples
from embed_job.errors import ExitCode, WorkerError, output_error
from embed_job.machine import usable_cores
from embed_job.manifest import SplitManifest
from embed_job.plan import Plan, make_plan
from embed_job.progress import Plan as Outlook
from embed_job.progress import Progress
from embed_job.report.build import build_report
from embed_job.report.machine import this_machine
from embed_job.report.model import (
    MAX_EXAMPLES,
    Inputs,
    NearestExample,
    RejectedExample,
    Report,
    RunFacts,
    SampleInfo,
)
from embed_job.report.write import write_report
from embed_job.spec import ExecutionSpec, JobSpec
from embed_job.spool import Spool
from embed_job.stop import StopSignals
from embed_job.workers.case import SplitCase
from embed_job.workers.messages import WorkerConfig
from embed_job.workers.pool import Listener, Pool


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run came to. exit_code is OK only where report.problems is empty."""

    report: Report
    exit_code: ExitCode


def run_job(
    spec: JobSpec, *, progress: Progress, report_dir: Path, sample: SampleInfo | None = None
) -> RunResult:
    """Embed what is not committed yet, commit the job, leave report.json and report.html.

    Running it again changes nothing; after a kill or a signal it goes on. Raises a UserError
    where nothing could be done at all, or where the run had to be given up: what was committed
    until then stays.
    """
    try:
        return _run_job(spec, progress, report_dir, sample)
    except OSError as error:
        explained = output_error(error, spec.parquet.uri)
        raise explained or error from error


def _run_job(
    spec: JobSpec, progress: Progress, report_dir: Path, sample: SampleInfo | None
) -> RunResult:
    started_at = time.time()
    plan = make_plan(spec)
    with StopSignals() as stop:
        work = _embed(plan, progress, stop)
        live = plan.commits.committed(plan.dataset.fingerprint)
        manifests = [live[split] for split in plan.splits if split in live]
        verdict = finalize(
            plan.target,
            plan.commits,
            spec,
            fingerprint=plan.dataset.fingerprint,
            planned=list(plan.splits),
            live=live,
            now=time.time(),
        )
        report = build_report(_facts(plan, work, manifests, verdict, started_at, sample))
        write_report(report, report_dir)
    return RunResult(report, _exit_code(report, stop, work))


def _exit_code(report: Report, stop: StopSignals, work: _Work) -> ExitCode:
    """A signal that came when all was done changes nothing; else the cause that came first."""
    if report.ok:
        return ExitCode.OK
    if stop.exit_code is not None:
        return stop.exit_code
    return work.error.exit_code if work.error else ExitCode.INCOMPLETE


@dataclass(slots=True)
class _Work:
    """What this run's pool did. load_s: until the first worker was ready."""

    workers: int = 0
    load_s: float = 0.0
    error: WorkerError | None = None
    fresh: set[str] = field(default_factory=set)
    incidents: list[str] = field(default_factory=list)


def _embed(plan: Plan, progress: Progress, stop: StopSignals) -> _Work:
    """Embed and commit what is not committed yet."""
    spec = plan.spec
    todo = [
        SplitCase(index, split, max_poison_documents=spec.execution.max_poison_documents)
        for index, (identity, split) in enumerate(plan.splits.items())
        if identity not in plan.committed
    ]
    work = _Work(workers=min(worker_count(spec.execution), len(todo)))
    if not todo:
        return work

    def committed(case: SplitCase, manifest: SplitManifest | None) -> None:
        if manifest is not None:
            work.fresh.add(manifest.split)
        progress.split_done(stored_bytes=case.split.bytes)

    def event(name: str, facts: dict[str, object]) -> None:
        progress.event(name, **facts)
        if name in ("worker_replaced", "split_failed") and len(work.incidents) < MAX_EXAMPLES:
            at = f" at {facts['split']}" if facts["split"] else ""
            work.incidents.append(f"{name.replace('_', ' ')}{at}: {facts['how']}")

    listener = Listener(progress=progress.advance, committed=committed, event=event)
    outlook = Outlook(
        splits=len(plan.splits),
        bytes=sum(case.split.bytes for case in todo),
        already_committed_splits=len(plan.committed),
        workers=work.workers,
    )
    progress.start(outlook)
    try:
        with Spool(_spool_root(plan.commits)) as spool:
            pool = Pool(
                _worker_config(plan, spool),
                workers=work.workers,
                listener=listener,
                stopping=lambda: stop.requested,
                clock=time.monotonic,
            )
            pool.run(todo)
            work.load_s = pool.load_s
    except WorkerError as error:
        work.error = error
    finally:
        progress.stop()
    return work


def _spool_root(commits: Commits) -> Path:
    """Beside the output where that is local, so that a finished file is only renamed."""
    if commits.folder.startswith("s3://"):
        return Path(tempfile.gettempdir()) / "embed-job-spool"
    return Path(commits.key("spool"))


def _worker_config(plan: Plan, spool: Spool) -> WorkerConfig:
    return WorkerConfig(
        number=0,
        spec=plan.spec,
        dataset=plan.dataset,
        input_uri=plan.spec.input.uri,
        spool=str(spool.path),
        host=platform.node(),
    )


def _facts(
    plan: Plan,
    work: _Work,
    manifests: Sequence[SplitManifest],
    verdict: Verdict,
    started_at: float,
    sample: SampleInfo | None,
) -> RunFacts:
    finished_at = time.time()
    letters = first_letters(plan.target, plan.commits.folder, manifests, limit=MAX_EXAMPLES)
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
            splits=len(plan.splits),
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
        problems=[*([str(work.error)] if work.error else []), *verdict.problems],
        incidents=work.incidents,
        rejected_examples=[_example(letter) for letter in letters],
        duplicates_across_splits=verdict.duplicates.count,
        duplicate_examples=[found.doc_id for found in verdict.duplicates.listed],
        sample=sample,
        examples=examples,
    )


def _example(letter: DeadLetter) -> RejectedExample:
    return RejectedExample(
        file=letter.file,
        line=letter.line,
        byte_offset=letter.byte_offset,
        reason=letter.reason,
        stage=letter.stage,
        detail=letter.detail,
        doc_id=letter.id,
    )


def worker_count(execution: ExecutionSpec) -> int:
    """Worker processes: as the spec says, or usable cores ÷ threads of each."""
    if execution.workers == "auto":
        return max(1, usable_cores() // execution.threads_per_worker)
    return execution.workers
