"""What a load came to, from its receipts and the delivery's figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from embed_job.commit.commits import read_record
from embed_job.manifest import Counts, SplitManifest
from embed_job.opensearch.check import RECALL
from embed_job.opensearch.check.record import last_verified
from embed_job.opensearch.index.memory import graph_bytes
from embed_job.opensearch.load.ledger import Generation, Receipt
from embed_job.opensearch.load.opening import IndexLoad
from embed_job.opensearch.load.origins import Origin, holders_of
from embed_job.opensearch.load.splits import SplitDelivery
from embed_job.opensearch.load.view import Found
from embed_job.report.model import IndexReport

UNFINISHED = (
    "the index is loaded but not finished: `embed-job finalize SPEC`, or loading again, goes on"
)


def index_report(
    delivery: SplitDelivery,
    found: Found,
    origins: Mapping[str, Origin],
    *,
    splits: Sequence[SplitManifest],
    again: int,
    deleted: int,
    memory: str | None,
    finished: bool,
) -> IndexReport:
    """The facts. found, origins: of the live splits; other arguments as in the model."""
    load, output = delivery.load, delivery.load.index.target.output
    rows = _rows(found.receipts, origins)
    pending = len(holders_of(found.pending))
    return IndexReport(
        url=output.url,
        index=load.name,
        alias=output.alias,
        created=load.index.created,
        generation=load.generation if delivery.begun or deleted else None,
        rows=rows,
        refused_by_reason=refused_by_reason(found.receipts),
        dead_letters=load.ledger.key("dead-letters") if rows.rejected else None,
        splits=len(splits),
        splits_loaded=len(splits) - pending,
        splits_again=again,
        deleted=deleted,
        delivery=delivery.facts,
        memory=memory,
        memory_bytes=None if pending else graph_bytes(load.index.target, rows.read),
        finished=finished,
        recall=None if pending or delivery.begun or deleted else _last_recall(load, found, rows),
    )


def _rows(receipts: Mapping[str, Receipt], origins: Mapping[str, Origin]) -> Counts:
    """What became of the output's rows. A receipt may count stale documents besides."""
    read = sum(origins[name].rows for name in receipts)
    rejected = sum(receipt.counts.rejected for receipt in receipts.values())
    return Counts(read=read, written=read - rejected, rejected=rejected)


def _last_recall(load: IndexLoad, found: Found, rows: Counts) -> float | None:
    """What `verify` has measured on the index as it is; None where it is another by now."""
    verified = last_verified(load.rows.store, load.ledger)
    sent_at = max((receipt.finished_at for receipt in found.receipts.values()), default=0.0)
    if verified is None or verified.rows != rows.read:
        return None
    if verified.finished_at < max(sent_at, _last_claimed_at(load)):
        return None
    return next((check.figure for check in verified.checks if check.name == RECALL), None)


def _last_claimed_at(load: IndexLoad) -> float:
    """When a run began that has sent or deleted anything, in Unix seconds; 0: none has."""
    numbers = load.ledger.generations()
    if not numbers:
        return 0.0
    key = load.ledger.key("generations", f"{numbers[-1]:012}.json")
    last = read_record(load.rows.store, key, Generation)
    return 0.0 if last is None else last.at


def refused_by_reason(receipts: Mapping[str, Receipt]) -> dict[str, int]:
    """Refused rows by their reason, the most frequent first."""
    sums: Counter[str] = Counter()
    for receipt in receipts.values():
        sums.update(receipt.refused_by_reason)
    return dict(sums.most_common())


def what_is_missing(load: IndexLoad, found: Found, *, splits: int, complete: bool) -> Iterator[str]:
    """Why an index is not whole yet. splits: how many are live; complete: these are all."""
    if found.pending:
        yield (
            f"{len(holders_of(found.pending))} of {splits} splits are not in the index "
            f"{load.name} yet; their "
            f"embeddings are safe in {load.rows.folder}, and `embed-job load SPEC` goes on"
        )
    elif not complete:
        yield (
            f"the index {load.name} holds what is committed so far, and is finished once the "
            "output is complete: run the job to its end, then load again"
        )
    elif found.missing:
        yield (
            f"the index {load.name} lacks {found.missing:,} rows that it has acknowledged; their "
            f"embeddings are safe in {load.rows.folder}, and `embed-job load SPEC` sends them again"
        )
    elif not found.counted:
        yield UNFINISHED


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
