"""How a run is going, for whoever watches: a live display, log lines, or nothing.

The same calls drive all of them, so that a run does not know who watches.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol, TextIO

import orjson

from embed_job.progress.meter import Meter, Plan, ProgressUpdate, Snapshot

__all__ = [
    "LogProgress",
    "Plan",
    "Progress",
    "ProgressUpdate",
    "SilentProgress",
    "choose_progress",
]

Clock = Callable[[], float]
LOG_INTERVAL_S = 30.0


class Progress(Protocol):
    """Whoever watches a run. Calls come from one thread, but for loaded and event, which a loader's
    thread makes as well; none raises or waits."""

    def start(self, plan: Plan) -> None:
        """The work is known and begins; after a stop, the next piece of it."""
        ...

    def advance(self, update: ProgressUpdate) -> None:
        """Work that was done since the last call; what is done twice counts twice here."""
        ...

    def split_done(self, *, stored_bytes: int) -> None:
        """A split is committed. stored_bytes: its share of the plan's bytes."""
        ...

    def loaded(self, *, rows: int, rejected: int, stored_bytes: int) -> None:
        """A split is in an index. rows: those refused included; stored_bytes: of its files."""
        ...

    def event(self, name: str, /, **facts: object) -> None:
        """Something worth a line of its own: worker_replaced, split_retried, poison_document."""
        ...

    def stop(self) -> None:
        """The work ended, well or not. A second call does nothing."""
        ...


class SilentProgress:
    """Nobody watches."""

    def start(self, plan: Plan) -> None:
        pass

    def advance(self, update: ProgressUpdate) -> None:
        pass

    def split_done(self, *, stored_bytes: int) -> None:
        pass

    def loaded(self, *, rows: int, rejected: int, stored_bytes: int) -> None:
        pass

    def event(self, name: str, /, **facts: object) -> None:
        pass

    def stop(self) -> None:
        pass


class LogProgress:
    """One JSON object a line: at the start, every 30 s, at events, at the end."""

    def __init__(self, stream: TextIO, *, clock: Clock, interval_s: float = LOG_INTERVAL_S) -> None:
        self._stream = stream
        self._clock = clock
        self._interval_s = interval_s
        self._meter = Meter(clock)
        self._due = clock() + interval_s
        self._stopped = threading.Event()
        self._writing = threading.Lock()

    def start(self, plan: Plan) -> None:
        self._meter.start(plan)
        self._write(
            "loading" if plan.loading else "started",
            splits=plan.splits,
            splits_committed_before=plan.already_committed_splits,
            mib=round(plan.bytes / 2**20, 2),
            workers=plan.workers,
        )
        self._stopped = stopped = threading.Event()
        # Lines come although nothing else does: that is when they are wanted most.
        threading.Thread(
            target=self._tick_on, args=(stopped,), name="progress-log", daemon=True
        ).start()

    def advance(self, update: ProgressUpdate) -> None:
        self._meter.advance(update)
        self._tick()

    def split_done(self, *, stored_bytes: int) -> None:
        self._meter.split_done(stored_bytes)
        self._tick()

    def loaded(self, *, rows: int, rejected: int, stored_bytes: int) -> None:
        self._meter.loaded(rows=rows, rejected=rejected, stored_bytes=stored_bytes)
        self._tick()

    def event(self, name: str, /, **facts: object) -> None:
        self._write(name, **facts)

    def stop(self) -> None:
        if not self._stopped.is_set():
            self._stopped.set()
            if self._meter.started:
                self._write("ended", **_facts(self._meter.snapshot()))

    def _tick_on(self, stopped: threading.Event) -> None:
        while not stopped.wait(1.0):
            self._tick()

    def _tick(self) -> None:
        with self._writing:
            due = not self._stopped.is_set() and self._clock() >= self._due
            if due:
                self._due = self._clock() + self._interval_s
        if due:
            self._write("progress", **_facts(self._meter.snapshot()))

    def _write(self, event: str, /, **facts: object) -> None:
        now = datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="seconds")
        line = orjson.dumps({"time": now, "event": event, **facts}, default=str).decode()
        with self._writing:
            try:
                self._stream.write(line + "\n")
                self._stream.flush()
            except (OSError, ValueError):
                # Whoever watched has gone; the work goes on.
                self._stopped.set()


def _facts(now: Snapshot) -> dict[str, object]:
    return {
        **_amounts(now),
        "mib": round(now.bytes / 2**20, 2),
        "of_mib": round(now.total_bytes / 2**20, 2),
        "splits": now.splits,
        "of_splits": now.total_splits,
        "elapsed_s": round(now.elapsed_s, 1),
        "eta_s": None if now.eta_s is None else round(now.eta_s),
    }


def _amounts(now: Snapshot) -> dict[str, object]:
    if now.loading:
        rate = round(now.rows_per_s)
        return {"rows": now.documents, "rejected": now.rejected, "rows_per_s": rate}
    amounts: dict[str, object] = {
        "documents": now.documents,
        "rejected": now.rejected,
        "tokens": now.tokens,
        "tokens_per_s": round(now.tokens_per_s),
    }
    if now.loaded_splits:
        amounts |= {"loaded_splits": now.loaded_splits, "loaded_rows": now.loaded_rows}
    return amounts


def choose_progress(
    stream: TextIO | None = None, *, quiet: bool = False, clock: Clock = time.time
) -> Progress:
    """The display that suits a stream (standard error, if none is given).

    clock: Unix seconds.
    """
    if quiet:
        return SilentProgress()
    watched = sys.stderr if stream is None else stream
    if watched.isatty():
        from embed_job.progress.live_display import RichProgress

        return RichProgress(watched, clock=clock)
    return LogProgress(watched, clock=clock)
