"""Splits into the index: the rows of each, and at the end of them its receipt."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
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
        """Deliver splits, several at a time; each with its receipt, once that is durable.

        Ends early where stopping() says so: what has no receipt is delivered again another time,
        which changes nothing. Raises OutputError.
        """
        if not manifests:
            return
        by_split = {manifest.split: manifest for manifest in manifests}
        rows = (
            SplitRows(manifest.split, self.load.rows.split_rows(manifest)) for manifest in manifests
        )
        began = time.monotonic()
        try:
            for delivered in self._begin().run(rows):
                manifest = by_split[delivered.split]
                receipt = settle(self.load, manifest, delivered)
                self._settled += DeliveryFacts(splits=1, rows=receipt.counts.read)
                yield Loaded(manifest, receipt)
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise
        finally:
            self._settled = self._settled.model_copy(
                update={"seconds": self._settled.seconds + time.monotonic() - began}
            )

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
