"""How many bulks are under way, how large they are, and when to try again. Pure."""

from __future__ import annotations

import random

FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 20.0
MIN_BULK_BYTES = 64 << 10
SLOWER = 3.0
"""A full bulk that takes so many times the usual is taken for a queue in the cluster."""
QUICK_S = 0.5
"""A bulk that takes less is never slow."""

_BYTES_STEPS = 32
_FORGET = 1.02


class Pace:
    """Additive increase, multiplicative decrease.

    Before the first trouble each answered bulk adds one bulk to those under way; after it, a
    round of them adds one. A round of bulks whose rows all had trouble halves them; trouble with
    one row in fifty takes off a hundredth, which the increase makes good. After a 413 the size is
    half of what was refused, and then grows to just below that.

    Bounds: 1 ≤ concurrency ≤ max_concurrency; MIN_BULK_BYTES ≤ bulk_bytes ≤ the size to begin
    with, or exactly that where it is smaller.
    """

    def __init__(self, *, max_concurrency: int, bulk_bytes: int, rng: random.Random) -> None:
        self._max_concurrency = max_concurrency
        self._window = float(min(2, max_concurrency))
        self._least_bytes = min(MIN_BULK_BYTES, bulk_bytes)
        self._step_bytes = max(1, bulk_bytes // _BYTES_STEPS)
        self._ceiling_bytes = self._bulk_bytes = bulk_bytes
        self._rng = rng
        self._usual_s: float | None = None
        self._met_trouble = False

    @property
    def concurrency(self) -> int:
        """Bulks that may be under way now."""
        return int(self._window)

    @property
    def bulk_bytes(self) -> int:
        """Size of the next bulk, at most."""
        return self._bulk_bytes

    def answered(self, size_bytes: int, took_s: float, *, trouble: float) -> None:
        """A bulk was answered. trouble: the share of its rows that have to be sent again."""
        full = 2 * size_bytes >= self._bulk_bytes
        if full and trouble == 0:
            self._bulk_bytes = min(self._ceiling_bytes, self._bulk_bytes + self._step_bytes)
        self._adapt(1.0 if full and self._is_slow(took_s) else trouble)

    def unanswered(self, size_bytes: int) -> None:
        """Nothing came, or not in time. A bulk that was alone under way was too large for that."""
        if self.concurrency == 1:
            self._halve(size_bytes)
        self._adapt(1.0)

    def too_large(self, size_bytes: int) -> None:
        """The server refused a bulk of this size."""
        just_below = size_bytes * 9 // 10
        self._ceiling_bytes = max(self._least_bytes, min(self._ceiling_bytes, just_below))
        self._halve(size_bytes)

    def delay_s(self, attempts: int) -> float:
        """Before rows are sent again that were sent so often: full jitter."""
        longest_s = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(attempts - 1, 16))
        return self._rng.uniform(0.0, longest_s)

    def _halve(self, size_bytes: int) -> None:
        self._bulk_bytes = max(self._least_bytes, min(self._bulk_bytes, size_bytes // 2))

    def _is_slow(self, took_s: float) -> bool:
        """Compares with the quickest of late, which is forgotten slowly."""
        known_s = took_s if self._usual_s is None else self._usual_s * _FORGET
        self._usual_s = min(known_s, took_s)
        return took_s > max(QUICK_S, SLOWER * self._usual_s)

    def _adapt(self, trouble: float) -> None:
        self._met_trouble |= trouble > 0
        step = 1 / self._window if self._met_trouble else 1.0
        # Half a bulk for each of the round's bulks: half of them all.
        window = self._window + (1 - trouble) * step - trouble / 2
        self._window = min(float(self._max_concurrency), max(1.0, window))
