"""An index promoted past its gates, or over those that the user overrides."""

from __future__ import annotations

from dataclasses import dataclass, field

from embed_job.dataset.verify import Check
from embed_job.errors import OutputError
from embed_job.opensearch.canary.run import Candidate
from embed_job.opensearch.index.alias import Promotion, alias_of, described, holder_of
from embed_job.opensearch.index.meta import Source
from embed_job.opensearch.index.promote import promote
from embed_job.opensearch.index.prune import Pruned, prune
from embed_job.opensearch.patience import PATIENT
from embed_job.opensearch.promotion.gates import Passage, pass_gates
from embed_job.storage import resolve


@dataclass(frozen=True, slots=True)
class Promoted:
    """What came of it. promotion: None where a check failed, and nothing was moved. passage: None
    where the alias was on the index already, and nothing was checked. overridden: the checks that
    failed and were not heeded."""

    promotion: Promotion | None
    passage: Passage | None = None
    overridden: tuple[Check, ...] = ()
    pruned: Pruned = field(default_factory=Pruned)


def promote_past_gates(candidate: Candidate, *, force: bool = False) -> Promoted:
    """Check the candidate's index, point the alias to it, delete indexes that are too old.

    force: point the alias to it whatever the checks say. Idempotent. Raises OutputError where the
    alias can't be moved or was moved during the checks, or the cluster is out of reach, and as
    pass_gates does.
    """
    client, target = candidate.client, candidate.target
    live, withdrawn = _standing(candidate)
    if live == target.name:
        return Promoted(promote(client, target), pruned=prune(client, target))
    passage = pass_gates(candidate, live=live)
    if passage.failed and not force:
        return Promoted(None, passage)
    now = _standing(candidate)
    if now != (live, withdrawn) and now[0] != target.name:
        # The checks take minutes, and what they say is of the index that was live then.
        raise OutputError(
            str(target.alias),
            f"was on {live or 'no index'} when the checks began, and somebody has moved it since: "
            f"it is on {now[0] or 'no index'}, and stays there",
            "Find out who, and promote again.",
        )
    promotion = promote(client, target, source=_source(candidate))
    return Promoted(promotion, passage, passage.failed, prune(client, target))


def _standing(candidate: Candidate) -> tuple[str | None, bool]:
    """The index that the alias is on, and whether the candidate's was rolled back from."""
    client, target = candidate.client, candidate.target
    alias, where = alias_of(target)
    live = holder_of(client, alias, where=where)
    _, meta = described(client, target, PATIENT)
    return live, meta.withdrawn


def _source(candidate: Candidate) -> Source:
    return Source(
        output=candidate.dataset.folder,
        bundle=resolve(str(candidate.bundle)),
        precision=candidate.dataset.descriptor.precision,
    )
