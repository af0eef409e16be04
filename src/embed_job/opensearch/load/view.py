"""What an index holds, against the receipts of one load."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from embed_job.manifest import SplitManifest
from embed_job.opensearch.load.ledger import Receipt
from embed_job.opensearch.load.opening import IndexLoad
from embed_job.opensearch.load.presence import count_by_split, make_visible
from embed_job.opensearch.load.reconcile import Difference, differences, standing
from embed_job.opensearch.load.stale import Stale, find_stale
from embed_job.opensearch.serverless.sweep import sweep_duplicates


@dataclass(slots=True)
class Found:
    """What a count of the index said. receipts: of live splits; lost: splits that have lost
    documents; counted: False where there was none, as nothing is loaded or a signal came."""

    receipts: dict[str, Receipt]
    pending: list[SplitManifest]
    counts: dict[str, int] = field(default_factory=dict)
    surplus: list[Difference] = field(default_factory=list)
    lost: int = 0
    counted: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether the index was seen to hold all that is live."""
        return self.counted and not self.pending


class View:
    """An index against its receipts. Those are read once, and then followed."""

    def __init__(
        self,
        load: IndexLoad,
        splits: Sequence[SplitManifest],
        *,
        sweeping: bool,
        stopping: Callable[[], bool],
    ) -> None:
        """sweeping: second copies, which only Serverless has, may go."""
        self.live = frozenset(split.split for split in splits)
        self._load = load
        self._splits = splits
        self._sweeping = sweeping and load.index.target.is_serverless
        self._stopping = stopping

    @cached_property
    def receipts(self) -> dict[str, Receipt]:
        """Every receipt by its split, those of splits that are gone included."""
        return self._load.ledger.receipts()

    @property
    def retired(self) -> list[str]:
        """Splits of receipts that are not live any more."""
        return [split for split in self.receipts if split not in self.live]

    def look(self) -> Found:
        """Count the index; receipts of splits that have lost documents are withdrawn.

        On Serverless second copies are swept where the count tells of any: until then a row that
        moved to another split counts as one too many, and nobody can tell how many are gone.
        Whatever the sweep takes from a live split is sent again.
        """
        found = self._count()
        if self._sweeping and found.is_whole and self.stale(found):
            load = self._load
            sweep_duplicates(load.client, load.name, stopping=self._stopping)
            found = self._count()
        return found

    def stale(self, found: Found) -> Stale:
        """What no live split accounts for."""
        return find_stale(found.counts, list(self.live), found.surplus)

    def withdraw(self, split: str) -> None:
        """Take a receipt back."""
        self._load.ledger.withdraw(split)
        self.receipts.pop(split, None)

    def _count(self) -> Found:
        load, target = self._load, self._load.index.target
        found = Found(standing(self.receipts, self._splits), [])
        if (found.receipts or not self._splits) and make_visible(
            load.client, target, stopping=self._stopping
        ):
            found.counted = True
            found.counts = count_by_split(load.client, target)
            lost, found.surplus = differences(found.receipts, found.counts)
            found.lost = len(lost)
            for one in lost:
                self.withdraw(one.receipt.split)
                del found.receipts[one.receipt.split]
        found.pending = [split for split in self._splits if split.split not in found.receipts]
        return found
