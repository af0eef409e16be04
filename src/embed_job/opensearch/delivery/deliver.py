"""The delivery loop: one thread encodes, others send, until each row is acknowledged or refused."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Self

import opensearchpy

from embed_job.opensearch.delivery.chunks import Operation, cut
from embed_job.opensearch.delivery.encode import Encoder, Storage
from embed_job.opensearch.delivery.flow import Flow
from embed_job.opensearch.delivery.pace import Pace
from embed_job.opensearch.delivery.replies import Fate
from embed_job.opensearch.delivery.results import Delivered, DeliveryStats, Refused, SplitRows
from embed_job.opensearch.delivery.send import Sender, given_up
from embed_job.opensearch.delivery.tier import Tier
from embed_job.spec.opensearch import BulkSpec

POLL_S = 0.1
DRAIN_S = 20.0
"""How long requests under way are waited for once the delivery is to stop."""
EXIT_S = 2.0
"""How long this delivery's threads are waited for at its end; an input may hold one for longer."""
CREDENTIALS_S = 120.0
"""How long expired credentials are given to be renewed."""


class Delivery:
    """Delivers splits into one index; one for a process and index, used by one thread.

    Guarantee: a split is given out by ``run`` once each of its rows was acknowledged or refused.
    Memory: encoded rows that are not acknowledged take at most bulk.max_mib ×
    (bulk.max_concurrency + 2), and one bulk that is being filled; beside them the reasons of
    refused rows, 300 characters each, until their split ends.
    """

    def __init__(
        self,
        client: opensearchpy.OpenSearch,
        index_name: str,
        tier: Tier,
        *,
        bulk: BulkSpec,
        storage: Storage,
        generation: int,
        stopping: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """index_name: what rows are written to (``IndexTarget.write_name``). generation: the
        version that rows get. stopping: asked ten times a second."""
        max_bytes = min(int(bulk.max_mib * (1 << 20)), tier.start_bulk_bytes)
        self._bulk = bulk
        self._stopping = stopping
        self._clock = clock
        self._encoder = Encoder(tier, storage, generation)
        self._pace = Pace(
            max_concurrency=bulk.max_concurrency,
            bulk_bytes=max_bytes,
            rng=random.Random(),  # noqa: S311 - jitter
        )
        self._flow = Flow(self._pace, max_bytes=max_bytes * (bulk.max_concurrency + 2), clock=clock)
        self._sender = Sender(client, index_name, tier, generation, bulk.timeout_s)
        self._senders: list[threading.Thread] = []
        self._reader: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._flow.close()
        until = self._clock() + EXIT_S
        for thread in [*self._senders, *([self._reader] if self._reader else [])]:
            thread.join(max(0.0, until - self._clock()))

    @property
    def stats(self) -> DeliveryStats:
        """What was sent so far, over all runs."""
        return self._flow.stats

    def run(self, splits: Iterable[SplitRows]) -> Iterator[Delivered]:
        """Each split once it is settled, in the order in which that happens.

        splits, and their rows, are iterated over by a thread of this delivery, and may wait for
        more to come. Where stopping() turns true, nothing more is sent, what is under way is
        waited for, and the iterator ends; splits that were not given out are to be sent again.

        Raises OutputError where the index is gone, a later generation took over, access is
        refused, a reply is about other rows, or no row was acknowledged for bulk.deadline_s;
        also what the iteration over splits raises.
        """
        if not self._senders:
            self._senders = [_started(self._send) for _ in range(self._bulk.max_concurrency)]
        self._flow.begin_reading()
        self._reader = _started(self._read, splits)
        try:
            yield from self._settled()
        finally:
            if not self._flow.finished:
                self._flow.close()
        if self._flow.error is not None:
            raise self._flow.error

    def _settled(self) -> Iterator[Delivered]:
        flow = self._flow
        drained_by: float | None = None
        while not flow.finished:
            if not flow.closed:
                self._check()
            if (done := flow.wait(POLL_S)) is not None:
                yield done
            elif flow.closed:
                drained_by = drained_by or self._clock() + DRAIN_S
                if self._clock() >= drained_by:
                    return

    def _check(self) -> None:
        flow = self._flow
        if self._stopping():
            flow.close()
            return
        why, stalled_s = flow.why, flow.stalled_s
        expired = why is not None and why.fate is Fate.EXPIRED
        limit_s = self._bulk.deadline_s
        if stalled_s > (min(limit_s, CREDENTIALS_S) if expired else limit_s):
            flow.fail(given_up(self._sender.where, stalled_s, why))

    def _read(self, splits: Iterable[SplitRows]) -> None:
        flow = self._flow
        try:
            for given in splits:
                flow.begin(given.split)
                operations = self._operations(given)
                for chunk in cut(given.split, operations, lambda: self._pace.bulk_bytes):
                    if not flow.put(chunk):
                        return
                flow.end(given.split)
                if flow.closed:
                    return
        except Exception as error:  # noqa: BLE001 - raised by run, in the caller's thread
            flow.fail(error)
        finally:
            flow.end_reading()

    def _operations(self, given: SplitRows) -> Iterator[Operation]:
        for batch in given.rows:
            for row in self._encoder.encode(batch):
                if isinstance(row, Refused):
                    self._flow.refuse_unsent(given.split, row)
                else:
                    yield row

    def _send(self) -> None:
        flow = self._flow
        while (chunk := flow.take()) is not None:
            began_s = self._clock()
            try:
                outcome = self._sender.send(chunk)
            except Exception as error:  # noqa: BLE001 - raised by run, in the caller's thread
                flow.fail(error)
                flow.drop(chunk)
                return
            flow.settle(chunk, outcome, self._clock() - began_s)


def _started(target: Callable[..., None], *arguments: object) -> threading.Thread:
    """A running thread; a request that never ends, or an input, can't keep the process alive."""
    thread = threading.Thread(target=target, args=arguments, daemon=True)
    thread.start()
    return thread
