"""A plan as plain values: what ``embed-job plan --json`` prints."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from launcher.planning.choices import Choice
from launcher.planning.listing import ListingFacts
from launcher.planning.plan import LaunchPlan


def plan_facts(plan: LaunchPlan) -> dict[str, Any]:
    """Every figure of a plan; null where it is unknown, with its source beside it."""
    return {
        "format_version": 1,
        "name": plan.spec.name,
        "job": plan.names.job,
        "prefix": plan.names.prefix,
        "region": plan.names.region,
        "ok": not plan.errors,
        "input": _input(plan.listing) if plan.listing else None,
        "contents": asdict(plan.contents) if plan.contents else None,
        "columns": plan.columns,
        "model_fingerprint": plan.model,
        "model_note": plan.model_note,
        "splits": plan.splits,
        "committed_splits": plan.committed,
        "output_bytes": plan.output_bytes,
        "index": asdict(plan.index) if plan.index else None,
        "sharing": [asdict(way) for way in plan.ways],
        "machines": [machine_facts(choice) for choice in plan.choices],
        "calls": [asdict(call) for call in plan.calls],
        "problems": [asdict(problem) for problem in plan.problems],
        "request": plan.request,
    }


def _input(listing: ListingFacts) -> dict[str, Any]:
    return {
        "uri": listing.uri,
        "objects": listing.objects,
        "files": listing.files,
        "bytes": listing.bytes,
        "kinds": [asdict(kind) for kind in listing.kinds],
        "ignored": listing.ignored,
        "ignored_names": listing.ignored_names[:20],
        "hidden": listing.hidden,
        "empty": listing.empty,
        "largest": [{"name": name, "bytes": size} for name, size in listing.largest],
    }


def machine_facts(choice: Choice) -> dict[str, Any]:
    """One choice of machines, with the source of each figure."""
    return {
        "instance_type": choice.instance_type,
        "instance_count": choice.instance_count,
        "vcpus": choice.vcpus,
        "gpus": choice.gpus,
        "tokens_per_s": choice.rate.tokens_per_s,
        "measured": choice.rate.measured,
        "rate_source": choice.rate.source,
        "usd_per_hour": choice.price.usd_per_hour,
        "price_source": choice.price.source,
        "makespan": choice.shares.makespan if choice.shares else None,
        "hours": choice.hours,
        "cost_usd": choice.cost_usd,
    }
