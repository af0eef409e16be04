"""The end of a load made from elsewhere: the index finished, or its settings put back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from opensearchpy import OpenSearch

from embed_job.dataset import Dataset
from embed_job.opensearch.index.finish import finish
from embed_job.opensearch.index.open import OpenIndex, open_index
from embed_job.opensearch.index.profile import restore
from embed_job.opensearch.load.ledger import LoadLedger
from embed_job.opensearch.load.origins import holders_of, origins_of
from embed_job.opensearch.load.presence import count_by_origin, make_visible
from embed_job.opensearch.load.reconcile import doubts, standing
from embed_job.opensearch.target import IndexTarget


@dataclass(frozen=True, slots=True)
class LoadEnd:
    """What became of an index. problems: a sentence each; finished: only where there are none."""

    index: str
    finished: bool
    problems: tuple[str, ...]


def end_load(
    client: OpenSearch,
    target: IndexTarget,
    dataset: Dataset,
    *,
    progress: Callable[[str], None],
    stopping: Callable[[], bool],
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> LoadEnd:
    """Finish an index that holds its output whole; else put its settings back, and say why.

    Sends no rows and deletes none: a load does. Not to be called while one runs, as it would end
    that one's settings. Idempotent. Raises OutputError where there is no such index, it is of
    another spec, or the cluster is out of reach.
    """
    index = open_index(client, target, create=False)
    problems = tuple(_what_is_missing(client, index, dataset))
    if problems:
        restore(client, index)
        return LoadEnd(target.name, finished=False, problems=problems)
    done = finish(client, index, progress=progress, stopping=stopping, sleep=sleep, clock=clock)
    stopped = () if done else ("the index was not finished, as asked: finalize it again",)
    return LoadEnd(target.name, finished=done, problems=stopped)


def _what_is_missing(client: OpenSearch, index: OpenIndex, dataset: Dataset) -> Iterator[str]:
    """Why an index does not hold its output as it should, as counted by origin."""
    name, splits = index.target.name, dataset.splits
    if not dataset.complete:
        yield f"{dataset.folder} is not complete: run the job to its end"
        return
    ledger = LoadLedger(dataset.store, dataset.folder, index=name, load=index.load)
    origins = origins_of(splits)
    receipts = standing(ledger.receipts(), origins)
    pending = holders_of(origin for one, origin in origins.items() if one not in receipts)
    if pending:
        yield (
            f"{len(pending)} of {len(splits)} splits are not in {name}: `embed-job load SPEC` "
            "goes on"
        )
        return
    make_visible(client, index.target)
    counts = count_by_origin(client, index.target)
    in_doubt = doubts(receipts, origins, counts)
    lost = holders_of(doubt.origin for doubt in in_doubt if doubt.has_lost)
    if lost:
        yield (
            f"{name} has lost documents of {len(lost)} of {len(splits)} splits: "
            "`embed-job load SPEC` sends them again"
        )
    stale = sum(count for origin, count in counts.items() if origin not in origins)
    if not index.target.is_serverless:  # there they are second copies, which finishing sweeps
        stale += sum(max(0, doubt.found - doubt.origin.rows) for doubt in in_doubt)
    if stale:
        yield (
            f"{name} holds {stale:,} documents that are not in the output: "
            "`embed-job load SPEC` deletes them"
        )
    elif not lost and not all(one.receipt.accounts_for(one.origin) for one in in_doubt):
        yield (
            f"the output has changed since {name} was loaded: `embed-job load SPEC` compares them"
        )
