"""Requests about an index that may be sent again: until a deadline, with jittered backoff."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from embed_job.opensearch.errors import explain, is_passing

Answer = TypeVar("Answer")

FIRST_DELAY_S = 0.2
LONGEST_DELAY_S = 10.0
FIRST_POLL_S = 0.1
LONGEST_POLL_S = 5.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a cluster may be out of reach, or too busy, before a command gives up."""

    limit_s: float = 60.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    rng: random.Random = field(default_factory=random.Random)

    def call(self, operation: Callable[[], Answer], *, where: str) -> Answer:
        """The answer of an idempotent operation.

        Raises OutputError once limit_s would pass, and at once for what no repetition mends.
        Errors that are not the cluster's go through as they are.
        """
        began_s = self.clock()
        attempts = 0
        while True:
            attempts += 1
            try:
                return operation()
            except Exception as error:
                delay_s = self.rng.uniform(0.5, 1) * min(
                    LONGEST_DELAY_S, FIRST_DELAY_S * 2 ** min(attempts, 16)
                )
                if is_passing(error) and self.clock() - began_s + delay_s <= self.limit_s:
                    self.sleep(delay_s)
                    continue
                explanation = explain(error, where=where)
                if explanation is None:
                    raise
                raise explanation from error

    def polls(self, stopping: Callable[[], bool]) -> Iterator[float]:
        """The time, again and again with growing pauses, until asked to stop."""
        pause_s = FIRST_POLL_S
        while not stopping():
            yield self.clock()
            self.sleep(pause_s)
            pause_s = min(LONGEST_POLL_S, pause_s * 2)


PATIENT = Patience()
BRIEF = Patience(limit_s=5.0)
"""For a first contact: a wrong url should be told of soon."""
