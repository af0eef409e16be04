"""Rows that an index refused, sent again when the cause is gone; the receipts settled anew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from embed_job.manifest import Counts, SplitManifest
from embed_job.opensearch.delivery import Delivered, Delivery, SplitRows
from embed_job.opensearch.load.ledger import LoadLedger, Receipt
from embed_job.opensearch.load.letters import IndexLetter
from embed_job.opensearch.load.opening import IndexLoad
from embed_job.opensearch.load.presence import make_visible
from embed_job.opensearch.load.reconcile import standing
from embed_job.opensearch.load.splits import letter_of, tier_of
from embed_job.opensearch.serverless.sweep import sweep_duplicates


@dataclass(frozen=True, slots=True)
class Redriven:
    """What came of dead letters. landed, remaining: rows. withdrawn: splits whose dead letters are
    not those that their receipt counts, so that the next load sends every row of them again.
    stopped: a signal came before all were sent."""

    index: str
    landed: int
    remaining: int
    remaining_by_reason: dict[str, int]
    withdrawn: int
    stopped: bool


@dataclass(frozen=True, slots=True)
class _Refusals:
    """The refused rows of one split."""

    manifest: SplitManifest
    receipt: Receipt
    letters: list[IndexLetter]


def redrive(
    load: IndexLoad, splits: Sequence[SplitManifest], *, stopping: Callable[[], bool]
) -> Redriven:
    """Send the refused rows of these splits again, read from the Parquet parts by their ids.

    Each split is settled on its own: first the rows, then its receipt. Killed in between, it can be
    run again, and changes nothing twice. Raises OutputError.
    """
    cases, withdrawn = _cases(load, splits)
    left: Counter[str] = Counter()
    unsettled = {case.manifest.split: case for case in cases}
    landed = 0
    if cases:
        for delivered in _deliver(load, cases, stopping):
            case = unsettled.pop(delivered.split)
            if delivered.read != len(case.letters):
                withdrawn += _withdraw(load.ledger, case)
                continue
            receipt = _settle(load.ledger, case, delivered)
            left.update(receipt.refused_by_reason)
            landed += delivered.written
        make_visible(load.client, load.index.target, stopping=stopping)
        if load.index.target.is_serverless:
            sweep_duplicates(load.client, load.name, stopping=stopping)
    for case in unsettled.values():
        left.update(case.receipt.refused_by_reason)
    return Redriven(
        index=load.name,
        landed=landed,
        remaining=sum(left.values()),
        remaining_by_reason=dict(left.most_common()),
        withdrawn=withdrawn,
        stopped=bool(unsettled),
    )


def _cases(load: IndexLoad, splits: Sequence[SplitManifest]) -> tuple[list[_Refusals], int]:
    """Splits with refused rows, and the number of those whose dead letters don't add up."""
    receipts = standing(load.ledger.receipts(), splits)
    cases: list[_Refusals] = []
    withdrawn = 0
    for manifest in splits:
        receipt = receipts.get(manifest.split)
        if receipt is None or receipt.dead_letters is None:
            continue
        case = _Refusals(manifest, receipt, load.ledger.letters(receipt))
        if len(case.letters) == receipt.counts.rejected:
            cases.append(case)
        else:
            withdrawn += _withdraw(load.ledger, case)
    return cases, withdrawn


def _withdraw(ledger: LoadLedger, case: _Refusals) -> int:
    ledger.withdraw(case.manifest.split)
    return 1


def _deliver(
    load: IndexLoad, cases: Sequence[_Refusals], stopping: Callable[[], bool]
) -> Iterator[Delivered]:
    target = load.index.target
    with Delivery(
        load.client,
        target.write_name,
        tier_of(load, stopping),
        bulk=target.output.bulk,
        storage=target.output.graph.storage,
        generation=load.generation,
        stopping=stopping,
    ) as delivery:
        rows = (SplitRows(case.manifest.split, _refused_rows(load, case)) for case in cases)
        yield from delivery.run(rows)


def _refused_rows(load: IndexLoad, case: _Refusals) -> Iterator[pa.RecordBatch]:
    ids = pa.array([letter.id for letter in case.letters], pa.string())
    for batch in load.rows.split_rows(case.manifest):
        found = batch.filter(pc.is_in(batch.column("id"), value_set=ids))
        if found.num_rows:
            yield found


def _settle(ledger: LoadLedger, case: _Refusals, delivered: Delivered) -> Receipt:
    """A receipt that counts what has landed; the rest stays with its new reason."""
    before, letters = case.receipt, [letter_of(one, case.manifest) for one in delivered.refused]
    counts = Counts(
        read=before.counts.read,
        written=before.counts.written + delivered.written,
        rejected=len(letters),
    )
    if not counts.balanced:
        raise RuntimeError(f"split {before.split[:12]}: {before.counts} became {counts}")
    receipt = before.model_copy(
        update={
            "counts": counts,
            "refused_by_reason": dict(Counter(letter.kind for letter in letters)),
            "dead_letters": ledger.write_letters(before.split, letters),
        }
    )
    ledger.replace(receipt, former=before)
    return receipt
