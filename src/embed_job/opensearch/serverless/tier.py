"""Delivery into a vector collection: documents without ``_id`` and version, found by a field."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

from opensearchpy import ConnectionTimeout, OpenSearch, TransportError

from embed_job.opensearch.errors import is_passing
from embed_job.opensearch.patience import Patience
from embed_job.opensearch.serverless.copies import GENERATION
from embed_job.opensearch.serverless.scan import whole
from embed_job.opensearch.serverless.visibility import visibility_s
from embed_job.opensearch.target import ID
from embed_job.spec.opensearch import BulkSpec

_START_BYTES = 5 * 2**20
"""The service takes requests of 10 MiB at most; half of that leaves it room."""
_FIRST_WAIT_S = 0.25
_LONGEST_WAIT_S = 5.0
_QUERY_ROWS = 10_000
"""A terms query takes 65,536 values, an aggregation makes about as many buckets."""


class Serverless:
    """Rows are documents of the service's own ``_id``, with the row's id in a field.

    Guarantee: each row at least once; exactly once after
    :func:`~embed_job.opensearch.serverless.sweep.sweep_duplicates`. The service answers each item
    in its place, so that a reply is checked by its length and by each place's status. generation:
    what this load writes with; the sweep keeps the newest. stopping: ends a hold early.
    """

    checks_ids = False
    requires_alias = False

    def __init__(
        self,
        client: OpenSearch,
        index: str,
        bulk: BulkSpec,
        *,
        generation: int,
        stopping: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.start_bulk_bytes = min(_START_BYTES, int(bulk.max_mib * 2**20))
        self._client = client
        self._index = index
        self._generation = generation
        self._stopping = stopping
        self._clock = clock
        self._sleep = sleep

    @cached_property
    def hold_s(self) -> float:
        """Seconds for which a write of unknown outcome may still come to be seen."""
        patience = Patience(clock=self._clock, sleep=self._sleep)
        return visibility_s(self._client, self._index, patience=patience)

    def action(self, row_id: str, generation: int) -> bytes:  # noqa: ARG002 - fields tell both
        return b'{"index":{}}\n'

    def extra_fields(self, row_id: str) -> Mapping[str, object]:
        return {ID: row_id, GENERATION: self._generation}

    def missing(self, ids: Sequence[str], generation: int) -> Sequence[str]:
        """Those of the rows that searches have not found by the end of the hold.

        Asks at growing intervals and returns as soon as all are found. A write applied after the
        hold makes a second copy, which the sweep removes. Raises an error of the client where
        the hold ends without an answer, or by stopping(): to send again what nobody has looked
        for would make copies for nothing.
        """
        left = list(ids)
        began, wait_s = self._clock(), _FIRST_WAIT_S
        while True:
            held_s = self._clock() - began
            is_last = held_s >= self.hold_s
            try:
                left = self._unseen(left, generation)
            except TransportError as error:
                if is_last or not is_passing(error):
                    raise
            if is_last or not left:
                return left
            if self._stopping():
                raise ConnectionTimeout("TIMEOUT", "stopped while rows were looked for", None)
            self._sleep(min(wait_s, self.hold_s - held_s))
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    def _unseen(self, ids: Sequence[str], generation: int) -> list[str]:
        left: list[str] = []
        for start in range(0, len(ids), _QUERY_ROWS):
            rows = list(ids[start : start + _QUERY_ROWS])
            body = _query(rows, generation)
            answer = whole(self._client.search(index=self._index, body=body))
            seen = {bucket["key"] for bucket in answer["aggregations"]["rows"]["buckets"]}
            left += [row for row in rows if row not in seen]
        return left


def _query(rows: list[str], generation: int) -> dict[str, object]:
    """Which of the rows are there, each once however often it is."""
    wanted = [
        {"terms": {ID: rows}},
        # An older generation's documents may have another content.
        {"term": {GENERATION: generation}},
    ]
    # map: few documents are found, which is no reason to number every id of the index first.
    found = {"terms": {"field": ID, "size": len(rows), "execution_hint": "map"}}
    return {"size": 0, "query": {"bool": {"filter": wanted}}, "aggs": {"rows": found}}
