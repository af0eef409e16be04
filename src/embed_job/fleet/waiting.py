"""The host that ends a job gives the others time: to leave word, and to deliver what they hold."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from embed_job.fleet.claims import Pace
from embed_job.fleet.records import JobFolder

_PATIENCE = 2
"""How many of the longest waits of another host its record is waited for."""
_LOOK_S = 1.0


@dataclass(frozen=True, slots=True)
class Others:
    """The hosts of a job, as the one that ends it sees them. stopping: asked every second."""

    room: JobFolder
    count: int
    pace: Pace
    stopping: Callable[[], bool]

    def await_records(self) -> None:
        """Give hosts that still sleep (balanced) the time to see that all is done and to leave word
        of it, for the report's sake; the end does not depend on it."""
        deadline = time.monotonic() + _PATIENCE * self.pace.max_poll_s
        while not self._all_ended() and time.monotonic() < deadline:
            time.sleep(min(self.pace.poll_s, _LOOK_S))

    def await_deliveries(self, receipts: Callable[[], int]) -> None:
        """Let them deliver what they have begun with: until all have left word, or, as one may be
        gone, until no split has come into the index for a while. receipts: how many have."""
        seen, deadline = 0, time.monotonic() + self.pace.delivery_s
        while not self._all_ended():
            now_s, found = time.monotonic(), receipts()
            if found > seen:
                seen, deadline = found, now_s + self.pace.delivery_s
            if now_s >= deadline:
                return
            self._sleep(until=min(deadline, now_s + self.pace.max_poll_s))

    def _all_ended(self) -> bool:
        return self.stopping() or len(self.room.hosts()) >= self.count

    def _sleep(self, *, until: float) -> None:
        while not self.stopping() and (left_s := until - time.monotonic()) > 0:
            time.sleep(min(left_s, _LOOK_S))
