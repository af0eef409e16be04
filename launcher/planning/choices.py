"""Each choice of machines: its rate, its price, how its hosts share the input, what it takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from embed_job.report.model import Report
from embed_job.spec import JobSpec
from embed_job.spec.compute import InstancePreference
from launcher.job.request import compute_of
from launcher.planning.instances import instance
from launcher.planning.listing import ListingFacts
from launcher.planning.prices import Price, find_price
from launcher.planning.rates import Rate, find_rate, vcpus_of
from launcher.planning.sharing import Shares, Way, cut, simulate
from launcher.rules.engines import uses_gpu
from launcher.rules.machines import choices

if TYPE_CHECKING:
    from mypy_boto3_pricing import PricingClient

BOTH: tuple[Way, ...] = ("sharded_by_s3_key", "balanced")
Ways = Mapping[tuple[Way, int], Shares]
"""By way of sharing and number of hosts."""


@dataclass(frozen=True, slots=True)
class Market:
    """Where rates and prices come from. pricing: makes the client; None: AWS is not asked."""

    report: Report | None
    pricing: Callable[[], PricingClient] | None
    region: str | None


@dataclass(frozen=True, slots=True)
class Choice:
    """One choice of machines. shares: under the spec's way of sharing. hours: from the first
    document to the last, without start-up and copying. None: unknown."""

    instance_type: str
    instance_count: int
    vcpus: int | None
    gpus: int | None
    rate: Rate
    price: Price
    shares: Shares | None
    hours: float | None
    cost_usd: float | None


def simulate_ways(spec: JobSpec, listing: ListingFacts) -> tuple[Ways, int]:
    """Both ways of sharing for each number of hosts, and the number of splits."""
    made = cut(listing.weights(), listing.codes, split_mib=spec.input.split_mib)
    wanted = {
        choice.instance_count: _workers(spec, choice.instance_type)
        for choice in reversed(choices(compute_of(spec)))
    }
    ways = {
        (way, hosts): simulate(made, listing.sizes, way, hosts=hosts, workers=workers)
        for hosts, workers in wanted.items()
        for way in BOTH
    }
    return ways, made.splits


def _workers(spec: JobSpec, instance_type: str) -> int | None:
    if spec.execution.workers != "auto":
        return spec.execution.workers
    from embed_job.embedding import crew_of

    vcpus, found = vcpus_of(spec, instance_type), instance(instance_type)
    on_gpu = found.gpus if uses_gpu(spec.model) else 0
    if vcpus is None or on_gpu is None:
        return None
    return crew_of(spec, cores=vcpus, gpus=tuple(map(str, range(on_gpu)))).workers


def weigh_choices(
    spec: JobSpec, ways: Ways, *, tokens: int | None, market: Market
) -> tuple[Choice, ...]:
    """What each choice of the spec would take. tokens: of the whole input, where known."""
    compute = compute_of(spec)
    found = [
        (choice, ways.get((compute.sharing, choice.instance_count))) for choice in choices(compute)
    ]
    return tuple(
        replace(
            _weigh(spec, choice, shares.makespan if shares else None, tokens, market), shares=shares
        )
        for choice, shares in found
    )


def weigh_evenly(spec: JobSpec, *, tokens: int | None, market: Market) -> tuple[Choice, ...]:
    """The same for work that its hosts share evenly; none where the spec names no machines."""
    if spec.compute is None:
        return ()
    return tuple(_weigh(spec, choice, 1.0, tokens, market) for choice in choices(spec.compute))


def _weigh(
    spec: JobSpec,
    choice: InstancePreference,
    makespan: float | None,
    tokens: int | None,
    market: Market,
) -> Choice:
    """One choice, without its shares. makespan: None where nobody knows how hosts share."""
    name, hosts = choice.instance_type, choice.instance_count
    rate = find_rate(spec, market.report, instance_type=name)
    price = find_price(compute_of(spec), name, region=market.region, pricing=market.pricing)
    hours = cost = None
    if tokens is not None and rate.tokens_per_s and makespan is not None:
        hours = tokens / (rate.tokens_per_s * hosts) / 3600 * makespan
    if hours is not None and price.usd_per_hour is not None:
        cost = hours * hosts * price.usd_per_hour
    vcpus, gpus = vcpus_of(spec, name), instance(name).gpus
    return Choice(name, hosts, vcpus, gpus, rate, price, None, hours, cost)
