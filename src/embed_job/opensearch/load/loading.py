"""The index of a run, where its spec has one; nothing is imported for it where it has none."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from embed_job.dataset import Dataset, open_dataset
from embed_job.errors import UserError
from embed_job.plan import Plan
from embed_job.progress import Progress
from embed_job.spec import JobSpec
from embed_job.stop import StopSignals
from embed_job.storage import Store

if TYPE_CHECKING:
    from embed_job.opensearch.load.load import LoadResult
    from embed_job.opensearch.load.loader import Loader


def loading(
    plan: Plan, share: Iterable[str], *, run: str, host: str, progress: Progress, stop: StopSignals
) -> AbstractContextManager[Loader | None]:
    """A loader of what this machine commits, and of what is committed already of its share; None:
    there is no index, or nothing to load into it.

    share: identities of splits. run: what all hosts of a job have in common. Whatever can be wrong
    with cluster and index is found here, before anything is embedded: raises SpecError or
    OutputError.
    """
    if plan.spec.opensearch is None or not plan.planned:
        return nullcontext()
    from embed_job.opensearch.load.loader import Loader
    from embed_job.opensearch.load.opening import Writer, memory_needed, open_load

    rows = Dataset(plan.target, plan.commits.folder, plan.dataset, (), complete=False)
    load = open_load(plan.spec, rows, Writer(run, host))
    known = sum(part.rows for split in plan.committed.values() for part in split.parts)
    if known:
        progress.event("index_memory", so_far=memory_needed(load, known))
    committed = [plan.committed[split] for split in share if split in plan.committed]
    return Loader(load, committed, progress=progress, stopping=lambda: stop.requested)


def load_rest(
    spec: JobSpec,
    store: Store,
    folder: str,
    *,
    run: str,
    host: str,
    progress: Progress,
    stop: StopSignals,
) -> LoadResult | None:
    """Bring the index to what a committed output holds, whoever embedded it; None: there is none.

    What fails is a problem of the result: the output itself is there.
    """
    if spec.opensearch is None:
        return None
    from embed_job.opensearch.load.committed import load_committed
    from embed_job.opensearch.load.load import failed
    from embed_job.opensearch.load.opening import Writer

    try:
        return load_committed(
            spec,
            open_dataset(store, folder),
            Writer(run, host),
            progress=progress,
            stopping=lambda: stop.requested,
        )
    except UserError as error:
        return failed(spec.opensearch.index or str(spec.opensearch.alias), folder, error)
    finally:
        progress.stop()
