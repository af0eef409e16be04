"""Deletions from an index, with the generation of whoever deletes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
    check: Callable[[], None],
    stopping: Callable[[], bool],
    patience: Patience = PATIENT,
) -> int:
    """Delete it, and say how many went; idempotent. Stops early where stopping() says so.

    check: called before each batch, and raises where it must not go. Deletions carry this run's
    generation, which must have been claimed before stale was seen: what a later run has written
    stays, and is an OutputError.
    """
    if load.index.target.is_serverless:
        return _delete_copies(load, stale, check, stopping, patience)
    deleting = _Deleting(load, check, stopping, patience)
    deleted = 0
    for start in range(0, len(stale.splits), _SPLITS_A_QUERY):
        some = stale.splits[start : start + _SPLITS_A_QUERY]
        deleted += deleting.all_of({"terms": {SPLIT: list(some)}}, None)
    for one in stale.surplus:
        query = {"term": {SPLIT: split_field(one.receipt.split)}}
        deleted += deleting.all_of(query, one.receipt.generation)
    return deleted


def _delete_copies(
    load: IndexLoad,
    stale: Stale,
    check: Callable[[], None],
    stopping: Callable[[], bool],
    patience: Patience,
) -> int:
    """On Serverless, where the generation is a field."""
    deleted = 0
    doomed = [
        ([split_field(one.receipt.split)], one.receipt.generation - 1) for one in stale.surplus
    ]
    if stale.splits:
        doomed.insert(0, (list(stale.splits), load.generation))
    for splits, newest in doomed:
        deleted += delete_splits(
            load.client, load.name, splits,
            newest=newest, check=check, stopping=stopping, patience=patience,
        ).deleted  # fmt: skip
    return deleted


@dataclass(frozen=True, slots=True)
class _Deleting:
    load: IndexLoad
    check: Callable[[], None]
    stopping: Callable[[], bool]
    patience: Patience

    def all_of(self, query: Mapping[str, Any], below: int | None) -> int:
        """Delete a query's documents; below: only those of a generation before that one."""
        load, deleted = self.load, 0
        with explained(load.where), PointInTime(load.client, load.name) as moment:
            for page in moment.pages(query, fields=(), sort=("doc_id", "chunk")):
                ids = [str(hit["_id"]) for hit in page]
                if below is not None:
                    ids = _older(load, ids, below)
                for start in range(0, len(ids), _BATCH):
                    if self.stopping():
                        return deleted
                    self.check()
                    deleted += _delete_batch(load, ids[start : start + _BATCH], self.patience)
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
