"""A canary's queries asked of one index: which documents come first, and how long that takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from opensearchpy import OpenSearch

from embed_job.engine import Vectors
from embed_job.errors import UserError
from embed_job.opensearch.canary.measures import TOP
from embed_job.opensearch.canary.queries import CanaryQuery
from embed_job.opensearch.canary.vectors import CanaryError
from embed_job.opensearch.check.pages import Hits, field_of, search_each
from embed_job.opensearch.search.filters import parse_filters
from embed_job.opensearch.search.found import FoundIndex
from embed_job.opensearch.search.question import MIN_K, cosine_of, nearest_query
from embed_job.opensearch.target import ID

DOC_ID = "doc_id"


@dataclass(frozen=True, slots=True)
class FoundDocument:
    """A document of an answer, by its best row. score: cosine."""

    doc_id: str
    row: str
    score: float


Answer = tuple[FoundDocument, ...]
"""The first TOP documents, best first, each once."""


class Asking:
    """Queries to one index, one at a time, with their vectors."""

    def __init__(
        self,
        client: OpenSearch,
        index: FoundIndex,
        queries: Sequence[CanaryQuery],
        vectors: Vectors,
        *,
        clock: Callable[[], float],
    ) -> None:
        """vectors: float32 [queries, dimension]. Raises CanaryError where a filter does not go
        with the index's fields."""
        self.index = index
        self.seconds: list[float] = []
        self._client = client
        self._clock = clock
        self._bodies = [
            _body(index, query, vector) for query, vector in zip(queries, vectors, strict=True)
        ]

    def ask(self, number: int) -> Answer:
        """The answer to a query; how long it took is added to seconds."""
        began_s = self._clock()
        (hits,) = search_each(self._client, self.index.index, iter([self._bodies[number]]))
        self.seconds.append(self._clock() - began_s)
        return tuple(_documents(self.index, hits))

    def texts(self, answers: Sequence[Answer]) -> Iterator[dict[str, str]]:
        """For each answer, the text of each of its rows; empty where the index has no texts."""
        if "text" not in self.index.fields:
            return iter([{}] * len(answers))
        bodies = (_of_rows(self.index, [one.row for one in answer]) for answer in answers)
        found = search_each(self._client, self.index.index, bodies)
        return (
            {_row_of(self.index, hit): str(hit["_source"].get("text", "")) for hit in hits}
            for hits in found
        )


def _body(index: FoundIndex, query: CanaryQuery, vector: Vectors) -> dict[str, Any]:
    try:
        clauses = parse_filters(query.filters, index.fields)
    except UserError as error:
        what = f"a filter of it: {error.what} ({index.index})"
        raise CanaryError(query.where, what, error.hint) from None
    return {
        "size": MIN_K,
        "query": nearest_query(vector, k=MIN_K, is_byte=index.is_byte, filters=clauses),
        "_source": False,
        "docvalue_fields": _names(index),
    }


def _of_rows(index: FoundIndex, rows: Sequence[str]) -> dict[str, Any]:
    query = {"terms": {ID: [*rows]}} if index.is_serverless else {"ids": {"values": [*rows]}}
    # Twice as many: on Serverless there may be a second copy of a row for a while.
    return {
        "size": 2 * TOP,
        "query": query,
        "_source": ["text"],
        "docvalue_fields": _names(index),
    }


def _names(index: FoundIndex) -> list[str]:
    return [DOC_ID, *([ID] if index.is_serverless else [])]


def _documents(index: FoundIndex, hits: Hits) -> Iterator[FoundDocument]:
    seen: set[str] = set()
    for hit in hits:
        name = field_of(hit, DOC_ID)
        if name in seen or len(seen) == TOP:
            continue
        seen.add(name)
        cosine = cosine_of(hit["_score"], space=index.space, is_byte=index.is_byte)
        yield FoundDocument(name, _row_of(index, hit), cosine)


def _row_of(index: FoundIndex, hit: Mapping[str, Any]) -> str:
    return field_of(hit, ID) if index.is_serverless else str(hit["_id"])
