"""What a job may take: time and money, where they are known."""

from __future__ import annotations

from collections.abc import Iterator

from embed_job.spec.compute import ComputeSpec
from launcher.rules.problems import Known, Problem, error, warning


def money(compute: ComputeSpec, known: Known) -> Iterator[Problem]:
    """Each choice of machines against the time limit and the budget."""
    if known.on != "sagemaker":
        return
    for look in known.outlooks:
        if look.hours is not None and look.hours * 3600 > compute.max_runtime_s:
            needed = int(look.hours * 3600)
            what = (
                f"{compute.max_runtime_s:,} s is shorter than the {needed:,} s "
                f"that {look.instance_type} is estimated to take"
            )
            hint = f"Set {int(needed * 1.5)}, or more instances; a stopped job can be resumed."
            yield error("compute.max_runtime_s", what, hint)
        if compute.max_cost_usd is None or look.cost_usd is None:
            continue
        if look.cost_usd > compute.max_cost_usd:
            what = (
                f"{look.cost_usd:,.2f} USD is what {look.instance_type} is estimated to cost, "
                f"above {compute.max_cost_usd:,.2f}"
            )
            yield error("compute.max_cost_usd", what, "Raise it, or embed less.")
    if compute.max_cost_usd is not None and any(look.cost_usd is None for look in known.outlooks):
        hint = "Give a rate (--report out/dry-run) and a price (compute.price_per_hour_usd)."
        if compute.instance_preferences:
            hint = "Give a rate (--report out/dry-run), and let AWS be asked for prices."
        what = "can't be held against a cost that is not known"
        yield warning("compute.max_cost_usd", what, hint)
