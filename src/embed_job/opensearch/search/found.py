"""The index that questions go to, as it tells of itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from opensearchpy import OpenSearch

from embed_job.errors import OutputError
from embed_job.opensearch.index.mapping import fields_by_name
from embed_job.opensearch.index.meta import IndexMeta, meta_of
from embed_job.opensearch.search.question import Space
from embed_job.opensearch.target import VECTOR
from embed_job.spec.opensearch import OpenSearchOutput


@dataclass(frozen=True, slots=True)
class FoundIndex:
    """An index to search. asked: the name that searches are sent to, the alias where it has one.

    fields: of its documents, by full name, as its mapping has them.
    """

    asked: str
    index: str
    fields: Mapping[str, Mapping[str, Any]]
    meta: IndexMeta
    is_serverless: bool

    @property
    def promoted(self) -> bool:
        """Whether it is the one that the alias names."""
        return self.asked != self.index

    @property
    def space(self) -> Space:
        field = self.fields[VECTOR]
        space = field.get("space_type") or (field.get("method") or {}).get("space_type")
        return "innerproduct" if space == "innerproduct" else "cosinesimil"

    @property
    def is_byte(self) -> bool:
        """Whether its vectors are kept as bytes."""
        return str(self.fields[VECTOR].get("data_type")).lower() == "byte"


def find_index(client: OpenSearch, output: OpenSearchOutput, name: Callable[[], str]) -> FoundIndex:
    """The index that the alias names; where it names none yet, the spec's own.

    name: of the spec's index, asked for where it is needed. Raises OutputError where there is
    neither, the alias names several, or it is an index of somebody else's.
    """
    answer = _named(client, output.alias) if output.alias else {}
    asked = output.alias
    if not answer:
        asked = name()
        answer = _named(client, asked)
    if len(answer) != 1 or asked is None:
        what = f"names {len(answer)} indexes" if answer else "is not there"
        raise OutputError(
            f"{output.url}/{asked}", what, "Load it first: embed-job load SPEC; then promote it."
        )
    [(index, found)] = answer.items()
    return _found(output, asked, index, found)


def index_named(client: OpenSearch, output: OpenSearchOutput, name: str) -> FoundIndex:
    """An index by its own name, whatever alias is on it. Raises OutputError where there is none,
    or it is somebody else's."""
    found = _named(client, name).get(name)
    if found is None:
        raise OutputError(
            f"{output.url}/{name}", "there is no such index", "Load it: embed-job load SPEC."
        )
    return _found(output, name, name, found)


def _found(
    output: OpenSearchOutput, asked: str, index: str, found: Mapping[str, Any]
) -> FoundIndex:
    meta, fields = meta_of(found), _typed_fields(found)
    if meta is None or VECTOR not in fields:
        raise OutputError(
            f"{output.url}/{index}", "is not an index of embed-job", "Check alias and index."
        )
    return FoundIndex(asked, index, fields, meta, output.is_serverless)


def _named(client: OpenSearch, name: str) -> Mapping[str, Any]:
    """What the server tells of an alias or index, by index; nothing where there is none."""
    params = {"flat_settings": "true", "ignore_unavailable": "true", "allow_no_indices": "true"}
    found: Mapping[str, Any] = client.indices.get(index=name, params=params)
    return found


def _typed_fields(found: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    fields = fields_by_name(found["mappings"].get("properties", {}))
    return {name: field for name, field in fields if "type" in field}
