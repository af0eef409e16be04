"""Splits into the index: the rows of each, and at the end of them its receipt."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from embed_job.manifest import Counts, SplitManifest
from embed_job.opensearch.check.counters import record_counters
from embed_job.opensearch.delivery import (
    Delivered,
    Delivery,
    DeliveryStats,
    Domain,
    Refused,
    SplitRows,
    Tier,
)
from embed_job.opensearch.index.profile import begin_load
from embed_job.opensearch.load.ledger import Receipt
from embed_job.opensearch.load.letters import IndexLetter, shortened
from embed_job.opensearch.load.opening import IndexLoad
from embed_job.opensearch.serverless.tier import Serverless
from embed_job.progress import Progress
from embed_job.report.model import DeliveryFacts

_RECEIPTS_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Loaded:
    """A split of which every row was acknowledged or refused."""

    manifest: SplitManifest
    receipt: Receipt


def tell(progress: Progress, loaded: Loaded) -> None:
    """Say that a split is in the index."""
    counts = loaded.receipt.counts
    stored = sum(part.bytes for part in loaded.manifest.parts)
    progress.loaded(rows=counts.read, rejected=counts.rejected, stored_bytes=stored)


class SplitDelivery:
    """Delivers splits of an output; a context manager, used by one thread at a time.

    Nothing is sent, no generation claimed and no setting touched before the first split. Where
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

    def run(self, manifests: Sequence[SplitManifest]) -> Iterator[Loaded]:
        """Deliver splits, several at a time; each with its receipt, once that is durable. One that
        has a receipt by the time that its turn comes is not sent: another host was first.

        Ends early where stopping() says so: what has no receipt is delivered again another time,
        which changes nothing. Raises OutputError.
        """
        if not manifests:
            return
        began = time.monotonic()
        try:
            yield from self._receipted(manifests)
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise
        finally:
            self._settled = self._settled.model_copy(
                update={"seconds": self._settled.seconds + time.monotonic() - began}
            )

    def _receipted(self, manifests: Sequence[SplitManifest]) -> Iterator[Loaded]:
        """Deliver, and leave receipts by a few threads: on S3 one takes as long as a small bulk."""
        by_split = {manifest.split: manifest for manifest in manifests}
        others: deque[Loaded] = deque()
        waiting: deque[Future[Loaded]] = deque()
        with ThreadPoolExecutor(_RECEIPTS_AT_ONCE) as pool:
            for delivered in self._begin().run(self._rows(manifests, others)):
                manifest = by_split[delivered.split]
                waiting.append(pool.submit(self._settle, manifest, delivered))
                while waiting and (waiting[0].done() or len(waiting) >= _RECEIPTS_AT_ONCE):
                    yield self._counted(waiting.popleft())
            while waiting:
                yield self._counted(waiting.popleft())
        yield from others

    def _rows(
        self, manifests: Sequence[SplitManifest], others: deque[Loaded]
    ) -> Iterator[SplitRows]:
        """The rows of each; others gets those that another host has delivered meanwhile."""
        for manifest in manifests:
            if self._stopping():
                return
            receipt = self.load.ledger.receipt(manifest.split)
            if receipt and receipt.stands_for(manifest):
                others.append(Loaded(manifest, receipt))
            else:
                yield SplitRows(manifest.split, self.load.rows.split_rows(manifest))

    def _settle(self, manifest: SplitManifest, delivered: Delivered) -> Loaded:
        return Loaded(manifest, settle(self.load, manifest, delivered))

    def _counted(self, settled: Future[Loaded]) -> Loaded:
        loaded = settled.result()
        self._settled += DeliveryFacts(splits=1, rows=loaded.receipt.counts.read)
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


def settle(load: IndexLoad, manifest: SplitManifest, delivered: Delivered) -> Receipt:
    """Leave the dead letters and then the receipt of a split that was delivered."""
    counts = Counts(read=delivered.read, written=delivered.written, rejected=delivered.rejected)
    rows = sum(part.rows for part in manifest.parts)
    if not counts.balanced or counts.read != rows or counts.rejected != len(delivered.refused):
        raise RuntimeError(
            f"split {manifest.split[:12]} of {rows} rows came to {counts}, "
            f"{len(delivered.refused)} of them with a reason"
        )
    letters = [letter_of(refused, manifest) for refused in delivered.refused]
    receipt = Receipt(
        split=manifest.split,
        attempt=manifest.attempt,
        index=load.name,
        load=load.index.load,
        generation=load.generation,
        counts=counts,
        refused_by_reason=dict(Counter(letter.kind for letter in letters)),
        dead_letters=load.ledger.write_letters(manifest.split, letters),
        host=load.writer.host,
        finished_at=time.time(),
    )
    load.ledger.commit(receipt)
    return receipt


def letter_of(refused: Refused, manifest: SplitManifest) -> IndexLetter:
    """A refused row with its place. Reasons are counted by what stands before their colon."""
    kind = refused.reason.partition(":")[0].strip()
    return IndexLetter(
        file=manifest.source.files[0][0],
        split=manifest.split,
        id=refused.id,
        doc_id=refused.doc_id,
        kind=shortened(kind),
        detail=shortened(refused.reason),
        status=refused.status or None,
    )
