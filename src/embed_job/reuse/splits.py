"""The splits of earlier runs whose rows may be taken over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from embed_job.manifest import SplitManifest

if TYPE_CHECKING:
    from embed_job.plan import Plan
    from embed_job.spec import JobSpec


@dataclass(frozen=True, slots=True)
class EarlierSplit:
    """A committed split. folder: what its manifest names lies below it; a retired one's is another
    than the output's."""

    folder: str
    manifest: SplitManifest


def earlier_splits(plan: Plan) -> list[EarlierSplit]:
    """What a run of this plan may take over, the present generation first.

    Empty where that can save nothing: all is committed, no earlier run has left anything else, or
    the spec forbids it. So too where hosts don't see the output's earlier files (delivery:
    processing_output).
    """
    if not plan.spec.refresh.reuse or plan.place.earlier is not None:
        return []
    if plan.committed.keys() >= set(plan.planned):
        return []
    folder, found = plan.commits.folder, plan.found
    retired = [EarlierSplit(below, manifest) for below, manifest in plan.commits.retired()]
    job = plan.commits.job()
    if job is None and not retired and found.keys() <= set(plan.planned):
        return []
    present = frozenset(job.splits) if job else frozenset()
    ordered = sorted(found.values(), key=lambda manifest: manifest.split not in present)
    return [*(EarlierSplit(folder, manifest) for manifest in ordered), *retired]


def truncates_at(spec: JobSpec, max_tokens: int) -> int | None:
    """From how many tokens on a text may have been cut off; None where texts are never."""
    return max_tokens if spec.chunk.strategy == "truncate" else None
