"""Rounds of delivery, until the index holds what is live."""

from __future__ import annotations

from collections.abc import Callable

from embed_job.opensearch.load.mend import mend
from embed_job.opensearch.load.splits import Loaded, SplitDelivery, tell
from embed_job.opensearch.load.view import Found, View
from embed_job.progress import Progress

_MAX_ROUNDS = 3
"""Deliveries of what is missing, after each of which the index is counted."""


class Delivering:
    """Sends what is live and not in the index. again: live splits that had lost documents."""

    def __init__(
        self,
        delivery: SplitDelivery,
        view: View,
        *,
        progress: Progress,
        stopping: Callable[[], bool],
    ) -> None:
        self.again: set[str] = set()
        self._delivery = delivery
        self._view = view
        self._progress = progress
        self._stopping = stopping

    def run(self) -> Found:
        """Deliver until the index holds what is live, or until it is plain that it won't.

        What is still pending then has no receipt; what is missing is not in the index.
        """
        for attempt in range(_MAX_ROUNDS + 1):
            found = self._view.look()
            last = attempt == _MAX_ROUNDS or self._stopping()
            if found.pending and not last:
                for loaded in self._delivery.run(found.pending):
                    self._follow(loaded)
            elif not found.doubts or self._stopping():
                return found
            else:
                self._mend(found, sending=not last)
                if last or not found.missing:
                    return found
        raise AssertionError("the last round returns")

    def look(self) -> Found:
        """Count and compare what is there now; nothing is sent."""
        found = self._view.look()
        if found.doubts and not self._stopping():
            self._mend(found, sending=False)
        return found

    def _mend(self, found: Found, *, sending: bool) -> None:
        """Compare what is in doubt; found and the receipts get what comes of it."""
        mended = mend(self._delivery, found.doubts, sending=sending, tell=self._follow)
        found.stale, found.missing = mended.stale, mended.missing
        found.receipts |= mended.receipts
        self._view.receipts.update(mended.receipts)
        if mended.lost:
            self.again |= mended.lost
            self._progress.event("index_lost_documents", splits=len(mended.lost))

    def _follow(self, loaded: Loaded) -> None:
        self._view.receipts.update({receipt.origin: receipt for receipt in loaded.receipts})
        tell(self._progress, loaded)
