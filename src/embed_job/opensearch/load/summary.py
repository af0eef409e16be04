"""What a load came to, from its receipts and the delivery's figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from embed_job.manifest import Counts
from embed_job.opensearch.check import RECALL
from embed_job.opensearch.check.record import last_verified
from embed_job.opensearch.load.ledger import Receipt
from embed_job.opensearch.load.opening import IndexLoad
from embed_job.opensearch.load.splits import SplitDelivery
from embed_job.report.model import IndexReport


def index_report(
    delivery: SplitDelivery,
    receipts: Mapping[str, Receipt],
    *,
    splits: int,
    again: int,
    deleted: int,
    memory: str | None,
    finished: bool,
) -> IndexReport:
    """The facts. receipts: of the live splits; other arguments as in the model."""
    load, output = delivery.load, delivery.load.index.target.output
    rows = sum((receipt.counts for receipt in receipts.values()), Counts())
    return IndexReport(
        url=output.url,
        index=load.name,
        alias=output.alias,
        created=load.index.created,
        generation=load.generation if delivery.begun else None,
        rows=rows,
        refused_by_reason=refused_by_reason(receipts),
        dead_letters=load.ledger.key("dead-letters") if rows.rejected else None,
        splits=splits,
        splits_loaded=len(receipts),
        splits_again=again,
        deleted=deleted,
        delivery=delivery.facts,
        memory=memory,
        finished=finished,
        recall=None if delivery.begun or deleted else _last_recall(load),
    )


def _last_recall(load: IndexLoad) -> float | None:
    """What `verify` has measured on the index as it is."""
    verified = last_verified(load.rows.store, load.ledger)
    checks = verified.checks if verified is not None else ()
    return next((check.figure for check in checks if check.name == RECALL), None)


def refused_by_reason(receipts: Mapping[str, Receipt]) -> dict[str, int]:
    """Refused rows by their reason, the most frequent first."""
    sums: Counter[str] = Counter()
    for receipt in receipts.values():
        sums.update(receipt.refused_by_reason)
    return dict(sums.most_common())


def too_many_rejected(load: IndexLoad, receipts: Mapping[str, Receipt]) -> Iterator[str]:
    """A problem where more rows were refused than gates.max_rejected_fraction allows."""
    counts = sum((receipt.counts for receipt in receipts.values()), Counts())
    limit = load.index.target.output.gates.max_rejected_fraction
    if counts.rejected <= limit * counts.read:
        return
    reason, count = next(iter(refused_by_reason(receipts).items()))
    yield (
        f"the index {load.name} refused {counts.rejected:,} of {counts.read:,} rows, most of them "
        f"({count:,}) for {reason}: see {load.ledger.key('dead-letters')}; mend the cause and "
        f"`embed-job redrive SPEC`, or raise gates.max_rejected_fraction (now {limit:g})"
    )
