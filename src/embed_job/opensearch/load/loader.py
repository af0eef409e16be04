"""An index that is loaded while its splits are embedded: a thread that follows the commits."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

from embed_job.errors import ExitCode, OutputError, UserError
from embed_job.manifest import SplitManifest
from embed_job.opensearch.load.load import LoadResult, complete_load, failed
from embed_job.opensearch.load.loading import of_store
from embed_job.opensearch.load.opening import IndexLoad
from embed_job.opensearch.load.origins import Origin, own_origin
from embed_job.opensearch.load.rivals import last_generation
from embed_job.opensearch.load.splits import SplitDelivery, tell
from embed_job.progress import Progress
from embed_job.report.model import DeliveryFacts
from embed_job.storage import list_files

_POLL_S = 0.2
_LEAVE_WITHIN_S = 1.0
"""How long requests under way are waited for after a signal; without a receipt they don't count."""
_PARALLEL_READS = 16
_READS_AT_ONCE = 128
"""Between looks at whether to leave."""
_FIRST_PAUSE_S = 30.0
_LONGEST_PAUSE_S = 600.0


class Loader:
    """Delivers committed splits from a thread of its own; a context manager.

    Embedding never waits for it nor fails with it: where the cluster does, delivery rests for a
    pause that grows, and at the end is tried once more. What waits is manifests, which the run
    holds anyway.

    Into a live index nothing is delivered before the job is judged: its searches would see rows
    of a run that may never count. Then complete delivers all of it, or, where the job is not
    complete, leaves the index as it is.
    """

    def __init__(
        self,
        load: IndexLoad,
        committed: Iterable[SplitManifest],
        *,
        live: bool,
        progress: Progress,
        stopping: Callable[[], bool],
        first_pause_s: float = _FIRST_PAUSE_S,
    ) -> None:
        """committed: splits that were there before; those with a receipt are passed over. live:
        whether searches use the index already. first_pause_s: after the first failure."""
        self.live = live
        self._delivery = SplitDelivery(load, stopping=self.is_leaving)
        self._progress = progress
        self._stopping = stopping
        self._first_pause_s = first_pause_s
        self._waiting = deque(() if live else committed)
        self._passes_over = True
        self._changed = threading.Condition()
        self._closed = False
        self._left = False
        self._failure: UserError | None = None
        self.bug: BaseException | None = None
        """What delivery failed with where that is an error of ours: for the caller to raise, once
        it has left word of its work."""
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
        if not self._closed:  # else drain has waited
            self._thread.join(_LEAVE_WITHIN_S)
        if not self._thread.is_alive():
            self._delivery.__exit__(kind, error, trace)
            self._delivery.load.client.close()

    def is_leaving(self) -> bool:
        """Whether a signal, or the end of the run, asks for an early end."""
        return self._left or self._stopping()

    def add(self, manifest: SplitManifest) -> None:
        """Deliver a split that was committed just now. Never waits, never raises."""
        if self.live:
            return
        with self._changed:
            self._waiting.append(manifest)
            self._changed.notify_all()

    def drain(self) -> UserError | None:
        """Wait until all that was added is delivered; what delivery failed with, if it did.

        After a signal it is not waited for. Raises nothing: see `bug`.
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        while self._thread.is_alive() and not self.is_leaving():
            self._thread.join(_POLL_S)
        self._thread.join(_LEAVE_WITHIN_S)
        return self._failure

    def complete(self, splits: Sequence[SplitManifest], *, complete: bool) -> LoadResult:
        """Drain, then bring the load to its end, as of complete_load; its failure, whatever it
        is, is a problem of the result."""
        load, failure = self._delivery.load, self.drain()
        if self._thread.is_alive():
            stopped = OutputError(load.where, "stopped in the middle of a request", "")
            return failed(load.name, load.rows.folder, stopped)
        if self.live and not complete:
            return LoadResult(None, (_untouched(load.name),), ExitCode.INCOMPLETE)
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
        except Exception as error:  # noqa: BLE001 - told of, and raised by the caller if ours
            return failed(load.name, load.rows.folder, self._told(error))

    @property
    def facts(self) -> DeliveryFacts:
        """What was delivered from here so far."""
        return self._delivery.facts

    def receipts(self) -> int:
        """How many receipts the hosts of all jobs have left."""
        load = self._delivery.load
        return sum(1 for _ in list_files(load.rows.store, load.ledger.key("receipts")))

    def _told(self, error: BaseException) -> UserError:
        """An error as a message; one of ours is kept as `bug`."""
        load = self._delivery.load
        if isinstance(error, UserError):
            return error
        if isinstance(error, OSError):
            return of_store(error, load.rows.folder)
        self.bug = error
        what = f"an error of embed-job itself: {type(error).__name__}: {error}"
        return OutputError(load.where, what, "Report it.")

    def _run(self) -> None:
        pause_s = self._first_pause_s
        try:
            while batch := self._next():
                failure = self._deliver(batch)
                if failure is None:
                    pause_s = self._first_pause_s
                elif self._rest(pause_s) and not self._is_overtaken():
                    pause_s = min(_LONGEST_PAUSE_S, 2 * pause_s)
                    with self._changed:
                        self._waiting.extendleft(reversed(batch))
                else:
                    self._failure = failure
                    return
        except BaseException as error:  # noqa: BLE001 - for the thread that drains
            self._failure = self._told(error)

    def _deliver(self, batch: Sequence[SplitManifest]) -> UserError | None:
        """Deliver splits; what the cluster, or a store, failed with."""
        try:
            for loaded in self._delivery.run(self._without_receipt(batch)):
                tell(self._progress, loaded)
        except (UserError, OSError) as error:
            failure = self._told(error)
            self._progress.event("index_failed", where=failure.where, why=failure.what)
            return failure
        return None

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

    def _rest(self, pause_s: float) -> bool:
        """Wait so long; False: there is no time for another try, but for the one at the end."""
        until = time.monotonic() + pause_s
        with self._changed:
            while not self._closed and not self.is_leaving():
                if (left_s := until - time.monotonic()) <= 0:
                    return True
                self._changed.wait(min(_POLL_S, left_s))
        return False

    def _is_overtaken(self) -> bool:
        """Whether a later run writes to the index: its settings are that one's now."""
        load = self._delivery.load
        own = load.claimed
        return own is not None and last_generation(load) > own

    def _without_receipt(self, batch: Sequence[SplitManifest]) -> Sequence[Origin]:
        """What is to be delivered: the rows that splits wrote themselves, as those that they carry
        are the end's. Of the splits that were there before most have a receipt, and for them
        nothing is begun. Of the later ones SplitDelivery asks one by one."""
        own = [origin for origin in map(own_origin, batch) if origin is not None]
        if not self._passes_over:
            return own
        ledger, pending = self._delivery.load.ledger, []
        with ThreadPoolExecutor(_PARALLEL_READS) as pool:
            for start in range(0, len(own), _READS_AT_ONCE):
                if self.is_leaving():
                    return ()
                few = own[start : start + _READS_AT_ONCE]
                found = pool.map(ledger.receipt, [origin.name for origin in few])
                for origin, receipt in zip(few, found, strict=True):
                    if not (receipt and receipt.stands_for(origin)):
                        pending.append(origin)
        self._passes_over = False
        return pending


def _untouched(index: str) -> str:
    return (
        f"the index {index} is live, so nothing was sent to it: the job is not complete. Run it to "
        "its end, and the index gets all of it then"
    )
