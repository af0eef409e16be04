"""How much of a run is done, how fast it goes and when it will end."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

_WINDOW_S = 30.0
_BUCKET_S = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run has before it. splits: all of them; bytes: stored bytes of those that are not
    committed yet. loading: they are not embedded but loaded into an index, and rows count as
    documents."""

    splits: int
    bytes: int
    already_committed_splits: int = 0
    workers: int = 1
    loading: bool = False


@dataclass(frozen=True, slots=True)
class ProgressUpdate:
    """Work done since the last update. documents: settled ones, rejected ones included."""

    documents: int = 0
    bytes: int = 0
    tokens: int = 0
    rejected: int = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a run. bytes is an estimate inside running splits; tokens_per_s is of the
    last 30 s, rows_per_s likewise where the plan is to load; eta_s is None while nothing tells.
    loaded_rows, loaded_splits: what an index has taken beside the embedding."""

    documents: int
    rejected: int
    tokens: int
    tokens_per_s: float
    bytes: int
    total_bytes: int
    splits: int
    total_splits: int
    workers: int
    elapsed_s: float
    eta_s: float | None
    loading: bool = False
    rows_per_s: float = 0.0
    loaded_rows: int = 0
    loaded_splits: int = 0


class Meter:
    """Sums up updates. Safe to read from another thread; memory is bounded."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._started_at: float | None = None
        self._begin(Plan(splits=0, bytes=0))

    def _begin(self, plan: Plan) -> None:
        self._plan = plan
        self._documents = self._bytes = self._tokens = self._rejected = 0
        self._splits = plan.already_committed_splits
        self._split_bytes = 0
        self._loaded_rows = self._loaded_splits = 0
        self._recent: deque[tuple[float, int]] = deque()

    @property
    def started(self) -> bool:
        return self._started_at is not None

    def start(self, plan: Plan) -> None:
        """Another start begins anew."""
        with self._lock:
            self._begin(plan)
            self._started_at = self._clock()

    def advance(self, update: ProgressUpdate) -> None:
        with self._lock:
            self._documents += update.documents
            self._bytes += update.bytes
            self._tokens += update.tokens
            self._rejected += update.rejected
            self._remember(update.tokens)

    def loaded(self, *, rows: int, rejected: int, stored_bytes: int) -> None:
        """A split is in an index. stored_bytes: its share of a plan to load."""
        with self._lock:
            self._loaded_rows += rows
            self._loaded_splits += 1
            if self._plan.loading:
                self._documents += rows
                self._rejected += rejected
                self._splits += 1
                self._split_bytes += stored_bytes
                self._remember(rows)

    def _remember(self, amount: int) -> None:
        """Tokens that were embedded, or rows where the plan is to load."""
        now = self._clock()
        if self._recent and now - self._recent[-1][0] < _BUCKET_S:
            began, sofar = self._recent[-1]
            self._recent[-1] = (began, sofar + amount)
        else:
            self._recent.append((now, amount))
        self._forget(now)

    def _forget(self, now: float) -> None:
        while self._recent and now - self._recent[0][0] > _WINDOW_S:
            self._recent.popleft()

    def split_done(self, stored_bytes: int) -> None:
        with self._lock:
            self._splits += 1
            self._split_bytes += stored_bytes

    def snapshot(self) -> Snapshot:
        with self._lock:
            now = self._clock()
            self._forget(now)
            elapsed_s = max(0.0, now - (now if self._started_at is None else self._started_at))
            done, rate = self._done_bytes(), self._rate(elapsed_s)
            return Snapshot(
                documents=self._documents,
                rejected=self._rejected,
                tokens=self._tokens,
                tokens_per_s=0.0 if self._plan.loading else rate,
                bytes=done,
                total_bytes=self._plan.bytes,
                splits=self._splits,
                total_splits=self._plan.splits,
                workers=self._plan.workers,
                elapsed_s=elapsed_s,
                eta_s=self._eta(done, elapsed_s),
                loading=self._plan.loading,
                rows_per_s=rate if self._plan.loading else 0.0,
                loaded_rows=self._loaded_rows,
                loaded_splits=self._loaded_splits,
            )

    def _rate(self, elapsed_s: float) -> float:
        over_s = min(_WINDOW_S, elapsed_s)
        return sum(amount for _, amount in self._recent) / over_s if over_s > 0 else 0.0

    def _done_bytes(self) -> int:
        """Committed splits count in full; running ones by what their documents weigh, which is
        less than their records, or more where the file is compressed."""
        if self._splits >= self._plan.splits:
            return self._plan.bytes
        running = min(self._bytes, int(self._plan.bytes * 0.99))
        return max(self._split_bytes, running)

    def _eta(self, done: int, elapsed_s: float) -> float | None:
        if done <= 0 or elapsed_s < 1:
            return None
        return elapsed_s * (self._plan.bytes - done) / done
