"""The alias put back on the index before: one request, whatever is being written meanwhile."""

from __future__ import annotations

from opensearchpy import OpenSearch

from embed_job.errors import OutputError
from embed_job.opensearch.index.alias import Promotion, alias_of, described, holder_of, swap
from embed_job.opensearch.index.meta import IndexMeta, describe_index, meta_of, settle_meta
from embed_job.opensearch.index.open import OpenIndex
from embed_job.opensearch.index.profile import restore
from embed_job.opensearch.patience import PATIENT, Patience
from embed_job.opensearch.target import IndexTarget


def rollback(client: OpenSearch, target: IndexTarget, *, patience: Patience = PATIENT) -> Promotion:
    """Point the alias back to what the target's index had replaced. Idempotent, and whole or not
    at all, as a promotion is.

    Works while either index is being written to. A load that is at work on the former one keeps
    its rows from searches until it ends: its settings are put back after the swap, so that they
    are seen as they come. Raises OutputError where nothing was replaced, it is gone or was made
    anew, or the alias is on another index.
    """
    alias, where = alias_of(target)
    holder = holder_of(client, alias, where=where, patience=patience)
    _, meta = described(client, target, patience)
    before = meta.previous
    if before is None:
        raise OutputError(
            where, f"{target.name} has replaced no index", "There is nothing to go back to."
        )
    if holder == before:
        return Promotion(alias, before, target.name, changed=False)
    if holder != target.name:
        raise OutputError(
            where,
            f"the alias is on {holder or 'no index'}, not on {target.name}, the index of this spec",
            "Roll back with the spec of the index that is live.",
        )
    former = _former(client, meta, before, where=where, stays=target.name, patience=patience)
    # Before the swap: a run that promotes by itself must never undo it.
    settle_meta(
        client,
        target.name,
        lambda _, meta: meta.model_copy(update={"withdrawn": True}),
        read=lambda: described(client, target, patience),
        patience=patience,
    )
    swap(client, alias, target.name, before, where=where, patience=patience)
    unfinished = former is not None and (former.profile is not None or not former.merged)
    if former is not None and unfinished:
        own = target.output.model_copy(update={"index": before})
        opened = OpenIndex(IndexTarget(own, target.dataset), former, created=False)
        restore(client, opened, patience=patience)
    return Promotion(alias, before, target.name, changed=True, unfinished=unfinished)


def _former(
    client: OpenSearch, meta: IndexMeta, name: str, *, where: str, stays: str, patience: Patience
) -> IndexMeta | None:
    """The record of the former index, None where it is none of ours; raises OutputError where it
    is not what was replaced."""
    found = describe_index(client, name, where=where, patience=patience)
    former = meta_of(found) if found is not None else None
    if found is not None and meta.previous_load == (former.load if former else None):
        return former
    what = "is gone" if found is None else "was deleted and made anew"
    raise OutputError(
        where,
        f"{name}, which it replaced, {what}",
        f"The alias stays on {stays}. Load another index and promote it.",
    )
