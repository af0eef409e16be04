"""Indexes that no rollback needs any more: deleted, once another was promoted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from opensearchpy import NotFoundError, OpenSearch

from embed_job.errors import OutputError
from embed_job.opensearch.index.alias import alias_of
from embed_job.opensearch.index.siblings import Sibling, siblings_of
from embed_job.opensearch.patience import PATIENT, Patience
from embed_job.opensearch.target import IndexTarget


@dataclass(frozen=True, slots=True)
class Pruned:
    """deleted: names of indexes that went. stayed: a sentence of each that should have gone."""

    deleted: tuple[str, ...] = ()
    stayed: tuple[str, ...] = ()


def prune(client: OpenSearch, target: IndexTarget, *, patience: Patience = PATIENT) -> Pruned:
    """Delete the alias's older indexes but for `keep_indexes` of them, the target's included.

    Only such as have a name that we gave, say in their record that they are of this alias, and
    had it before the target's. Never the live index, the one that it replaced, one that another
    alias is on, or one that is being loaded. Each goes in one request with a look at the alias:
    where somebody has moved it, nothing goes. An index that can't be deleted stays, and is told of.
    """
    alias, _ = alias_of(target)
    try:
        siblings = siblings_of(client, target, patience)
    except OutputError as error:
        # The alias is where it should be; the next promotion looks again.
        return Pruned(stayed=(f"older indexes stay, as they can't be listed: {error.what}",))
    live = next((one for one in siblings if one.name == target.name), None)
    if live is None or alias not in live.aliases:
        return Pruned()
    deleted, stayed = [], []
    for one in _older(siblings, live, alias, keep=target.output.keep_indexes):
        if why := _in_use(one) or _delete(client, target, one.name, patience):
            stayed.append(f"{one.name} stays: {why}")
        else:
            deleted.append(one.name)
    return Pruned(tuple(deleted), tuple(stayed))


def _older(siblings: list[Sibling], live: Sibling, alias: str, *, keep: int) -> Iterator[Sibling]:
    """Those beyond the ones to keep: the live one, the one that it replaced, then by promotion.

    A higher number than the live one's is of an index that was rolled back from, or of one whose
    promotion was broken off: neither is older.
    """
    needed = {live.name, live.meta.previous}
    had_it = range(1, live.meta.promoted)
    others = [one for one in siblings if one.name not in needed and one.meta.promoted in had_it]
    spare = keep - sum(name is not None for name in needed)
    return (one for one in others[spare:] if one.has_own_name(alias))


def _in_use(one: Sibling) -> str | None:
    if one.aliases:
        return f"the alias {one.aliases[0]} is on it"
    if one.meta.profile is not None:
        return "it is being loaded, or a load of it was broken off"
    return None


def _delete(client: OpenSearch, target: IndexTarget, name: str, patience: Patience) -> str | None:
    """Delete an index while the alias is on the target's; why that could not be done, else None."""
    alias, where = alias_of(target)
    held = {"index": target.name, "alias": alias}
    actions = [
        # Were the alias elsewhere by now, the whole request would be refused.
        {"remove": {**held, "must_exist": True}},
        {"add": held},
        {"remove_index": {"index": name}},
    ]

    def ask() -> None:
        try:
            client.indices.update_aliases(body={"actions": actions})
        except NotFoundError:
            # Gone already, by somebody else or by this very request, whose answer was lost.
            if client.indices.exists(index=name):
                raise

    try:
        patience.call(ask, where=where)
    except OutputError as error:
        return f"it could not be deleted: {error.what}"
    return None
