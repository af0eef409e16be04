"""What an index says of itself: ``_meta.embed_job`` of its mapping, and its settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pydantic
from opensearchpy import NotFoundError, OpenSearch

from embed_job.errors import OutputError
from embed_job.manifest import Record
from embed_job.opensearch.patience import Patience

META = "embed_job"
FORMAT = 1
_MAX_WRITES = 5


class LoadProfile(Record):
    """The settings of an index from before a load, as to be put back; None: was not set."""

    refresh_interval: str | None
    number_of_replicas: str
    approximate_threshold: str | None


class Source(Record):
    """Where an index's vectors came from, as its promotion saw it: the Parquet output's folder,
    and the bundle that made them. Neither need be there any more."""

    output: str
    bundle: str
    precision: str


class IndexMeta(Record):
    """Whose index it is and in which state.

    load: a nonce made when the index was; receipts of rows count for this one alone. merged:
    false from the start of a load to its finishing merge. profile: the settings to put back while
    a load profile is on. alias: the one that it was made for, or promoted to. promoted: 0 before
    its first promotion, else a number above those of the indexes that had the alias before.
    previous: the index that the alias pointed to before this one; previous_load: that one's load.
    source: None before its first promotion. withdrawn: it was rolled back from, so that only a
    person may promote it again.
    """

    format: int = FORMAT
    fingerprint: str
    model_fingerprint: str
    dataset: str
    load: str
    merged: bool = True
    profile: LoadProfile | None = None
    alias: str | None = None
    promoted: int = 0
    previous: str | None = None
    previous_load: str | None = None
    source: Source | None = None
    withdrawn: bool = False


def meta_of(found: Mapping[str, Any]) -> IndexMeta | None:
    """The record in an index's description; None where there is none, or not one of ours.

    found: of ``GET /<index>``, without the index's name.
    """
    plain = (found.get("mappings", {}).get("_meta") or {}).get(META)
    try:
        return IndexMeta.model_validate(plain)
    except pydantic.ValidationError:
        return None


def describe_index(
    client: OpenSearch, name: str, *, where: str, patience: Patience, defaults: bool = False
) -> dict[str, Any] | None:
    """Aliases, mappings and flat settings of an index, of one moment; None: there is no index.

    defaults: also the settings in force that nobody has set. Raises OutputError where the name
    is an alias.
    """
    params = {"flat_settings": "true"} | ({"include_defaults": "true"} if defaults else {})

    def ask() -> dict[str, Any] | None:
        try:
            answer: dict[str, Any] = client.indices.get(index=name, params=params)
        except NotFoundError:
            return None
        return answer

    answer = patience.call(ask, where=where)
    if answer is None:
        return None
    if name not in answer:
        raise OutputError(
            where,
            f"'{name}' is an alias (of {', '.join(sorted(answer))}), not an index",
            "Set index to another name.",
        )
    found: dict[str, Any] = answer[name]
    return found


Described = tuple[dict[str, Any], IndexMeta]
"""An index as describe_index answers, and the record in it."""


def settle_meta(
    client: OpenSearch,
    name: str,
    change: Callable[[dict[str, Any], IndexMeta], IndexMeta],
    *,
    read: Callable[[], Described],
    patience: Patience,
) -> Described:
    """The index once its record is as change wants it; change must leave such a record alone.

    The server replaces ``_meta`` whole, so another who writes at the same time may undo what was
    written here: it is read back, and written again. Raises OutputError where that goes on.
    """
    for _ in range(_MAX_WRITES):
        found, meta = read()
        wanted = change(found, meta)
        if wanted == meta:
            return found, meta
        _write_meta(client, name, found, wanted, patience=patience)
    raise OutputError(
        name,
        f"its record (_meta.{META}) was overwritten {_MAX_WRITES} times",
        "Let the other commands on this index end, and run again.",
    )


def _write_meta(
    client: OpenSearch, name: str, found: Mapping[str, Any], meta: IndexMeta, *, patience: Patience
) -> None:
    """Put the record into an index, keeping what others have in its ``_meta``."""
    everything = dict(found.get("mappings", {}).get("_meta") or {})
    everything[META] = meta.model_dump(mode="json")
    patience.call(
        lambda: client.indices.put_mapping(index=name, body={"_meta": everything}), where=name
    )
