"""Rows of live splits into the index, and receipts for the origins that are through."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from embed_job.manifest import origin_of
from embed_job.opensearch.check.counters import record_counters
from embed_job.opensearch.delivery import (
    Delivery,
    DeliveryStats,
    Domain,
    SplitRows,
    Tier,
)
from embed_job.opensearch.index.profile import begin_load
from embed_job.opensearch.load.ledger import Receipt
from embed_job.opensearch.load.letters import IndexLetter
from embed_job.opensearch.load.opening import IndexLoad
from embed_job.opensearch.load.origins import Origin
from embed_job.opensearch.load.receipts import (
    Accounts,
    Letters,
    leave_receipt,
    refused_by_origin,
)
from embed_job.opensearch.load.selection import Selection, selected_rows, selections_of
from embed_job.opensearch.serverless.tier import Serverless
from embed_job.progress import Progress
from embed_job.report.model import DeliveryFacts

_RECEIPTS_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Loaded:
    """Rows of a live split of which each was acknowledged or refused. receipts: of the origins that
    are whole by it; refused: the dead letters."""

    selection: Selection
    receipts: Sequence[Receipt]
    refused: Letters


def tell(progress: Progress, loaded: Loaded) -> None:
    """Say that a split is in the index."""
    progress.loaded(
        rows=loaded.selection.count,
        rejected=sum(map(len, loaded.refused.values())),
        stored_bytes=loaded.selection.stored_bytes,
    )


class SplitDelivery:
    """Delivers rows of an output; a context manager, used by one thread at a time.

    Nothing is sent, no generation claimed and no setting touched before the first row. Where
    delivery failed, another call of run begins anew.
    """

    def __init__(self, load: IndexLoad, *, stopping: Callable[[], bool]) -> None:
        self.load = load
        self.begun = False
        """Whether there was anything to deliver, so that the load profile is on."""
        self._stopping = stopping
        self._delivery: Delivery | None = None
        self._ended = DeliveryFacts()
        self._settled = DeliveryFacts()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._delivery is not None:
            self._ended += _sent(self._delivery.stats)
            self._delivery.__exit__(kind, error, trace)
            self._delivery = None

    @property
    def facts(self) -> DeliveryFacts:
        """What was delivered from here so far, over all calls of run."""
        now = _sent(self._delivery.stats) if self._delivery is not None else DeliveryFacts()
        return self._ended + now + self._settled

    def run(self, origins: Sequence[Origin]) -> Iterator[Loaded]:
        """Deliver origins, several live splits at a time; an origin's receipt is left once it is
        through. A split's own rows that have a receipt by the time that their turn comes are not
        sent: another host was first.

        Ends early where stopping() says so: what has no receipt is delivered again another time,
        which changes nothing. Raises OutputError.
        """
        if origins:
            accounts, others = Accounts(origins), deque[Loaded]()
            selections = self._without_others(selections_of(origins), accounts, others)
            yield from self._timed(self._delivered(selections, accounts))
            yield from others

    def resend(self, selections: Sequence[Selection]) -> Iterator[Loaded]:
        """Deliver rows whose receipts are there; to settle these anew is left to the caller. Else
        as run."""
        if selections:
            yield from self._timed(self._delivered(selections, Accounts(())))

    def _timed(self, loading: Iterator[Loaded]) -> Iterator[Loaded]:
        began = time.monotonic()
        try:
            yield from loading
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise
        finally:
            self._settled = self._settled.model_copy(
                update={"seconds": self._settled.seconds + time.monotonic() - began}
            )

    def _delivered(self, selections: Iterable[Selection], accounts: Accounts) -> Iterator[Loaded]:
        """Deliver, and leave receipts by a few threads: on S3 one takes as long as a small bulk."""
        under_way: dict[str, Selection] = {}
        waiting: deque[Future[Loaded]] = deque()
        with ThreadPoolExecutor(_RECEIPTS_AT_ONCE) as pool:
            for delivered in self._begin().run(self._rows(selections, under_way)):
                selection = under_way.pop(delivered.split)
                refused = refused_by_origin(self.load, selection, delivered)
                done = accounts.add(selection, refused)
                waiting.append(pool.submit(self._settle, selection, done, refused))
                while waiting and (waiting[0].done() or len(waiting) >= _RECEIPTS_AT_ONCE):
                    yield self._counted(waiting.popleft())
            while waiting:
                yield self._counted(waiting.popleft())

    def _rows(
        self, selections: Iterable[Selection], under_way: dict[str, Selection]
    ) -> Iterator[SplitRows]:
        for selection in selections:
            if self._stopping():
                return
            under_way[selection.manifest.split] = selection
            yield SplitRows(selection.manifest.split, selected_rows(self.load.rows, selection))

    def _without_others(
        self, selections: Iterable[Selection], accounts: Accounts, others: deque[Loaded]
    ) -> Iterator[Selection]:
        """What another host has not delivered meanwhile; others gets what it has."""
        for selection in selections:
            own = origin_of(selection.manifest.split)
            receipt = self.load.ledger.receipt(own) if own in selection.origins else None
            if receipt is None or receipt.attempt != selection.manifest.attempt:
                yield selection
                continue
            accounts.drop(own)
            rest = selection.without(own)
            others.append(Loaded(replace(selection, origins=frozenset([own])), [receipt], {}))
            if rest.origins:
                yield rest

    def _settle(
        self,
        selection: Selection,
        done: Iterable[tuple[Origin, list[IndexLetter]]],
        refused: Letters,
    ) -> Loaded:
        receipts = [leave_receipt(self.load, origin, letters) for origin, letters in done]
        return Loaded(selection, receipts, refused)

    def _counted(self, settled: Future[Loaded]) -> Loaded:
        loaded = settled.result()
        self._settled += DeliveryFacts(splits=1, rows=loaded.selection.count)
        return loaded

    def _begin(self) -> Delivery:
        if self._delivery is None:
            load, target = self.load, self.load.index.target
            self._delivery = Delivery(
                load.client,
                target.write_name,
                tier_of(load, self._stopping),
                bulk=target.output.bulk,
                storage=target.output.graph.storage,
                generation=load.generation,
                stopping=self._stopping,
            )
            if not target.is_serverless:
                record_counters(
                    load.client, load.rows.store, load.ledger, generation=load.generation
                )
            begin_load(load.client, load.index)
            self.begun = True
        return self._delivery


def _sent(stats: DeliveryStats) -> DeliveryFacts:
    return DeliveryFacts(
        requests=stats.requests,
        retries=stats.retries,
        throttled=stats.throttled,
        bytes=stats.bytes,
        last_reason=stats.last_reason,
    )


def tier_of(load: IndexLoad, stopping: Callable[[], bool]) -> Tier:
    """How rows are named and sent again: as on a domain, or as on Serverless."""
    target = load.index.target
    if target.is_serverless:
        return Serverless(
            load.client,
            target.name,
            target.output.bulk,
            generation=load.generation,
            stopping=stopping,
        )
    return Domain(target.output.bulk)
