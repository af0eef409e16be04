"""The alias that searches use: swapped in one request, and swapped back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from opensearchpy import NotFoundError, OpenSearch

from embed_job.errors import OutputError
from embed_job.opensearch.index.meta import Described, describe_index, meta_of, settle_meta
from embed_job.opensearch.patience import PATIENT, Patience
from embed_job.opensearch.target import IndexTarget, write_name_of


@dataclass(frozen=True, slots=True)
class Promotion:
    """What the alias points to now. previous: what it pointed to before; changed: by this call."""

    alias: str
    index: str
    previous: str | None
    changed: bool


def holder_of(
    client: OpenSearch, alias: str, *, where: str, patience: Patience = PATIENT
) -> str | None:
    """The one index that an alias points to; None: there is no such alias.

    Raises OutputError where the alias has several indexes, and as holders_of does.
    """
    holders = holders_of(client, alias, where=where, patience=patience)
    if len(holders) > 1:
        raise OutputError(
            where,
            f"the alias is on {len(holders)} indexes: {', '.join(holders)}",
            "Leave it on one of them: only then is a promotion one swap, and a rollback another.",
        )
    return next(iter(holders), None)


def holders_of(client: OpenSearch, alias: str, *, where: str, patience: Patience) -> list[str]:
    """The indexes that an alias points to, by name; [] where there is no such alias.

    Raises OutputError where the name can't be searches' alias: it is an index's, or the one that
    loads of an index write to.
    """

    def ask() -> list[str]:
        try:
            return sorted(client.indices.get(index=alias, params={"flat_settings": "true"}))
        except NotFoundError:
            return []

    holders = patience.call(ask, where=where)
    if alias in holders:
        raise OutputError(
            where,
            f"'{alias}' is an index, so it can't be an alias",
            "Name another alias; or, once nobody needs that index, delete it.",
        )
    for holder in holders:
        if alias == write_name_of(holder):
            raise OutputError(
                where,
                f"'{alias}' is what loads of the index {holder} write to",
                "Name another alias.",
            )
    return holders


def promote(client: OpenSearch, target: IndexTarget, *, patience: Patience = PATIENT) -> Promotion:
    """Point the alias to the target's index, in one request; the old index stays.

    Idempotent; a crash leaves the alias on the old index or on the new one, never both or none.
    Checks nothing: that comes before.
    """
    alias, where = _alias_of(target)
    old = holder_of(client, alias, where=where, patience=patience)
    _, meta = _described(client, target, patience)
    if old == target.name:
        return Promotion(alias, target.name, meta.previous, changed=False)
    if old is not None:
        # Before the swap: an index that is live always knows what it replaced.
        settle_meta(
            client,
            target.name,
            lambda _, meta: meta.model_copy(update={"previous": old}),
            read=lambda: _described(client, target, patience),
            patience=patience,
        )
    _swap(client, alias, old, target.name, where=where, patience=patience)
    return Promotion(alias, target.name, old, changed=True)


def rollback(client: OpenSearch, target: IndexTarget, *, patience: Patience = PATIENT) -> Promotion:
    """Point the alias back to what the target's index had replaced. Idempotent likewise.

    Raises OutputError where there was nothing, it is gone, or the alias is on another index.
    """
    alias, where = _alias_of(target)
    holder = holder_of(client, alias, where=where, patience=patience)
    _, meta = _described(client, target, patience)
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
    _check_searchable(client, before, where=where, stays=target.name, patience=patience)
    _swap(client, alias, target.name, before, where=where, patience=patience)
    return Promotion(alias, before, target.name, changed=True)


def _check_searchable(
    client: OpenSearch, before: str, *, where: str, stays: str, patience: Patience
) -> None:
    """Raise OutputError where searches of the former index would find nothing, or a part."""
    found = describe_index(client, before, where=where, patience=patience)
    if found is None:
        raise OutputError(
            where,
            f"{before}, which it replaced, is gone",
            f"The alias stays on {stays}. Load another index and promote it.",
        )
    meta = meta_of(found)
    if meta is not None and (meta.profile is not None or not meta.merged):
        raise OutputError(
            where,
            f"{before}, which it replaced, is being loaded, or a load of it was broken off",
            f"The alias stays on {stays}. End that load first, with its own spec: "
            "`embed-job load SPEC`.",
        )


def _swap(
    client: OpenSearch, alias: str, old: str | None, new: str, *, where: str, patience: Patience
) -> None:
    """Both changes in one request, which the cluster applies whole or not at all."""
    actions: list[dict[str, Any]] = [{"add": {"index": new, "alias": alias}}]
    if old is not None:
        # must_exist: somebody who has moved the alias meanwhile is not overruled.
        actions.insert(0, {"remove": {"index": old, "alias": alias, "must_exist": True}})

    def swap() -> None:
        try:
            client.indices.update_aliases(body={"actions": actions})
        except NotFoundError:
            # This very request may have been applied before, and its answer lost: read back.
            if holder_of(client, alias, where=where, patience=patience) != new:
                raise

    patience.call(swap, where=where)
    holder = holder_of(client, alias, where=where, patience=patience)
    if holder != new:
        raise OutputError(
            where,
            f"the alias is on {holder or 'no index'}, not on {new}: somebody else has moved it",
            "Find out who, and run again.",
        )


def _alias_of(target: IndexTarget) -> tuple[str, str]:
    if target.alias is None:
        raise OutputError(
            "opensearch.alias",
            "is not set, so there is nothing to promote",
            "Set alias to the name that searches use.",
        )
    return target.alias, f"{target.output.url}/{target.alias}"


def _described(client: OpenSearch, target: IndexTarget, patience: Patience) -> Described:
    where = f"{target.output.url}/{target.name}"
    found = describe_index(client, target.name, where=where, patience=patience)
    meta = meta_of(found) if found is not None else None
    if found is None or meta is None:
        what = "there is no such index" if found is None else "is no index of embed-job"
        raise OutputError(where, what, "`embed-job load SPEC` makes it.")
    return found, meta
