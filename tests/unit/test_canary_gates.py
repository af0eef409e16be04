"""What a comparison must come to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from embed_job.opensearch.canary.compare import Comparison, Latency
from embed_job.opensearch.canary.gates import JUDGED, LATENCY, OVERLAP, checks_of
from embed_job.spec.gates import CanarySpec

LIMITS = CanarySpec(queries="q.jsonl")
FOUND = Comparison(
    old_index="kb-1",
    new_index="kb-2",
    answers=(),
    overlap=0.5,
    judged=4,
    old_ndcg=0.8,
    new_ndcg=0.76,
    old_latency=Latency(4, 10),
    new_latency=Latency(4, 30),
)


def verdicts(found: Comparison, limits: CanarySpec) -> dict[str, bool]:
    return {check.name: check.ok for check in checks_of(found, limits)}


def test_at_its_limits_a_gate_holds() -> None:
    assert verdicts(FOUND, LIMITS) == {OVERLAP: True, JUDGED: True}


@pytest.mark.parametrize(
    ("change", "failed"),
    [
        ({"overlap": 0.49}, OVERLAP),
        ({"new_ndcg": 0.75}, JUDGED),
        ({"old_ndcg": 0.9}, JUDGED),
    ],
)
def test_below_it_it_does_not(change: dict[str, float], failed: str) -> None:
    found = verdicts(replace(FOUND, **change), LIMITS)
    assert [name for name, ok in found.items() if not ok] == [failed]


def test_without_judgements_there_is_nothing_to_hold() -> None:
    _, judged = checks_of(replace(FOUND, judged=0, old_ndcg=None, new_ndcg=None), LIMITS)
    assert (judged.ok, judged.skipped) == (True, True)


def test_a_live_index_that_finds_nothing_sets_no_bar() -> None:
    _, judged = checks_of(replace(FOUND, old_ndcg=0.0, new_ndcg=0.0), LIMITS)
    assert judged.ok
    assert judged.detail.endswith("are their names those of doc_id?")


@pytest.mark.parametrize(("limit", "ok"), [(3.0, True), (2.9, False)])
def test_latency_is_held_against_a_limit_where_there_is_one(limit: float, ok: bool) -> None:
    *_, latency = checks_of(FOUND, LIMITS.model_copy(update={"max_p95_ratio": limit}))
    assert (latency.name, latency.ok) == (LATENCY, ok)
    assert latency.detail == f"p95 10.0 ms → 30.0 ms; at most {limit:g} times as long"
