"""What is wrong with a job before it runs, and what the rules may know to find out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from launcher.planning.listing import ListingFacts
from launcher.planning.sharing import Shares

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Problem:
    """where: the spec's key; what: the fault in one clause; hint: what to do. An error is never
    submitted."""

    severity: Severity
    where: str
    what: str
    hint: str


def error(where: str, what: str, hint: str) -> Problem:
    return Problem("error", where, what, hint)


def warning(where: str, what: str, hint: str) -> Problem:
    return Problem("warning", where, what, hint)


@dataclass(frozen=True, slots=True)
class Outlook:
    """What one choice of machines would take. None: unknown. output_bytes: of the whole job."""

    instance_type: str
    hours: float | None
    cost_usd: float | None
    output_bytes: int | None


@dataclass(frozen=True, slots=True)
class Known:
    """What is known beside the spec. None or empty: not known, and rules about it are silent.

    on: where the job is to run. region, account: of whoever submits it. siblings: what else
    begins as input.uri does.
    bucket_regions: where buckets lie. shares: by number of hosts, for the spec's way of sharing.
    """

    on: Literal["sagemaker", "local"] = "sagemaker"
    region: str | None = None
    account: str | None = None
    listing: ListingFacts | None = None
    siblings: tuple[str, ...] = ()
    bucket_regions: Mapping[str, str] = field(default_factory=dict)
    shares: Mapping[int, Shares] = field(default_factory=dict)
    outlooks: tuple[Outlook, ...] = ()
