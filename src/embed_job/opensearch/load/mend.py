"""Origins in doubt, brought to what is live: what is missing sent again, receipts settled anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from embed_job.opensearch.load.compare import Compared, Finding, compare_group, groups_of
from embed_job.opensearch.load.ledger import LoadLedger, Receipt
from embed_job.opensearch.load.letters import IndexLetter
from embed_job.opensearch.load.receipts import Letters
from embed_job.opensearch.load.reconcile import Doubt
from embed_job.opensearch.load.splits import Loaded, SplitDelivery

_RECEIPTS_AT_ONCE = 8

Receipts = dict[str, Receipt]
"""By origin."""


@dataclass(slots=True)
class Mended:
    """What came of it. receipts: of the origins as they are now; stale: by origin, documents that
    no live row accounts for; missing: rows; lost: live splits with missing rows that the index had
    once."""

    receipts: Receipts = field(default_factory=dict)
    stale: dict[str, int] = field(default_factory=dict)
    missing: int = 0
    lost: set[str] = field(default_factory=set)


def mend(
    delivery: SplitDelivery,
    doubts: Sequence[Doubt],
    *,
    sending: bool,
    tell: Callable[[Loaded], None],
) -> Mended:
    """Compare origins by their ids, group by group. sending: what is missing, else it is counted.

    A receipt is settled once all that it says is acknowledged: killed before, its origin stays in
    doubt. The index has to be counted again where anything was missing. Raises OutputError.
    """
    mended = Mended()
    for group in groups_of(doubts):
        compared = compare_group(delivery.load, group)
        missing = sum(finding.missing for finding in compared.findings)
        mended.missing += missing
        mended.lost |= set(_lost(compared))
        mended.stale |= {
            finding.doubt.origin.name: finding.stale
            for finding in compared.findings
            if finding.stale
        }
        refused: Letters | None = {}
        if missing:
            refused = _send(delivery, compared, tell) if sending else None
        if refused is None:
            continue
        mended.receipts |= _settle(delivery.load.ledger, compared.findings, refused)
    return mended


def _lost(compared: Compared) -> list[str]:
    """Live splits of rows that are missing though a receipt has counted them. More rows than it
    has counted, stale ones included, have come back."""
    known = {
        one.doubt.origin.name
        for one in compared.findings
        if one.missing > max(0, one.doubt.origin.rows + one.stale - one.doubt.receipt.counts.read)
    }
    return [
        selection.manifest.split
        for selection in compared.selections()
        if not known.isdisjoint(selection.origins)
    ]


def _send(
    delivery: SplitDelivery, compared: Compared, tell: Callable[[Loaded], None]
) -> Letters | None:
    """Send what is missing; what was refused of it by origin, None: not all was sent."""
    refused: dict[str, list[IndexLetter]] = {}
    selections, sent = list(compared.selections()), 0
    for loaded in delivery.resend(selections):
        for origin, letters in loaded.refused.items():
            refused.setdefault(origin, []).extend(letters)
        sent += 1
        tell(loaded)
    return refused if sent == len(selections) else None


def _settle(ledger: LoadLedger, findings: Sequence[Finding], refused: Letters) -> Receipts:
    """The receipts of what the index has now, by a few threads. Stale documents count as rows, so
    that their origin stays in doubt until they are gone."""

    def settled(finding: Finding) -> Receipt:
        origin = finding.doubt.origin
        return ledger.settle_anew(
            finding.doubt.receipt,
            origin,
            stale=finding.stale,
            letters=[*finding.letters, *refused.get(origin.name, ())],
        )

    with ThreadPoolExecutor(_RECEIPTS_AT_ONCE) as pool:
        return {receipt.origin: receipt for receipt in pool.map(settled, findings)}
