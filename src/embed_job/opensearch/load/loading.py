"""The index of a run, where its spec has one; nothing is imported for it where it has none."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from embed_job.dataset import Dataset, open_dataset
from embed_job.errors import OutputError, UserError, output_error
from embed_job.fleet import Host
from embed_job.plan import Plan
from embed_job.progress import Progress
from embed_job.spec import JobSpec
from embed_job.stop import StopSignals
from embed_job.storage import Store

if TYPE_CHECKING:
    from embed_job.opensearch.load.load import LoadResult
    from embed_job.opensearch.load.loader import Loader
    from embed_job.opensearch.load.opening import Writer


def loading(
    plan: Plan, share: Iterable[str], *, host: Host | None, progress: Progress, stop: StopSignals
) -> AbstractContextManager[Loader | None]:
    """A loader of what this machine commits, and of what is committed already of its share; None:
    there is no index, or nothing to load into it.

    share: identities of splits. host: of a job; None: a run of this machine alone, whose user is
    told soon that a cluster is out of reach. Whatever can be wrong with cluster and index is found
    here, before anything is embedded: raises SpecError or OutputError.
    """
    if plan.spec.opensearch is None or not plan.planned:
        return nullcontext()
    from embed_job.opensearch.load.loader import Loader
    from embed_job.opensearch.load.opening import is_live, memory_needed, open_load

    rows = Dataset(plan.target, plan.commits.folder, plan.dataset, (), complete=False)
    load = open_load(plan.spec, rows, _writer(host))
    known = sum(part.rows for split in plan.committed.values() for part in split.parts)
    if known:
        progress.event("index_memory", so_far=memory_needed(load, known))
    committed = [plan.committed[split] for split in share if split in plan.committed]
    return Loader(
        load,
        committed,
        live=is_live(load),
        progress=progress,
        stopping=lambda: stop.requested,
    )


def _writer(host: Host | None) -> Writer:
    from embed_job.opensearch.load.opening import Writer
    from embed_job.opensearch.patience import PATIENT

    if host is None:
        return Writer.alone(platform.node())
    return Writer(host.job, host.name, PATIENT)


def load_rest(
    spec: JobSpec,
    store: Store,
    folder: str,
    *,
    host: Host,
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

    try:
        return load_committed(
            spec,
            open_dataset(store, folder),
            _writer(host),
            progress=progress,
            stopping=lambda: stop.requested,
        )
    except (UserError, OSError) as error:
        told = error if isinstance(error, UserError) else of_store(error, folder)
        return failed(spec.opensearch.index or str(spec.opensearch.alias), folder, told)
    finally:
        progress.stop()


def of_store(error: OSError, where: str) -> OutputError:
    """A load's error with its ledger or parts, as its user is told of it.

    where: the Parquet output's folder, which holds both.
    """
    what = f"failed: {error.strerror or error}"
    hint = "What is embedded stays; run again: it resumes."
    return output_error(error, where) or OutputError(str(error.filename or where), what, hint)
