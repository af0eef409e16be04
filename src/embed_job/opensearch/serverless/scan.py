"""The documents of an index in order of their rows, page by page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from opensearchpy import OpenSearch, TransportError

from embed_job.opensearch.patience import Patience
from embed_job.opensearch.serverless.copies import GENERATION, Copy, after, whole_rows
from embed_job.opensearch.target import ID

PAGE_ROWS = 5000
_SORT = [{ID: "asc"}, {GENERATION: "desc"}]


def pages(
    client: OpenSearch,
    index: str,
    query: dict[str, Any],
    *,
    patience: Patience,
    page_rows: int = PAGE_ROWS,
) -> Iterator[list[Copy]]:
    """Documents that a query finds, sorted by row; a row's copies in one page.

    No point in time is held: each page is a fresh search behind the last row, so that a row's
    copies are judged by one answer. A row of more copies than a page holds is cut. Memory: one
    page. Raises OutputError.
    """
    body: dict[str, Any] = {"size": page_rows, "query": query, "sort": _SORT, "_source": False}
    while True:
        page = _page(client, index, body, patience)
        full = len(page) == page_rows
        rows = whole_rows(page, full=full)
        if rows:
            yield rows
        if not full:
            return
        body = body | {"search_after": after(rows[-1].row)}


def whole(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer, if all of the index has given it.

    Else raises the error that the server answers where a part is not enough, so that it is asked
    again. The parameter that says so is not among those that Serverless documents.
    """
    if answer.get("timed_out") or answer["_shards"]["failed"]:
        reason = {"reason": "only a part of the shards answered"}
        raise TransportError(503, "search_phase_execution_exception", {"error": reason})
    return answer


def _page(client: OpenSearch, index: str, body: dict[str, Any], patience: Patience) -> list[Copy]:
    answer = patience.call(lambda: whole(client.search(index=index, body=body)), where=index)
    return [Copy(hit["sort"][0], hit["sort"][1], hit["_id"]) for hit in answer["hits"]["hits"]]
