"""Deletions by the ``_id`` that the service gave."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import orjson
from opensearchpy import OpenSearch

from embed_job.errors import OutputError
from embed_job.opensearch.patience import Patience

BATCH = 1000
_ATTEMPTS = 8
_FIRST_WAIT_S = 0.5


def delete_documents(
    client: OpenSearch,
    index: str,
    documents: Iterable[str],
    *,
    check: Callable[[], None] = lambda: None,
    patience: Patience,
) -> int:
    """Delete documents by ``_id``; how many there were, those that had gone before included.

    check: called before each batch, and raises where it must not go.
    Each is acknowledged as deleted or as not there, else asked for again: a deletion may be
    repeated without harm. Searches see it some time later. Raises OutputError.
    """
    done = 0
    for batch in _batches(documents):
        check()
        pending = batch
        for attempt in range(_ATTEMPTS):
            pending = _send(client, index, pending, patience)
            if not pending:
                break
            patience.sleep(_FIRST_WAIT_S * 2**attempt)
        else:
            raise OutputError(
                index, f"{len(pending)} documents were not deleted: too busy", "Run again later."
            )
        done += len(batch)
    return done


def _send(
    client: OpenSearch, index: str, documents: Sequence[str], patience: Patience
) -> list[str]:
    """Ask once for all; those to be asked for again."""
    lines = [orjson.dumps({"delete": {"_id": document}}) for document in documents]
    body = b"\n".join([*lines, b""])
    reply = patience.call(lambda: client.bulk(body=body, index=index), where=index)
    items = reply.get("items", []) if isinstance(reply, dict) else []
    # A reply that is short, or not of this request, says nothing of any of them.
    if [item.get("delete", {}).get("_id") for item in items] != list(documents):
        return list(documents)
    return [
        document
        for document, item in zip(documents, items, strict=True)
        if not _is_gone(item["delete"], index)
    ]


def _is_gone(item: dict[str, Any], index: str) -> bool:
    """False: later. Raises OutputError for a refusal."""
    status = item["status"]
    if status == 200 or (status == 404 and item.get("result") == "not_found"):
        return True
    if status == 429 or status >= 500:
        return False
    reason = item.get("error", {}).get("reason", f"status {status}")
    raise OutputError(index, f"a document was not deleted: {reason}", "Check the access policy.")


def _batches(documents: Iterable[str]) -> Iterator[list[str]]:
    left = iter(documents)
    while batch := list(islice(left, BATCH)):
        yield batch
