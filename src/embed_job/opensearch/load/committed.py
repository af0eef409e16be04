"""A whole output into its index: write once, load many. No model is needed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from embed_job.commit.commits import Commits
from embed_job.dataset import Dataset
from embed_job.errors import OutputError
from embed_job.opensearch.load.load import LoadResult, complete_load
from embed_job.opensearch.load.opening import IndexLoad, Writer, open_load
from embed_job.opensearch.load.origins import holders_of, origins_of
from embed_job.opensearch.load.reconcile import standing
from embed_job.opensearch.load.splits import SplitDelivery
from embed_job.progress import Plan, Progress
from embed_job.spec import JobSpec


def load_committed(
    spec: JobSpec,
    dataset: Dataset,
    writer: Writer,
    *,
    replay: bool = False,
    finishing: bool = True,
    progress: Progress,
    stopping: Callable[[], bool],
) -> LoadResult:
    """Bring the index of a spec to what an output holds, as of complete_load.

    replay: every row is sent again, whatever the receipts say; killed in the middle, the next
    load goes on with those that are left. Raises SpecError or OutputError.
    """
    _refuse_doubled(dataset)
    load = open_load(spec, dataset, writer)
    with closing(load.client):
        return _load(load, dataset, replay, finishing, progress, stopping)


def _load(
    load: IndexLoad,
    dataset: Dataset,
    replay: bool,  # noqa: FBT001 - as of load_committed
    finishing: bool,  # noqa: FBT001 - likewise
    progress: Progress,
    stopping: Callable[[], bool],
) -> LoadResult:
    origins = origins_of(dataset.splits)
    if replay:
        for name in origins:
            load.ledger.withdraw(name)
    receipts = standing(load.ledger.receipts(), origins)
    todo = holders_of(origin for name, origin in origins.items() if name not in receipts)
    if todo:
        progress.start(
            Plan(
                splits=len(dataset.splits),
                bytes=sum(part.bytes for manifest in todo for part in manifest.parts),
                already_committed_splits=len(dataset.splits) - len(todo),
                loading=True,
            )
        )
    with SplitDelivery(load, stopping=stopping) as delivery:
        return complete_load(
            delivery,
            dataset.splits,
            complete=dataset.complete,
            finishing=finishing,
            progress=progress,
            stopping=stopping,
        )


def _refuse_doubled(dataset: Dataset) -> None:
    """Raise OutputError where rows of one id would write over each other."""
    job = Commits(dataset.store, dataset.folder).job()
    if job is not None and job.duplicates_across_splits:
        raise OutputError(
            dataset.folder,
            f"holds {job.duplicates_across_splits:,} ids in more than one file or split, and an "
            "index holds each once",
            "Give each document an id of its own, and run the job again.",
        )
