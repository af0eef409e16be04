"""Embed splits of a plan over this machine's workers; the same for one machine and for many."""

from __future__ import annotations

import platform
import tempfile
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from embed_job import machine
from embed_job.commit.commits import Commits
from embed_job.engine import torch
from embed_job.engine.facts import EngineFacts
from embed_job.errors import WorkerError
from embed_job.manifest import SplitManifest
from embed_job.plan import Plan
from embed_job.progress import Plan as Outlook
from embed_job.progress import Progress
from embed_job.report.model import MAX_EXAMPLES
from embed_job.reuse.build import build_lookup
from embed_job.reuse.splits import earlier_splits, truncates_at
from embed_job.spec import JobSpec, ModelSpec
from embed_job.spool import Spool
from embed_job.stop import StopSignals
from embed_job.workers.case import SplitCase
from embed_job.workers.messages import WorkerConfig
from embed_job.workers.pool import Listener, Pool
from embed_job.workers.supply import Supply

_MAX_WORKERS_PER_GPU = 8
_CORES_PER_GPU_WORKER = 2
"""Reading, tokenising, chunking and writing a document of 96 tokens took 0.11 ms of a core (AMD
Zen 4, nanotoken, other work beside it), most of it in Python, where a process has one core."""


@dataclass(slots=True)
class Work:
    """What the pool did. load_s: until the first worker was ready. engines: that workers ran on,
    each once. fresh: what it committed, by identity. incidents: workers that died, splits that
    failed and what workers have told of, a line each."""

    workers: int = 0
    load_s: float = 0.0
    engines: tuple[EngineFacts, ...] = ()
    error: WorkerError | None = None
    fresh: dict[str, SplitManifest] = field(default_factory=dict)
    incidents: list[str] = field(default_factory=list)


def cases_of(plan: Plan) -> dict[str, SplitCase]:
    """What is planned and not committed yet, by identity."""
    max_poison = plan.spec.execution.max_poison_documents
    return {
        identity: SplitCase(index, split, max_poison_documents=max_poison)
        for index, (identity, split) in enumerate(plan.splits.items())
        if identity not in plan.committed
    }


def outlook_of(plan: Plan, share: Collection[str], workers: int) -> Outlook:
    """What is before this machine. share: identities of the splits that it is to see to."""
    todo = [split for split in share if split not in plan.committed]
    return Outlook(
        splits=len(share),
        bytes=sum(plan.splits[split].bytes for split in todo),
        already_committed_splits=len(share) - len(todo),
        workers=workers,
    )


def embed_supply(
    plan: Plan,
    supply: Supply,
    outlook: Outlook,
    *,
    progress: Progress,
    stop: StopSignals,
    spool: Path | None = None,
    host: str | None = None,
    committed: Callable[[SplitManifest], None] = lambda _: None,
) -> Work:
    """Embed and commit what the supply gives; a WorkerError is noted, all others are raised.

    outlook: what there is to do, and over how many workers. spool: where unfinished files lie.
    committed: gets each split right after its commit; it must not wait.
    """
    work = Work(workers=outlook.workers)
    if not work.workers:
        return work
    listener = _listener(work, progress, committed)
    progress.start(outlook)
    try:
        with Spool(spool or _spool_root(plan.commits)) as folder:
            config = _worker_config(plan, folder, host or platform.node())
            pool = Pool(
                replace(config, earlier=_earlier(plan, folder, work)),
                supply,
                workers=work.workers,
                listener=listener,
                stopping=lambda: stop.requested,
                clock=time.monotonic,
            )
            pool.run()
            work.load_s, work.engines = pool.load_s, tuple(pool.engines)
    except WorkerError as error:
        work.error = error
    finally:
        progress.stop()
    return work


def _listener(work: Work, progress: Progress, tell: Callable[[SplitManifest], None]) -> Listener:
    def committed(case: SplitCase, manifest: SplitManifest | None) -> None:
        if manifest is not None:
            work.fresh[manifest.split] = manifest
            tell(manifest)
        progress.split_done(stored_bytes=case.split.bytes)

    def event(name: str, facts: Mapping[str, object]) -> None:
        progress.event(name, **facts)
        if name in ("worker_replaced", "split_failed"):
            at = f" at {facts['split']}" if facts["split"] else ""
            note(f"{name.replace('_', ' ')}{at}: {facts['how']}")
        elif name == "worker_says" and facts["what"] not in work.incidents:
            note(str(facts["what"]))

    def note(incident: str) -> None:
        if len(work.incidents) < MAX_EXAMPLES:
            work.incidents.append(incident)

    return Listener(progress=progress.advance, committed=committed, event=event)


def _spool_root(commits: Commits) -> Path:
    """Beside the output where that is local, so that a finished file is only renamed."""
    if commits.folder.startswith("s3://"):
        return Path(tempfile.gettempdir()) / "embed-job-spool"
    return Path(commits.key("spool"))


def _earlier(plan: Plan, spool: Spool, work: Work) -> Path | None:
    """The tables of what may be taken over from earlier runs; None where there is nothing."""
    splits = earlier_splits(plan)
    if not splits:
        return None
    folder = spool.path / "earlier"
    truncates = truncates_at(plan.spec, plan.dataset.max_tokens)
    built = build_lookup(folder, plan.target, splits, truncates_at=truncates)
    for lost in built.without[:MAX_EXAMPLES]:
        work.incidents.append(f"not taken over, so embedded anew: {lost}")
    return folder


def _worker_config(plan: Plan, spool: Spool, host: str) -> WorkerConfig:
    place, crew = plan.place, crew_of(plan.spec)
    return WorkerConfig(
        number=0,
        spec=plan.spec,
        dataset=plan.dataset,
        input_uri=place.source_uri,
        spool=str(spool.path),
        host=host,
        target_uri=place.target_uri,
        bundle=place.bundle,
        temporary=place.temporary,
        gpus=crew.gpus,
        threads=crew.threads,
    )


@dataclass(frozen=True, slots=True)
class Crew:
    """The workers of one machine. gpus: CUDA devices that they share; none where the model runs on
    cores. threads: of one worker, for the model on cores, for tokenising where it runs on a GPU."""

    workers: int
    threads: int
    gpus: tuple[str, ...] = ()


def crew_of(
    spec: JobSpec, *, cores: int | None = None, gpus: tuple[str, ...] | None = None
) -> Crew:
    """The workers that a spec means on a machine; this one's cores and GPUs where none are given.

    Several processes share a GPU, since Python's share of the work takes one of them longer than
    the GPU takes for a small model.
    """
    execution = spec.execution
    cores = machine.usable_cores() if cores is None else cores
    gpus = gpus_for(spec.model) if gpus is None else gpus
    threads = execution.threads_per_worker
    if not gpus:
        wanted = max(1, cores // threads)
    elif execution.workers_per_gpu == "auto":
        fitting = cores // len(gpus) // _CORES_PER_GPU_WORKER
        wanted = len(gpus) * max(1, min(_MAX_WORKERS_PER_GPU, fitting))
    else:
        wanted = len(gpus) * execution.workers_per_gpu
    workers = wanted if execution.workers == "auto" else execution.workers
    return Crew(workers, max(threads, cores // workers) if gpus else threads, gpus)


def gpus_for(model: ModelSpec) -> tuple[str, ...]:
    """The GPUs of this machine that the model's engine is going to use."""
    if model.engine not in ("auto", "torch") or model.precision == "int8" or not torch.has_gpu():
        return ()
    return machine.gpus()
