"""The indexes of one alias that are ours: the live one, those before it, those to come."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from opensearchpy import NotFoundError, OpenSearch

from embed_job.opensearch.index.alias import alias_of
from embed_job.opensearch.index.meta import IndexMeta, meta_of
from embed_job.opensearch.patience import Patience
from embed_job.opensearch.target import IndexTarget, is_own_name, write_name_of


@dataclass(frozen=True, slots=True)
class Sibling:
    """An index that says it is of the alias. aliases: on it, but for the one that loads use."""

    name: str
    meta: IndexMeta
    aliases: tuple[str, ...]

    def has_own_name(self, alias: str) -> bool:
        """Whether its name is ours, too, and not one that a spec gave it."""
        return is_own_name(alias, self.name)


def siblings_of(client: OpenSearch, target: IndexTarget, patience: Patience) -> list[Sibling]:
    """Indexes whose names begin with the alias and a dash and whose record names the alias.

    The last promoted first; those that never were come last.
    """
    alias, where = alias_of(target)

    def ask() -> dict[str, Any]:
        try:
            answer: dict[str, Any] = client.indices.get(
                index=f"{alias}-*", params={"flat_settings": "true", "allow_no_indices": "true"}
            )
        except NotFoundError:
            return {}
        return answer

    found = patience.call(ask, where=where)
    return sorted(_ours(found, alias), key=lambda one: -one.meta.promoted)


def _ours(found: dict[str, Any], alias: str) -> Iterator[Sibling]:
    for name in sorted(found):
        meta = meta_of(found[name])
        if meta is not None and meta.alias == alias:
            aliases = (found[name].get("aliases") or {}).keys() - {write_name_of(name)}
            yield Sibling(name, meta, tuple(sorted(aliases)))
