"""What a comparison must come to, as checks beside the nine of an index. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from embed_job.dataset.verify import Check
from embed_job.opensearch.canary.compare import Comparison
from embed_job.spec.gates import CanarySpec

ASKED = "canary: both indexes can be asked"
OVERLAP = "canary: the answers overlap"
JUDGED = "canary: judged answers are as good"
LATENCY = "canary: searches are as quick"


def checks_of(found: Comparison, limits: CanarySpec) -> Iterator[Check]:
    """Overlap and nDCG, and latency where it has a limit."""
    told = f"overlap@10 {found.overlap:.3f} over {len(found.answers):,} queries"
    told += f"; at least {limits.min_overlap:g}"
    yield Check(OVERLAP, found.overlap >= limits.min_overlap, told, figure=found.overlap)
    yield _judged(found, limits)
    if limits.max_p95_ratio is not None:
        yield _latency(found, limits.max_p95_ratio)


def _judged(found: Comparison, limits: CanarySpec) -> Check:
    if found.old_ndcg is None or found.new_ndcg is None:
        return Check(JUDGED, ok=True, detail="no query is judged", skipped=True)
    least = limits.min_ndcg_ratio * found.old_ndcg
    told = f"nDCG@10 {found.old_ndcg:.3f} → {found.new_ndcg:.3f} over {found.judged:,} judged "
    told += f"queries; at least {least:.3f}"
    if not found.old_ndcg and not found.new_ndcg:
        told += "; neither index finds a judged document: are their names those of doc_id?"
    return Check(JUDGED, found.new_ndcg >= least, told, figure=found.new_ndcg)


def _latency(found: Comparison, limit: float) -> Check:
    old, new = found.old_latency.p95_ms, found.new_latency.p95_ms
    told = f"p95 {old:.1f} ms → {new:.1f} ms; at most {limit:g} times as long"
    return Check(LATENCY, new <= limit * old, told, figure=new / old)
