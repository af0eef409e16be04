"""The lease of an output: one run at a time ends what it began, and a late one does no harm.

A small file that only compare-and-swap changes. Who holds it beats; who wants it watches the beat
by its own monotonic clock. No two machines' clocks are ever compared.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from embed_job.commit.commits import Commits, decode_record, encode_record
from embed_job.commit.process import is_gone, this_process
from embed_job.errors import OutputError, UserError
from embed_job.manifest import FORMAT_VERSION, Record

_LEAVE_WITHIN_S = 5.0
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def passed_s() -> float:
    """Seconds that only go on, also while the machine sleeps: whoever wakes must see that."""
    return time.clock_gettime(_CLOCK)


class LeaseRecord(Record):
    """Who holds an output, or held it last where it is free. run: hosts of one job share its name.
    process: of a run that is one process alone, as of :mod:`embed_job.commit.process`, else "".
    beat: grows while somebody is alive."""

    format_version: int = FORMAT_VERSION
    generation: int
    run: str
    free: bool
    host: str
    process: str
    nonce: str
    beat: int


@dataclass(frozen=True, slots=True)
class Rhythm:
    """beat_s: between two beats. dead_s: how long a beat stands still before whoever watches it
    takes over; a holder trusts its own last beat for half of that."""

    beat_s: float = 5.0
    dead_s: float = 45.0


@dataclass(frozen=True, slots=True)
class Holder:
    """Who takes a lease. alone: whether this process is all of the run, so that its death can be
    seen by others of its machine."""

    run: str
    host: str
    alone: bool


class HeldError(OutputError):
    """Another run holds the output, or has held it since. by: its name."""

    def __init__(self, folder: str, by: str, what: str, hint: str) -> None:
        super().__init__(folder, what, hint)
        self.by = by

    def __reduce__(self) -> tuple[type[HeldError], tuple[str, str, str, str]]:  # type: ignore[override]
        return type(self), (self.where, self.by, self.what, self.hint)


class Lease:
    """A run's right to commit a job and to remove files of one output.

    generation: of this run, greater than that of every run before it. Taken by take; beats inside
    its context. Guarantee: while holds() is true, nobody else has taken it.
    """

    def __init__(
        self,
        commits: Commits,
        holder: Holder,
        *,
        rhythm: Rhythm,
        generation: int | None = None,
        lost: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = passed_s,
    ) -> None:
        """generation: that of a run that has held the lease before; None: a new one. lost: called
        once, by any thread, when another run has taken it."""
        self._commits = commits
        self._store = commits.store
        self._key = commits.key("lease.json")
        self._holder = holder
        self._rhythm = rhythm
        self._fixed = generation
        self.generation = generation or 0
        self._tell_lost = lost
        self._clock = clock
        self._process = this_process() if holder.alone else ""
        self._nonce = secrets.token_hex(8)
        self._guard = threading.Lock()
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._seen = -1
        self._seen_at = self._proved_at = float("-inf")
        self._lost_to: str | None = None

    @property
    def lost_to(self) -> str | None:
        """The run that has taken it over; "" where it was given back; None: it is still held, as
        far as this run has looked."""
        return self._lost_to

    def take(
        self,
        *,
        stopping: Callable[[], bool] = lambda: False,
        watching: Callable[[LeaseRecord], None] = lambda _: None,
    ) -> None:
        """Wait until it is plain whether somebody is alive, and have it, or raise HeldError: at
        once where a beat moves, or where the generation to be taken again has passed. watching:
        told once whose beat is watched."""
        since: float | None = None
        watched: LeaseRecord | None = None
        while True:
            looked_at = self._clock()
            found, tag = self._look()
            stands = since is not None and looked_at - since >= self._rhythm.dead_s
            if found is None or self._is_free(found) or (found == watched and stands):
                if self._won(found, tag, looked_at):
                    return
                continue
            if (watched is not None and found != watched) or stopping():
                raise self._held(found)
            if watched is None:
                watched, since = found, self._clock()
                watching(found)
            time.sleep(self._rhythm.beat_s / 2)

    def __enter__(self) -> Lease:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop beating; a run that is this process alone gives the lease back."""
        if self._holder.alone:
            # Where that fails, standing still says the same, later.
            with suppress(UserError, OSError):
                self.release()
        self._stop()

    def release(self) -> None:
        """Give it back, so that the next run need not wait; once taken over, nothing happens."""
        self._stop()
        with self._guard:
            found, tag = self._look()
            while found is not None and self._is_mine(found):
                if self._swapped(found, tag, free=True):
                    self._lost_to = ""
                found, tag = self._look()

    def holds(self) -> bool:
        """Whether this run may commit and remove; asks the store where the last beat is old."""
        with self._guard:
            if self._lost_to is not None:
                return False
            if self._clock() - self._proved_at > self._rhythm.dead_s / 2:
                self._prove()
            return self._lost_to is None

    def _is_free(self, found: LeaseRecord) -> bool:
        """Raises HeldError where the generation that is to be taken again has passed."""
        if self._fixed is not None and found.generation > self._fixed:
            raise self._held(found)
        return found.free or found.run == self._holder.run or is_gone(found.process)

    def _won(self, found: LeaseRecord | None, tag: str | None, looked_at: float) -> bool:
        if found is not None and found.run == self._holder.run and not found.free:
            self.generation = found.generation
            if found.process == self._process:  # a host beside others: these beat for it too
                self._seen, self._seen_at = found.beat, looked_at
                return True
        elif self._fixed is None:
            self.generation = 1 + max(found.generation if found else 0, self._commits.generation())
        if not self._swapped(found, tag, free=False):
            return False
        self._seen_at = self._proved_at = looked_at
        return True

    def _swapped(self, found: LeaseRecord | None, tag: str | None, *, free: bool) -> bool:
        """Put this run's beat in the place of what was found; False where another was faster."""
        beat = 0 if found is None else found.beat + 1
        mine = LeaseRecord(
            generation=self.generation,
            run=self._holder.run,
            free=free,
            host=self._holder.host,
            process=self._process,
            nonce=self._nonce,
            beat=beat,
        )
        if not self._store.swap(self._key, encode_record(mine), tag=tag):
            return False
        self._seen = beat
        return True

    def _is_mine(self, found: LeaseRecord) -> bool:
        held = (found.generation, found.run, found.free)
        return held == (self.generation, self._holder.run, False)

    def _look(self) -> tuple[LeaseRecord | None, str | None]:
        try:
            read = self._store.read_tagged(self._key)
        except FileNotFoundError:
            return None, None
        return decode_record(self._key, read.data, LeaseRecord), read.tag

    def _prove(self) -> None:
        """See that the lease is still this run's, and beat, unless another host of it has."""
        looked_at = self._clock()
        found, tag = self._look()
        if found is None or not self._is_mine(found):
            self._lost_to = found.run if found and found.generation != self.generation else ""
            self._tell_lost()
        elif found.beat != self._seen:
            # It moved after it was seen last, whenever that was: no earlier than that look.
            self._seen, self._proved_at, self._seen_at = found.beat, self._seen_at, looked_at
        elif self._swapped(found, tag, free=False):
            self._seen_at = self._proved_at = looked_at

    def _beat(self) -> None:
        while not self._left.wait(self._rhythm.beat_s) and self._lost_to is None:
            # A store that does not answer proves nothing; the work meets the same trouble.
            with suppress(UserError, OSError), self._guard:
                if not self._left.is_set():
                    self._prove()

    def _stop(self) -> None:
        self._left.set()
        if self._thread.ident is not None:
            self._thread.join(_LEAVE_WITHIN_S)

    def _held(self, found: LeaseRecord) -> HeldError:
        passed = self._fixed is not None and found.generation > self._fixed
        return HeldError(
            self._commits.folder,
            found.run,
            f"{found.run} on {found.host} "
            + ("has taken over this output" if passed else "is at work on this output")
            + f" (generation {found.generation})",
            "Let it end, then run again. If it is dead, it is taken over "
            f"{self._rhythm.dead_s:.0f} s after its last sign of life.",
        )
