"""Receipts against the index: what it no longer holds is delivered again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from embed_job.manifest import SplitManifest
from embed_job.opensearch.load.ledger import Receipt
from embed_job.opensearch.load.presence import split_field


@dataclass(frozen=True, slots=True)
class Difference:
    """A split of which the index holds another number of documents than its receipt says."""

    receipt: Receipt
    found: int

    @property
    def is_loss(self) -> bool:
        return self.found < self.receipt.counts.written


def standing(
    receipts: Mapping[str, Receipt], manifests: Iterable[SplitManifest]
) -> dict[str, Receipt]:
    """The receipts of these splits, less those of another attempt at one. By split."""
    return {
        manifest.split: receipts[manifest.split]
        for manifest in manifests
        if manifest.split in receipts and receipts[manifest.split].stands_for(manifest)
    }


def differences(
    receipts: Mapping[str, Receipt], counts: Mapping[str, int]
) -> tuple[list[Difference], list[Difference]]:
    """Splits of which documents were lost, and splits that have too many. Pure.

    counts: documents by the field `split`, taken after the receipts were read, and after a refresh:
    a receipt comes after the last acknowledgement, so its rows are all to be seen.
    """
    found = [
        Difference(receipt, counts.get(split_field(split), 0))
        for split, receipt in receipts.items()
    ]
    lost = [one for one in found if one.is_loss]
    surplus = [one for one in found if one.found > one.receipt.counts.written]
    return lost, surplus
