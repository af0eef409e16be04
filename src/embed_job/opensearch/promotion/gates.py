"""Everything that an index must pass before the alias is pointed to it."""

from __future__ import annotations

from dataclasses import dataclass

from embed_job.dataset.verify import Check
from embed_job.opensearch.canary.run import Canary, Candidate, run_canary
from embed_job.opensearch.check import verify_index


@dataclass(frozen=True, slots=True)
class Passage:
    """What was found. canary: its checks, which come after those of the index; page: where one was
    made; notes: what to know besides."""

    index: tuple[Check, ...]
    canary: tuple[Check, ...] = ()
    page: bytes | None = None
    notes: tuple[str, ...] = ()

    @property
    def checks(self) -> tuple[Check, ...]:
        """All of them, in order."""
        return (*self.index, *self.canary)

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that do not hold."""
        return tuple(check for check in self.checks if not check.ok)


def pass_gates(candidate: Candidate, *, live: str | None) -> Passage:
    """The nine checks of an index, and the canary where the spec has one.

    live: the index that the alias is on now; None: none. Raises as verify_index and run_canary do.
    """
    checks = verify_index(candidate.client, candidate.target, candidate.dataset)
    limits = candidate.target.output.gates.canary
    if limits is None:
        return Passage(checks)
    canary: Canary = run_canary(candidate, limits, live=live)
    return Passage(checks, canary.checks, canary.page, canary.notes)
