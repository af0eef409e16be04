"""Deletions from an index, with the generation of whoever deletes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from embed_job.opensearch.check.pages import PointInTime
from embed_job.opensearch.deletion import delete_documents
from embed_job.opensearch.errors import explained
from embed_job.opensearch.load.compare import documents_of, groups_of, live_rows
from embed_job.opensearch.load.ledger import Receipt
from embed_job.opensearch.load.opening import IndexLoad
from embed_job.opensearch.load.reconcile import Doubt
from embed_job.opensearch.load.stale import Stale
from embed_job.opensearch.patience import PATIENT, Patience
from embed_job.opensearch.serverless.sweep import delete_splits
from embed_job.opensearch.target import SPLIT

_ORIGINS_A_QUERY = 1000


@dataclass(slots=True)
class Deleted:
    """documents: how many went; receipts: of origins that hold live rows alone by now."""

    documents: int = 0
    receipts: dict[str, Receipt] = field(default_factory=dict)


def delete_stale(
    load: IndexLoad,
    stale: Stale,
    *,
    check: Callable[[], None],
    stopping: Callable[[], bool],
    patience: Patience = PATIENT,
) -> Deleted:
    """Delete it; idempotent. Stops early where stopping() says so.

    check: called before each batch, and raises where it must not go. Deletions carry this run's
    generation, which must have been claimed before stale was seen: what a later run has written
    stays, and is an OutputError. What is live is read from the parts anew, origin by origin.
    """
    deleting = _Deleting(load, check, stopping, patience)
    done = Deleted()
    if load.index.target.is_serverless and stale.origins:
        done.documents += delete_splits(
            load.client, load.name, stale.origins,
            newest=load.generation, check=check, stopping=stopping, patience=patience,
        ).deleted  # fmt: skip
    else:
        for start in range(0, len(stale.origins), _ORIGINS_A_QUERY):
            done.documents += deleting.all_of(stale.origins[start : start + _ORIGINS_A_QUERY])
    for group in groups_of(stale.within):
        done.documents += deleting.not_live(group)
        if stopping():
            break
        for doubt in group:
            receipt = load.ledger.receipt(doubt.origin.name) or doubt.receipt
            settled = load.ledger.settle_anew(
                receipt, doubt.origin, letters=load.ledger.letters(receipt)
            )
            done.receipts[settled.origin] = settled
    return done


@dataclass(frozen=True, slots=True)
class _Deleting:
    load: IndexLoad
    check: Callable[[], None]
    stopping: Callable[[], bool]
    patience: Patience

    def all_of(self, origins: Sequence[str]) -> int:
        """Delete every document of some origins."""
        load, query = self.load, {"terms": {SPLIT: list(origins)}}
        with explained(load.where), PointInTime(load.client, load.name) as moment:
            pages = moment.pages(query, fields=(), sort=("doc_id", "chunk"))
            return self._delete(str(hit["_id"]) for hits in pages for hit in hits)

    def not_live(self, group: Sequence[Doubt]) -> int:
        """Delete what is of no live row of its origin."""
        load = self.load
        live = live_rows(load.rows, group)
        keys = np.sort(live.keys)
        with explained(load.where), PointInTime(load.client, load.name) as moment:
            pages = documents_of(load, moment, live.names)
            stale = (
                str(hit["_id"])
                for page in pages
                for hit, is_live in zip(page.hits, np.isin(page.keys, keys), strict=True)
                if not is_live
            )
            return self._delete(stale)

    def _delete(self, documents: Iterable[str]) -> int:
        load = self.load
        return delete_documents(
            load.client,
            load.name,
            self._until_stopped(documents),
            generation=None if load.index.target.is_serverless else load.generation,
            check=self.check,
            patience=self.patience,
        )

    def _until_stopped(self, documents: Iterable[str]) -> Iterator[str]:
        for document in documents:
            if self.stopping():
                return
            yield document
