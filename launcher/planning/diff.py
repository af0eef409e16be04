"""What a run would make of the input as it is now, and what that would cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embed_job.report.model import Report
from embed_job.reuse.diff.facts import Diff
from embed_job.spec import JobSpec
from launcher.planning.choices import Choice, Market, weigh_evenly


@dataclass(frozen=True, slots=True)
class PricedDiff:
    """choices: of machines, each for the diff's tokens alone; none where the spec names none.
    hours_here: on the machine that made the report, where the spec names none."""

    diff: Diff
    choices: tuple[Choice, ...]
    hours_here: float | None = None


def make_priced_diff(
    spec: JobSpec, *, scratch: Path, environment: Mapping[str, str], report: Report | None
) -> PricedDiff:
    """Read the input and the output; nothing is written but tables in scratch.

    Asks AWS for nothing but S3 and, where the spec names machines without a price, the Price List.
    Raises a UserError where something can't be read.
    """
    from embed_job.reuse.diff.look import look
    from embed_job.reuse.diff.make import make_diff
    from launcher.planning.model import find_model

    plan, note = look(spec)
    model, why_not = find_model(spec)
    diff = make_diff(
        plan,
        chunker=model.chunker if model else None,
        scratch=scratch,
        note=note or (f"tokens are unknown: {why_not}" if why_not else ""),
    )
    tokens = diff.work.tokens
    return PricedDiff(
        diff,
        weigh_evenly(spec, tokens=tokens, market=_market(spec, environment, report)),
        _hours_here(tokens, report) if spec.compute is None else None,
    )


def _market(spec: JobSpec, environment: Mapping[str, str], report: Report | None) -> Market:
    if spec.compute is None:
        return Market(report, None, None)
    from launcher.aws.clients import make_clients

    clients = make_clients(spec.compute.region, environment=environment)
    return Market(report, lambda: clients.pricing, clients.known_region)


def _hours_here(tokens: int | None, report: Report | None) -> float | None:
    """By the rate of a report's workers."""
    rate = report.throughput.committed_tokens_per_s_per_worker if report else None
    if tokens is None or report is None or not rate:
        return None
    return tokens / (rate * len(report.workers)) / 3600


def diff_facts(found: PricedDiff) -> dict[str, Any]:
    """Every figure, as plain values; null where it is unknown."""
    from dataclasses import asdict

    from launcher.planning.facts import machine_facts

    return {
        "format_version": 1,
        **asdict(found.diff),
        "delete_fraction": found.diff.delete_fraction,
        "ok": not found.diff.problems,
        "machines": [machine_facts(choice) for choice in found.choices],
        "hours_here": found.hours_here,
    }
