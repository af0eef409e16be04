"""The alias put on a new index: one request, which the index knows of beforehand."""

from __future__ import annotations

from opensearchpy import OpenSearch

from embed_job.opensearch.index.alias import Promotion, alias_of, described, holder_of, swap
from embed_job.opensearch.index.meta import (
    IndexMeta,
    Source,
    describe_index,
    meta_of,
    settle_meta,
)
from embed_job.opensearch.index.siblings import siblings_of
from embed_job.opensearch.patience import PATIENT, Patience
from embed_job.opensearch.target import IndexTarget


def promote(
    client: OpenSearch,
    target: IndexTarget,
    *,
    source: Source | None = None,
    patience: Patience = PATIENT,
) -> Promotion:
    """Point the alias to the target's index, in one request; the old index stays.

    source: where the index's vectors came from, for the canary of the one that replaces it.
    Idempotent; a crash leaves the alias on the old index or on the new one, never both or none.
    Checks nothing: that comes before.
    """
    alias, where = alias_of(target)
    old = holder_of(client, alias, where=where, patience=patience)
    _, meta = described(client, target, patience)
    if old == target.name:
        return Promotion(alias, target.name, meta.previous, changed=False)
    before = _meta_of_holder(client, old, where=where, patience=patience)
    numbers = [one.meta.promoted for one in siblings_of(client, target, patience)]
    changes = {
        "alias": alias,
        "promoted": max([*numbers, before.promoted if before else 0]) + 1,
        "previous": old,
        "previous_load": before.load if before else None,
        "source": source,
        "withdrawn": False,
    }
    # Before the swap: an index that is live always knows what it replaced.
    settle_meta(
        client,
        target.name,
        lambda _, meta: meta.model_copy(update=changes),
        read=lambda: described(client, target, patience),
        patience=patience,
    )
    swap(client, alias, old, target.name, where=where, patience=patience)
    return Promotion(alias, target.name, old, changed=True)


def _meta_of_holder(
    client: OpenSearch, name: str | None, *, where: str, patience: Patience
) -> IndexMeta | None:
    """The record of the index that the alias is on; None where it is none of ours."""
    if name is None:
        return None
    return meta_of(describe_index(client, name, where=where, patience=patience) or {})
