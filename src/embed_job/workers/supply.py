"""Where a pool gets its splits from: all of them at once, or as they are claimed among hosts."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Protocol

from embed_job.workers.case import SplitCase


class Supply(Protocol):
    """Splits for the workers of one machine. Every call comes from one thread and never waits."""

    def take(self) -> SplitCase | None:
        """A split to work on now; None where there is none at the moment."""
        ...

    def ended(self, case: SplitCase) -> None:
        """A split that was taken is committed, or given up (its error is set)."""
        ...

    @property
    def exhausted(self) -> bool:
        """Whether take() will never give another one."""
        ...


class AllCases:
    """A fixed set, the largest first so that none is left over at the end."""

    def __init__(self, cases: Iterable[SplitCase]) -> None:
        self._queue = deque(sorted(cases, key=lambda case: (-case.split.bytes, case.index)))

    def take(self) -> SplitCase | None:
        return self._queue.popleft() if self._queue else None

    def ended(self, case: SplitCase) -> None:
        pass

    @property
    def exhausted(self) -> bool:
        return not self._queue
