"""Questions to an index whose answers are whole, or none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from types import TracebackType
from typing import Any

import orjson
from opensearchpy import OpenSearch
from opensearchpy.exceptions import OpenSearchException, RequestError

from embed_job.errors import OutputError
from embed_job.opensearch.patience import PATIENT

PAGE_ROWS = 10_000
"""The most that a server gives in one answer (index.max_result_window)."""
SEARCHES_A_REQUEST = 32

_KEEP_ALIVE = "5m"
_HITS = "hits.hits._id,hits.hits._score,hits.hits.sort,hits.hits.fields,hits.hits._source"
_RESPONSES = ",".join(
    f"responses.{path}" for path in ("error", "timed_out", "_shards.failed", *_HITS.split(","))
)

Hits = list[dict[str, Any]]


class PartialAnswerError(OutputError):
    """An index refuses a question, or not all of its shards have answered."""


class PointInTime:
    """An index as of when it was opened, whatever is written meanwhile. Memory: one page."""

    def __init__(self, client: OpenSearch, index: str, *, page_rows: int = PAGE_ROWS) -> None:
        self._client = client
        self._index = index
        self._page_rows = page_rows
        self._id = ""

    def __enter__(self) -> PointInTime:
        opened = _ask(
            lambda: self._client.create_pit(index=self._index, params={"keep_alive": _KEEP_ALIVE}),
            self._index,
        )
        _check_whole(self._index, opened)
        self._id = opened["pit_id"]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # The server forgets it after _KEEP_ALIVE anyway; what went wrong before matters more.
        with suppress(OpenSearchException):
            self._client.delete_pit(body={"pit_id": [self._id]})

    def pages(
        self, query: Mapping[str, Any], *, fields: Sequence[str], sort: Sequence[str]
    ) -> Iterator[Hits]:
        """The hits of a query, a page at a time. fields: those wanted, from doc values; sort:
        fields that no two documents share all values of.

        Raises PartialAnswerError where a shard does not answer.
        """
        after: list[Any] | None = None
        while hits := self._page(query, fields, sort, after):
            yield hits
            if len(hits) < self._page_rows:
                return
            after = hits[-1]["sort"]

    def _page(
        self,
        query: Mapping[str, Any],
        fields: Sequence[str],
        sort: Sequence[str],
        after: list[Any] | None,
    ) -> Hits:
        body: dict[str, Any] = {
            "size": self._page_rows,
            "query": query,
            "pit": {"id": self._id, "keep_alive": _KEEP_ALIVE},
            "sort": list(sort),
            "_source": False,
            "docvalue_fields": list(fields),
            "track_total_hits": False,
        }
        if after is not None:
            body["search_after"] = after
        wanted = f"pit_id,timed_out,_shards.failed,{_HITS}"
        answer = _ask(
            lambda: self._client.search(body=body, params={"filter_path": wanted}), self._index
        )
        self._id = answer.get("pit_id", self._id)
        return _whole_hits(self._index, answer)


def search_each(
    client: OpenSearch, index: str, bodies: Iterator[Mapping[str, Any]]
) -> Iterator[Hits]:
    """The hits of each of many searches, in their order; SEARCHES_A_REQUEST at a time.

    Raises PartialAnswerError where one is refused, or a shard does not answer; OutputError where
    the cluster stays out of reach.
    """
    while block := list(islice(bodies, SEARCHES_A_REQUEST)):
        lines = b"".join(b"{}\n" + orjson.dumps(body) + b"\n" for body in block)
        for one in _ask(partial(_search_all, client, index, lines), index)["responses"]:
            yield _whole_hits(index, one)


def _search_all(client: OpenSearch, index: str, lines: bytes) -> Mapping[str, Any]:
    answer: Mapping[str, Any] = client.msearch(
        index=index, body=lines, params={"filter_path": _RESPONSES}
    )
    return answer


def _ask(ask: Callable[[], Mapping[str, Any]], index: str) -> Mapping[str, Any]:
    """What the server answers, a refusal of the question included; patient with the rest."""

    def once() -> Mapping[str, Any]:
        try:
            return ask()
        except RequestError as error:
            return {"error": error.info}

    return PATIENT.call(once, where=index)


def _whole_hits(index: str, answer: Mapping[str, Any]) -> Hits:
    _check_whole(index, answer)
    hits: Hits = answer.get("hits", {}).get("hits", [])
    return hits


def _check_whole(index: str, answer: Mapping[str, Any]) -> None:
    if error := answer.get("error"):
        raise PartialAnswerError(
            index, f"refuses a search: {reason_of(error)}", "See what differs in the index."
        )
    if answer.get("timed_out") or answer["_shards"]["failed"]:
        raise PartialAnswerError(
            index, "answers for a part of its shards only", "See the cluster's health."
        )


def reason_of(error: object) -> str:
    """A server's reason, from the body of its answer: the innermost there is."""
    while isinstance(error, Mapping):
        causes = error.get("root_cause") or [None]
        inner = error.get("error") or causes[0]
        if inner is None or inner is error:
            return str(error.get("reason") or error.get("type") or "no reason given")[:300]
        error = inner
    return str(error)[:300]


def field_of(hit: Mapping[str, Any], name: str) -> str:
    """The one value of a field that was asked for; empty where the document has none."""
    found = hit.get("fields", {}).get(name) or [""]
    return str(found[0])
