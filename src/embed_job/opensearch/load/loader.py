"""An index that is loaded while its splits are embedded: a thread that follows the commits."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Self

from embed_job.errors import OutputError, UserError
from embed_job.manifest import SplitManifest
from embed_job.opensearch.load.load import LoadResult, complete_load, failed
from embed_job.opensearch.load.opening import IndexLoad
from embed_job.opensearch.load.splits import SplitDelivery, tell
from embed_job.progress import Progress
from embed_job.report.model import DeliveryFacts

_POLL_S = 0.2
_LEAVE_WITHIN_S = 1.0
"""How long requests under way are waited for after a signal; without a receipt they don't count."""


class Loader:
    """Delivers committed splits from a thread of its own; a context manager.

    Embedding never waits for it nor fails with it: where the cluster does, delivery rests until
    the end, and is tried once more there. What waits is manifests, which the run holds anyway.
    """

    def __init__(
        self,
        load: IndexLoad,
        committed: Iterable[SplitManifest],
        *,
        progress: Progress,
        stopping: Callable[[], bool],
    ) -> None:
        """committed: splits that were there before; those with a receipt are passed over."""
        self._delivery = SplitDelivery(load, stopping=self.is_leaving)
        self._progress = progress
        self._stopping = stopping
        self._waiting = deque(committed)
        self._changed = threading.Condition()
        self._closed = False
        self._left = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="loader", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._changed:
            self._left = True
            self._changed.notify_all()
        self._thread.join(_LEAVE_WITHIN_S)
        if not self._thread.is_alive():
            self._delivery.__exit__(kind, error, trace)
            self._delivery.load.client.close()

    def is_leaving(self) -> bool:
        """Whether a signal, or the end of the run, asks for an early end."""
        return self._left or self._stopping()

    def add(self, manifest: SplitManifest) -> None:
        """Deliver a split that was committed just now. Never waits, never raises."""
        with self._changed:
            self._waiting.append(manifest)
            self._changed.notify_all()

    def drain(self) -> UserError | None:
        """Wait until all that was added is delivered; what delivery failed with, if it did.

        After a signal it is not waited for.
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        while self._thread.is_alive() and not self.is_leaving():
            self._thread.join(_POLL_S)
        self._thread.join(_LEAVE_WITHIN_S)
        if self._error is not None and not isinstance(self._error, UserError):
            raise self._error
        return self._error

    def complete(self, splits: Sequence[SplitManifest], *, complete: bool) -> LoadResult:
        """Drain, then bring the load to its end, as of complete_load; a cluster's failure is a
        problem of the result."""
        load, failure = self._delivery.load, self.drain()
        if self._thread.is_alive():
            stopped = OutputError(load.where, "stopped in the middle of a request", "")
            return failed(load.name, load.rows.folder, stopped)
        if failure is not None:
            self._progress.event("index_tried_again", why=failure.what)
        try:
            return complete_load(
                self._delivery,
                splits,
                complete=complete,
                progress=self._progress,
                stopping=self._stopping,
            )
        except UserError as error:
            return failed(load.name, load.rows.folder, error)

    @property
    def facts(self) -> DeliveryFacts:
        """What was delivered from here so far."""
        return self._delivery.facts

    def _run(self) -> None:
        try:
            while batch := self._next():
                for loaded in self._delivery.run(self._without_receipt(batch)):
                    tell(self._progress, loaded)
        except BaseException as error:  # noqa: BLE001 - raised, or told of, where the run drains
            self._error = error
            if isinstance(error, UserError):
                self._progress.event("index_failed", where=error.where, why=error.what)

    def _next(self) -> list[SplitManifest]:
        """All that waits; empty when nothing more will come."""
        with self._changed:
            while not self._waiting and not self._closed and not self.is_leaving():
                self._changed.wait(_POLL_S)
            if self.is_leaving():
                return []
            batch = list(self._waiting)
            self._waiting.clear()
            return batch

    def _without_receipt(self, batch: Sequence[SplitManifest]) -> list[SplitManifest]:
        """Those that nobody has delivered: another host may have been first."""
        ledger = self._delivery.load.ledger
        found = ((manifest, ledger.receipt(manifest.split)) for manifest in batch)
        return [one for one, receipt in found if not (receipt and receipt.stands_for(one))]
