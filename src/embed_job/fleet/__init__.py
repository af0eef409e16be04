"""One job on several hosts: who takes what, and who ends it."""

from __future__ import annotations

from dataclasses import dataclass

PROTOCOL = 3
"""What the script of a job and the image agree on: raised when either would misread the other."""


@dataclass(frozen=True, slots=True)
class Host:
    """One machine of a job. rank: 0 to count - 1, by its place in the job's list of hosts."""

    job: str
    name: str
    rank: int
    count: int
