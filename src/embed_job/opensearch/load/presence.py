"""What an index holds, by origin: the other side of the receipts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from opensearchpy import OpenSearch

from embed_job.errors import OutputError
from embed_job.opensearch.patience import PATIENT, Patience
from embed_job.opensearch.serverless.visibility import await_visible
from embed_job.opensearch.target import SPLIT, IndexTarget

_PAGE_ORIGINS = 5000
_REFRESH_TIMEOUT_S = 600
"""The first refresh after a load without any writes out all that is in memory."""


def make_visible(
    client: OpenSearch,
    target: IndexTarget,
    *,
    stopping: Callable[[], bool] = lambda: False,
    patience: Patience = PATIENT,
) -> bool:
    """See that what was acknowledged is seen by searches; False: stopping() ended the wait.

    Serverless has no refresh: there it takes about a minute.
    """
    if target.is_serverless:
        return await_visible(client, target.name, patience=patience, stopping=stopping)
    params = {"request_timeout": _REFRESH_TIMEOUT_S}
    patience.call(
        lambda: client.indices.refresh(index=target.name, params=params), where=target.name
    )
    return True


def count_all(client: OpenSearch, target: IndexTarget, *, patience: Patience = PATIENT) -> int:
    """How many documents the index holds, as far as searches see them."""
    found = patience.call(lambda: client.count(index=target.name), where=target.name)
    _check_whole(found, target)
    return int(found["count"])


def count_by_origin(
    client: OpenSearch, target: IndexTarget, *, patience: Patience = PATIENT
) -> dict[str, int]:
    """Documents of each origin, by the field `split`, as far as searches see them.

    Documents without that field are not ours, and not counted.
    """
    counts: dict[str, int] = {}
    after: Mapping[str, Any] | None = None
    while True:
        page = _page(client, target, _count_query(after), patience)
        for bucket in page["buckets"]:
            counts[bucket["key"][SPLIT]] = int(bucket["doc_count"])
        after = page.get("after_key")
        if after is None:
            return counts


def _page(
    client: OpenSearch, target: IndexTarget, body: dict[str, Any], patience: Patience
) -> dict[str, Any]:
    # Shards that don't answer would look like lost documents, and be written anew.
    params = {} if target.is_serverless else {"allow_partial_search_results": "false"}
    answer = patience.call(
        lambda: client.search(index=target.name, body=body, params=params), where=target.name
    )
    _check_whole(answer, target)
    page: dict[str, Any] = answer["aggregations"]["origins"]
    return page


def _check_whole(answer: Mapping[str, Any], target: IndexTarget) -> None:
    if answer.get("timed_out") or answer["_shards"]["failed"]:
        raise OutputError(
            target.name,
            "answers for a part of its shards only",
            "See the cluster's health; run again when the index is whole.",
        )


def _count_query(after: Mapping[str, Any] | None) -> dict[str, Any]:
    composite: dict[str, Any] = {
        "size": _PAGE_ORIGINS,
        "sources": [{SPLIT: {"terms": {"field": SPLIT}}}],
    }
    if after is not None:
        composite["after"] = after
    return {
        "size": 0,
        "track_total_hits": False,
        "aggs": {"origins": {"composite": composite}},
    }
