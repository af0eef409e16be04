"""What the whole corpus would take: stated only where what it follows from is known."""

from __future__ import annotations

from collections.abc import Mapping

from embed_job.manifest import SplitCounts
from embed_job.report.model import Estimates, RunFacts, Throughput
from embed_job.spec.compute import ComputeSpec


def estimate(
    facts: RunFacts, counts: SplitCounts, output_bytes: int, throughput: Throughput
) -> Estimates:
    """The whole corpus from this run, scaled by bytes where the run was of a sample."""
    scale = _scale(facts)
    tokens = _times(counts.tokens, scale)
    documents = _times(counts.documents.written, scale)
    rate = throughput.committed_tokens_per_s_per_worker
    # A run that finds everything done starts no worker; then those of before count.
    workers = facts.workers or len({manifest.worker for manifest in facts.manifests})
    hours_here = _hours(tokens, rate and rate * workers)
    compute = _only_type(facts)
    cores = compute.vcpus * compute.instance_count if compute and compute.vcpus else None
    core_rate = rate and rate / facts.spec.execution.threads_per_worker
    hours = _hours(tokens, core_rate and cores and core_rate * cores)
    price = compute.price_per_hour_usd if compute else None
    cost = None
    if compute and price is not None and hours is not None:
        cost = hours * price * compute.instance_count
    return Estimates(
        corpus_documents=documents,
        corpus_tokens=tokens,
        output_bytes=_times(output_bytes, scale),
        hours_here=hours_here,
        hours_on_compute=hours,
        cost_usd=cost,
        usd_per_million_documents=_per_million(cost, documents),
        usd_per_million_tokens=_per_million(cost, tokens),
        missing=_missing(facts, {"compute.vcpus": cores, "compute.price_per_hour_usd": price}),
    )


def _only_type(facts: RunFacts) -> ComputeSpec | None:
    """The spec's machines, where they are of one type and this run's rate says something of them:
    a GPU's says nothing of vCPUs."""
    compute = facts.spec.compute
    if compute is None or compute.instance_preferences or _on_gpu(facts):
        return None
    return compute


def _on_gpu(facts: RunFacts) -> bool:
    return any(engine.device != "CPU" for engine in facts.engines)


def _missing(facts: RunFacts, found: Mapping[str, float | None]) -> tuple[str, ...]:
    """Keys that would tell more; none where the spec may not have them, or they would not."""
    compute = facts.spec.compute
    if _on_gpu(facts) or (compute is not None and compute.instance_preferences):
        return ()
    return tuple(key for key, value in found.items() if value is None)


def _scale(facts: RunFacts) -> float | None:
    """How many times this run the whole corpus is; None: that is not known."""
    if facts.sample is not None:
        return facts.sample.of_bytes / facts.sample.bytes if facts.sample.bytes else None
    return 1.0 if len(facts.manifests) == facts.inputs.splits else None


def _times(count: int, scale: float | None) -> int | None:
    return None if scale is None else round(count * scale)


def _hours(tokens: int | None, tokens_per_s: float | None) -> float | None:
    if tokens is None or not tokens_per_s:
        return None
    return tokens / tokens_per_s / 3600


def _per_million(cost: float | None, count: int | None) -> float | None:
    return cost / count * 1e6 if cost is not None and count else None
