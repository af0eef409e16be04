"""Documents deleted by their ``_id``, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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
    generation: int | None,
    check: Callable[[], None] = lambda: None,
    patience: Patience,
) -> int:
    """Delete documents by ``_id``; how many there were, those that had gone before included.

    generation: the version that deletions carry, so that what a later writer has written stays;
    None: documents have no version of ours, as on Serverless. check: called before each batch, and
    raises where it must not go.
    Each is acknowledged as deleted or as not there, else asked for again: a deletion may be
    repeated without harm. On Serverless searches see it some time later. Raises OutputError.
    """
    sending = _Sending(client, index, generation, patience)
    done = 0
    for batch in _batches(documents):
        check()
        pending = batch
        for attempt in range(_ATTEMPTS):
            pending = sending.send(pending)
            if not pending:
                break
            patience.sleep(_FIRST_WAIT_S * 2**attempt)
        else:
            raise OutputError(
                index, f"{len(pending)} documents were not deleted: too busy", "Run again later."
            )
        done += len(batch)
    return done


@dataclass(frozen=True, slots=True)
class _Sending:
    client: OpenSearch
    index: str
    generation: int | None
    patience: Patience

    def send(self, documents: Sequence[str]) -> list[str]:
        """Ask once for all; those to be asked for again."""
        body = b"".join(map(self._line, documents))
        reply = self.patience.call(
            lambda: self.client.bulk(body=body, index=self.index), where=self.index
        )
        items = reply.get("items", []) if isinstance(reply, dict) else []
        # A reply that is short, or not of this request, says nothing of any of them.
        if [item.get("delete", {}).get("_id") for item in items] != list(documents):
            return list(documents)
        return [
            document
            for document, item in zip(documents, items, strict=True)
            if not self._is_gone(item["delete"])
        ]

    def _line(self, document: str) -> bytes:
        action: dict[str, object] = {"_id": document}
        if self.generation is not None:
            action |= {"version": self.generation, "version_type": "external_gte"}
        return orjson.dumps({"delete": action}, option=orjson.OPT_APPEND_NEWLINE)

    def _is_gone(self, item: Mapping[str, Any]) -> bool:
        """False: later. Raises OutputError for a refusal."""
        status = item["status"]
        if status == 200 or (status == 404 and item.get("result") == "not_found"):
            return True
        if status == 429 or status >= 500:
            return False
        if status == 409:
            raise OutputError(
                self.index,
                "a later run writes to this index, so this one stops",
                "Let that one end; then load once more, to see that nothing is left.",
            )
        reason = item.get("error", {}).get("reason", f"status {status}")
        raise OutputError(
            self.index, f"a document was not deleted: {reason}", "Check who may write to it."
        )


def _batches(documents: Iterable[str]) -> Iterator[list[str]]:
    left = iter(documents)
    while batch := list(islice(left, BATCH)):
        yield batch
