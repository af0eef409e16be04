"""The alias that searches use: who has it, and one request that moves it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from opensearchpy import NotFoundError, OpenSearch

from embed_job.errors import OutputError
from embed_job.opensearch.index.meta import Described, describe_index, meta_of
from embed_job.opensearch.patience import PATIENT, Patience
from embed_job.opensearch.target import IndexTarget, write_name_of


@dataclass(frozen=True, slots=True)
class Promotion:
    """What the alias points to now. previous: what it pointed to before; changed: by this call.
    unfinished: a load of that index is at work, or was broken off."""

    alias: str
    index: str
    previous: str | None
    changed: bool
    unfinished: bool = False


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


def swap(
    client: OpenSearch, alias: str, old: str | None, new: str, *, where: str, patience: Patience
) -> None:
    """Both changes in one request, which the cluster applies whole or not at all.

    old: None where the alias is on no index. Raises OutputError where somebody else has moved it.
    """
    actions: list[dict[str, Any]] = [{"add": {"index": new, "alias": alias}}]
    if old is not None:
        # must_exist: somebody who has moved the alias meanwhile is not overruled.
        actions.insert(0, {"remove": {"index": old, "alias": alias, "must_exist": True}})

    def ask() -> None:
        try:
            client.indices.update_aliases(body={"actions": actions})
        except NotFoundError:
            # This very request may have been applied before, and its answer lost: read back.
            if holder_of(client, alias, where=where, patience=patience) != new:
                raise

    patience.call(ask, where=where)
    holder = holder_of(client, alias, where=where, patience=patience)
    if holder != new:
        raise OutputError(
            where,
            f"the alias is on {holder or 'no index'}, not on {new}: somebody else has moved it",
            "Find out who, and run again.",
        )


def alias_of(target: IndexTarget) -> tuple[str, str]:
    """The alias of a target, and its place for messages. Raises OutputError where it has none."""
    if target.alias is None:
        raise OutputError(
            "opensearch.alias",
            "is not set, so there is nothing to promote",
            "Set alias to the name that searches use.",
        )
    return target.alias, f"{target.output.url}/{target.alias}"


def described(client: OpenSearch, target: IndexTarget, patience: Patience) -> Described:
    """The target's index as it is. Raises OutputError where there is none of ours."""
    where = f"{target.output.url}/{target.name}"
    found = describe_index(client, target.name, where=where, patience=patience)
    meta = meta_of(found) if found is not None else None
    if found is None or meta is None:
        what = "there is no such index" if found is None else "is no index of embed-job"
        raise OutputError(where, what, "`embed-job load SPEC` makes it.")
    return found, meta
