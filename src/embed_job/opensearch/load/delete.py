"""Deletions from an index, with the generation of whoever deletes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from embed_job.errors import OutputError
from embed_job.opensearch.check.pages import PointInTime
from embed_job.opensearch.errors import explained
from embed_job.opensearch.load.opening import IndexLoad
from embed_job.opensearch.load.presence import split_field
from embed_job.opensearch.load.stale import Stale
from embed_job.opensearch.patience import PATIENT, Patience
from embed_job.opensearch.serverless.sweep import delete_splits
from embed_job.opensearch.target import SPLIT

_BATCH = 1000
_SPLITS_A_QUERY = 1000


def delete_stale(
    load: IndexLoad,
    stale: Stale,
    *,
    stopping: Callable[[], bool],
    patience: Patience = PATIENT,
) -> int:
    """Delete it, and say how many went; idempotent. Stops early where stopping() says so.

    Receipts of splits that are gone are withdrawn first, so that none stands for documents that
    are not there. Deletions carry this run's generation: what a later run has written stays, and
    is an OutputError.
    """
    for split in load.ledger.receipts():
        if split_field(split) in stale.splits:
            load.ledger.withdraw(split)
    if load.index.target.is_serverless:
        swept = delete_splits(
            load.client, load.name, stale.splits, stopping=stopping, patience=patience
        )
        return swept.deleted
    deleted = 0
    for start in range(0, len(stale.splits), _SPLITS_A_QUERY):
        some = stale.splits[start : start + _SPLITS_A_QUERY]
        query: dict[str, Any] = {"terms": {SPLIT: list(some)}}
        deleted += _delete(load, query, None, stopping, patience)
    for one in stale.surplus:
        query = {"term": {SPLIT: split_field(one.receipt.split)}}
        deleted += _delete(load, query, one.receipt.generation, stopping, patience)
    return deleted


def _delete(
    load: IndexLoad,
    query: Mapping[str, Any],
    below: int | None,
    stopping: Callable[[], bool],
    patience: Patience,
) -> int:
    """Delete a query's documents; below: only those of a generation before that one."""
    deleted = 0
    with explained(load.where), PointInTime(load.client, load.name) as moment:
        for page in moment.pages(query, fields=(), sort=("doc_id", "chunk")):
            ids = [str(hit["_id"]) for hit in page]
            if below is not None:
                ids = _older(load, ids, below)
            for start in range(0, len(ids), _BATCH):
                if stopping():
                    return deleted
                deleted += _delete_batch(load, ids[start : start + _BATCH], patience)
    return deleted


def _older(load: IndexLoad, ids: Sequence[str], below: int) -> list[str]:
    """Those whose document is of an earlier generation."""
    found = load.client.mget(index=load.name, body={"ids": list(ids)}, params={"_source": "false"})
    return [one["_id"] for one in found["docs"] if one.get("found") and one["_version"] < below]


def _delete_batch(load: IndexLoad, ids: Sequence[str], patience: Patience) -> int:
    """Delete documents by id; how many were there. A busy cluster is asked again, patiently."""
    left, deleted = list(ids), 0
    until = patience.clock() + patience.limit_s
    while left:
        body = b"".join(_delete_line(row_id, load.generation) for row_id in left)
        answer = patience.call(
            lambda body=body: load.client.bulk(index=load.name, body=body),  # type: ignore[misc]
            where=load.where,
        )
        items = [item["delete"] for item in answer["items"]]
        if [item["_id"] for item in items] != left:
            raise OutputError(load.where, "answers deletions with others", "Check what is at url.")
        deleted += sum(item["status"] == 200 for item in items)
        left = [item["_id"] for item in items if not _is_settled(load, item)]
        if left and patience.clock() >= until:
            raise OutputError(
                load.where, f"{len(left)} documents were not deleted: too busy", "Load again later."
            )
        if left:
            patience.sleep(1.0)
    return deleted


def _delete_line(row_id: str, generation: int) -> bytes:
    return b'{"delete":{"_id":%b,"version":%d,"version_type":"external_gte"}}\n' % (
        orjson.dumps(row_id),
        generation,
    )


def _is_settled(load: IndexLoad, item: Mapping[str, Any]) -> bool:
    """False: to be asked for again."""
    status = item["status"]
    if status == 409:
        raise fenced(load.where)
    if status == 429 or status >= 500:
        return False
    if status not in (200, 404):
        reason = item.get("error", {}).get("reason", f"status {status}")
        raise OutputError(load.where, f"a document was not deleted: {reason}", "Load again.")
    return True


def fenced(where: str) -> OutputError:
    """What a run is told whose documents a later run has written over."""
    return OutputError(
        where,
        "a later run writes to this index, so this one stops",
        "Let that one end; then load once more, to see that nothing is left.",
    )
