"""Rows that an index refused, sent again when the cause is gone; the receipts settled anew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from embed_job.ids import hash_ids
from embed_job.manifest import SplitManifest
from embed_job.opensearch.delivery import Delivered, Delivery, SplitRows
from embed_job.opensearch.load.ledger import LoadLedger, Receipt
from embed_job.opensearch.load.letters import IndexLetter
from embed_job.opensearch.load.opening import IndexLoad
from embed_job.opensearch.load.origins import Origin, origins_of
from embed_job.opensearch.load.presence import make_visible
from embed_job.opensearch.load.receipts import letter_of
from embed_job.opensearch.load.reconcile import standing
from embed_job.opensearch.load.selection import Selection, selected_rows
from embed_job.opensearch.load.splits import tier_of
from embed_job.opensearch.serverless.sweep import sweep_duplicates


@dataclass(frozen=True, slots=True)
class Redriven:
    """What came of dead letters. landed, remaining: rows. withdrawn: origins whose dead letters are
    not those that their receipt counts, so that the next load sends every row of them again.
    unsettled: origins that the output has changed since their rows were refused: a load finds out
    first which of these rows are live. stopped: a signal came before all were sent."""

    index: str
    landed: int
    remaining: int
    remaining_by_reason: dict[str, int]
    withdrawn: int
    unsettled: int
    stopped: bool


@dataclass(frozen=True, slots=True)
class _Refusals:
    """The refused rows of one origin."""

    origin: Origin
    receipt: Receipt
    letters: Sequence[IndexLetter]

    @property
    def is_settled(self) -> bool:
        """Whether all of them are live. Else a load has to find out first which are."""
        return self.receipt.accounts_for(self.origin)


def redrive(
    load: IndexLoad, splits: Sequence[SplitManifest], *, stopping: Callable[[], bool]
) -> Redriven:
    """Send the refused rows of these splits again, read from the Parquet parts by their ids.

    Each origin is settled on its own: first the rows, then its receipt. Killed in between, it can
    be run again, and changes nothing twice. Raises OutputError.
    """
    cases, withdrawn = _cases(load, splits)
    left: Counter[str] = Counter()
    unsettled = {case.origin.name: case for case in cases}
    ready = [case for case in cases if case.is_settled]
    sent = landed = 0
    if ready:
        for delivered in _deliver(load, ready, stopping):
            case = unsettled.pop(delivered.split)
            sent += 1
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
        unsettled=len(cases) - len(ready),
        stopped=sent < len(ready),
    )


def _cases(load: IndexLoad, splits: Sequence[SplitManifest]) -> tuple[list[_Refusals], int]:
    """Origins with refused rows, and the number of those whose dead letters don't add up."""
    origins = origins_of(splits)
    cases: list[_Refusals] = []
    withdrawn = 0
    for name, receipt in standing(load.ledger.receipts(), origins).items():
        if receipt.dead_letters is None:
            continue
        case = _Refusals(origins[name], receipt, load.ledger.letters(receipt))
        if len(case.letters) == receipt.counts.rejected:
            cases.append(case)
        else:
            withdrawn += _withdraw(load.ledger, case)
    return cases, withdrawn


def _withdraw(ledger: LoadLedger, case: _Refusals) -> int:
    ledger.withdraw(case.origin.name)
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
        rows = (SplitRows(case.origin.name, _refused_rows(load, case)) for case in cases)
        yield from delivery.run(rows)


def _refused_rows(load: IndexLoad, case: _Refusals) -> Iterator[pa.RecordBatch]:
    ids = hash_ids(letter.id for letter in case.letters)
    for manifest in case.origin.holders:
        yield from selected_rows(load.rows, Selection(manifest, {case.origin.name}, ids))


def _settle(ledger: LoadLedger, case: _Refusals, delivered: Delivered) -> Receipt:
    """A receipt that counts what has landed; the rest stays with its new reason."""
    splits: Mapping[str, str] = {letter.id: letter.split for letter in case.letters}
    holders = {manifest.split: manifest for manifest in case.origin.holders}
    # The split that a row was in when it was refused may be gone by now.
    letters = [
        letter_of(one, holders.get(splits[one.id], case.origin.holders[0]))
        for one in delivered.refused
    ]
    return ledger.settle_anew(case.receipt, case.origin, letters=letters)
