"""Chunks between the thread that encodes and those that send, and what became of each split."""

from __future__ import annotations

import heapq
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import count

from embed_job.opensearch.delivery.chunks import Chunk
from embed_job.opensearch.delivery.outcome import Outcome
from embed_job.opensearch.delivery.pace import Pace
from embed_job.opensearch.delivery.replies import UNSURE, Fate, Verdict
from embed_job.opensearch.delivery.results import Delivered, DeliveryStats, Refused

STORM = 0.5
"""Where this share of a bulk's rows has to go again, nothing else is sent before them."""


@dataclass(slots=True)
class _Progress:
    """A split under way. read: rows encoded or refused so far; ended: there are no more."""

    split: str
    read: int = 0
    written: int = 0
    ended: bool = False
    refused: list[Refused] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        return self.ended and self.read == self.written + len(self.refused)


class Flow:
    """Safe to use by many threads. Memory: at most max_bytes of encoded rows that are not
    acknowledged yet, or one chunk where that is larger; halves of a chunk count as the chunk."""

    def __init__(self, pace: Pace, *, max_bytes: int, clock: Callable[[], float]) -> None:
        self.pace = pace
        self._max_bytes = max_bytes
        self._clock = clock
        self._changed = threading.Condition()
        self._fresh: deque[Chunk] = deque()
        self._again: list[tuple[float, int, Chunk]] = []
        self._order = count()
        self._splits: dict[str, _Progress] = {}
        self._delivered: deque[Delivered] = deque()
        self._resume_at = self._moved_at = clock()
        self._reading = False
        self._closed = False
        self._error: BaseException | None = None
        self._under_way = 0
        self._held_bytes = 0
        self._began_at: float | None = None
        self._stats = DeliveryStats()
        self.why: Verdict | None = None

    # The reader's side.

    def begin_reading(self) -> None:
        with self._changed:
            self._reading = True

    def end_reading(self) -> None:
        with self._changed:
            self._reading = False
            self._changed.notify_all()

    def begin(self, split: str) -> None:
        """A split's rows follow."""
        with self._changed:
            if split in self._splits:
                raise ValueError(f"{split} is under way already")
            self._splits[split] = _Progress(split)

    def put(self, chunk: Chunk) -> bool:
        """Hand over a chunk; waits for room. False: nothing is taken any more."""
        size = len(chunk.body)
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or not self._held_bytes or self._has_room(size)
            )
            if self._closed:
                return False
            if not self._held_bytes:
                self._moved_at = self._clock()
            self._held_bytes += size
            self._began_at = self._began_at or self._clock()
            if self._held_bytes > self._stats.peak_bytes:
                self._stats = replace(self._stats, peak_bytes=self._held_bytes)
            self._splits[chunk.split].read += len(chunk)
            self._fresh.append(chunk)
            self._changed.notify_all()
        return True

    def refuse_unsent(self, split: str, refused: Refused) -> None:
        with self._changed:
            progress = self._splits[split]
            progress.read += 1
            progress.refused.append(refused)

    def end(self, split: str) -> None:
        """All of a split's rows were put or refused."""
        with self._changed:
            self._splits[split].ended = True
            self._finish(split)
            self._changed.notify_all()

    # The senders' side.

    def take(self) -> Chunk | None:
        """A chunk to send; waits until one may be sent. Rows that are sent again go first.

        None: nothing is sent any more. Each chunk taken is given back to settle.
        """
        with self._changed:
            while not self._closed:
                now_s = self._clock()
                wait_s = self._resume_at - now_s
                if self._under_way < self.pace.concurrency and wait_s <= 0:
                    if self._again and self._again[0][0] <= now_s:
                        self._under_way += 1
                        return heapq.heappop(self._again)[2]
                    if self._fresh:
                        self._under_way += 1
                        return self._fresh.popleft()
                    wait_s = self._again[0][0] - now_s if self._again else 0.0
                self._changed.wait(wait_s if wait_s > 0 else None)
        return None

    def settle(self, chunk: Chunk, outcome: Outcome, took_s: float) -> None:
        """What became of a chunk that was taken."""
        now_s = self._clock()
        with self._changed:
            self._under_way -= 1
            self._held_bytes += sum(len(part.body) for part in outcome.again) - len(chunk.body)
            progress = self._splits[chunk.split]
            progress.written += outcome.written
            progress.refused += outcome.refused
            if outcome.written or outcome.refused:
                self._moved_at = now_s
            self.why = outcome.why
            self._count(chunk, outcome)
            self._adapt(chunk, outcome, took_s)
            self._schedule(outcome, now_s)
            self._finish(chunk.split)
            self._changed.notify_all()

    def drop(self, chunk: Chunk) -> None:
        """A chunk that was taken is given up, and with it its split."""
        with self._changed:
            self._under_way -= 1
            self._held_bytes -= len(chunk.body)
            self._changed.notify_all()

    def _count(self, chunk: Chunk, outcome: Outcome) -> None:
        before = self._stats
        self._stats = replace(
            before,
            requests=before.requests + 1,
            retries=before.retries + (chunk.attempts > 0),
            throttled=before.throttled + outcome.throttled,
            ambiguous=before.ambiguous + (outcome.whole in UNSURE),
            rows=before.rows + outcome.written,
            bytes=before.bytes + len(chunk.body),
            last_reason=before.last_reason if outcome.why is None else outcome.why.told,
        )

    def _adapt(self, chunk: Chunk, outcome: Outcome, took_s: float) -> None:
        size = len(chunk.body)
        if outcome.whole is Fate.TOO_LARGE:
            self.pace.too_large(size)
        elif outcome.whole is Fate.DONE:
            self.pace.answered(size, took_s, trouble=outcome.trouble)
        elif outcome.whole is Fate.TIMED_OUT:
            self.pace.unanswered(size)
        else:
            self.pace.answered(size, 0.0, trouble=outcome.trouble)

    def _schedule(self, outcome: Outcome, now_s: float) -> None:
        for part in outcome.again:
            delay_s = self.pace.delay_s(part.attempts) if outcome.trouble else 0.0
            heapq.heappush(self._again, (now_s + delay_s, next(self._order), part))
            if outcome.trouble >= STORM:
                self._resume_at = max(self._resume_at, now_s + delay_s)

    # The caller's side.

    def fail(self, error: BaseException) -> None:
        """Nothing is sent any more; the first error counts."""
        with self._changed:
            self._error = self._error or error
        self.close()

    def close(self) -> None:
        """Nothing new is taken or sent; what is under way may still be settled."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def wait(self, timeout_s: float) -> Delivered | None:
        """A split that is complete, within this time."""
        with self._changed:
            self._changed.wait_for(lambda: self._delivered or self._idle, timeout_s)
            return self._delivered.popleft() if self._delivered else None

    @property
    def finished(self) -> bool:
        """Whether no split will be complete any more."""
        with self._changed:
            return self._idle and not self._delivered

    @property
    def error(self) -> BaseException | None:
        return self._error

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def stats(self) -> DeliveryStats:
        with self._changed:
            began_at = self._began_at
            return replace(
                self._stats,
                seconds=0.0 if began_at is None else self._clock() - began_at,
                concurrency=self.pace.concurrency,
                bulk_bytes=self.pace.bulk_bytes,
            )

    @property
    def stalled_s(self) -> float:
        """How long rows have been waiting with none acknowledged."""
        with self._changed:
            return self._clock() - self._moved_at if self._held_bytes else 0.0

    @property
    def _idle(self) -> bool:
        if self._closed:
            return self._under_way == 0
        return not self._reading and not self._splits

    def _has_room(self, size: int) -> bool:
        # No more than the bulks that may be under way now, and as many to follow.
        wanted = 2 * (self.pace.concurrency + 1) * self.pace.bulk_bytes
        return self._held_bytes + size <= min(self._max_bytes, wanted)

    def _finish(self, split: str) -> None:
        progress = self._splits[split]
        if progress.complete:
            del self._splits[split]
            refused = tuple(progress.refused)
            self._delivered.append(
                Delivered(progress.split, progress.read, progress.written, len(refused), refused)
            )
