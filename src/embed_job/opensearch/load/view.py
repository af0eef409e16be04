"""What an index holds, against the receipts of one load."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from embed_job.manifest import SplitManifest
from embed_job.opensearch.load.ledger import Receipt
from embed_job.opensearch.load.opening import IndexLoad
from embed_job.opensearch.load.origins import Origin, origins_of
from embed_job.opensearch.load.presence import count_by_origin, make_visible
from embed_job.opensearch.load.reconcile import Doubt, doubts, standing
from embed_job.opensearch.load.stale import Stale, find_stale
from embed_job.opensearch.serverless.sweep import sweep_duplicates


@dataclass(slots=True)
class Found:
    """What is known of an index. receipts: of live origins; pending: origins without one. doubts:
    those to be compared. stale: by live origin, documents that a comparison found to be of no live
    row; missing: rows that it did not find. counted: False where there was no count, as rows are
    still to be sent or a signal came."""

    receipts: dict[str, Receipt]
    pending: list[Origin]
    counts: dict[str, int] = field(default_factory=dict)
    doubts: list[Doubt] = field(default_factory=list)
    stale: dict[str, int] = field(default_factory=dict)
    missing: int = 0
    counted: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether the index was seen to hold all that is live."""
        return self.counted and not self.pending and not self.missing


class View:
    """An index against its receipts. Those are read once, and then followed."""

    def __init__(
        self,
        load: IndexLoad,
        splits: Sequence[SplitManifest],
        *,
        complete: bool,
        stopping: Callable[[], bool],
    ) -> None:
        """complete: these are all splits, so that the index can be counted against them."""
        self.live = frozenset(split.split for split in splits)
        self.origins = origins_of(splits)
        self._load = load
        self._complete = complete
        self._stopping = stopping

    @cached_property
    def receipts(self) -> dict[str, Receipt]:
        """Every receipt by its origin, those of origins that are gone included."""
        return self._load.ledger.receipts()

    @property
    def retired(self) -> list[str]:
        """Origins of receipts that have no live row any more."""
        return [origin for origin in self.receipts if origin not in self.origins]

    def look(self) -> Found:
        """What is to be sent; or, where every origin has a receipt, what a count of the index says.

        On Serverless second copies are swept where the count leaves anything in doubt: until then a
        row that was sent anew counts twice, and nobody can tell how many are gone. Whatever the
        sweep takes from a live origin is found to be missing.
        """
        found = self._count()
        if not (found.counted and self._load.index.target.is_serverless):
            return found
        if found.doubts or self.stale(found):
            load = self._load
            sweep_duplicates(load.client, load.name, stopping=self._stopping)
            found = self._count()
        return found

    def stale(self, found: Found) -> Stale:
        """What no live row accounts for."""
        return find_stale(
            found.counts, self.origins.keys(), doubts=found.doubts, within=found.stale
        )

    def withdraw(self, origin: str) -> None:
        """Take a receipt back."""
        self._load.ledger.withdraw(origin)
        self.receipts.pop(origin, None)

    def _count(self) -> Found:
        load, target = self._load, self._load.index.target
        receipts = standing(self.receipts, self.origins)
        pending = [origin for name, origin in self.origins.items() if name not in receipts]
        found = Found(receipts, pending)
        if self._complete and not pending and not self._stopping():
            found.counted = make_visible(load.client, target, stopping=self._stopping)
        if found.counted:
            found.counts = count_by_origin(load.client, target)
            found.doubts = doubts(receipts, self.origins, found.counts)
        return found
