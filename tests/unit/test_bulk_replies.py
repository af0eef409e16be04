"""What each reply says of each row: every status has a fate, and nothing odd is ever counted."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import NoCredentialsError
from hypothesis import given
from hypothesis import strategies as st
from opensearchpy import exceptions as refusal

from embed_job.opensearch.delivery.chunks import Chunk, Operation, cut
from embed_job.opensearch.delivery.outcome import Outcome, outcome_of
from embed_job.opensearch.delivery.replies import (
    AGAIN,
    Fate,
    Reply,
    Verdict,
    failure_of,
    reply_of,
    verdict_of,
)

FLOOD = (
    "index [x] blocked by: [TOO_MANY_REQUESTS/12/disk usage exceeded flood-stage watermark, "
    "index has read-only-allow-delete block];"
)
OLD_FLOOD = "index [x] blocked by: [FORBIDDEN/12/index read-only / allow delete (api)];"
READ_ONLY = "index [x] blocked by: [FORBIDDEN/5/index read-only (api)];"
TEXT = st.one_of(st.text(max_size=20), st.sampled_from([FLOOD, OLD_FLOOD, READ_ONLY, "expired"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


def item(row_id: str, status: int, kind: str = "", reason: str = "") -> dict[str, Any]:
    error = {"error": {"type": kind, "reason": reason}} if status >= 300 else {}
    return {"index": {"_id": row_id, "status": status, **error}}


def reply(*items: dict[str, Any]) -> dict[str, Any]:
    return {"took": 1, "errors": True, "items": list(items)}


def chunk_of(count: int, **options: Any) -> Chunk:
    rows = (Operation(f"r{at}", f"d{at}", b"{}\n", b"{}\n") for at in range(count))
    (chunk,) = cut("s", rows, lambda: 1 << 20)
    return Chunk(chunk.split, chunk.ids, chunk.doc_ids, chunk.ends, chunk.body, **options)


@pytest.mark.parametrize(
    ("status", "kind", "reason", "fate"),
    [
        (200, "", "", Fate.DONE),
        (201, "", "", Fate.DONE),
        (429, "rejected_execution_exception", "queue is full", Fate.THROTTLED),
        (429, "circuit_breaking_exception", "data too large", Fate.THROTTLED),
        (503, "unavailable_shards_exception", "primary is not active", Fate.FAILED),
        (500, "", "", Fate.FAILED),
        (408, "", "", Fate.FAILED),
        (400, "mapper_parsing_exception", "failed to parse field [n]", Fate.REFUSED),
        (400, "strict_dynamic_mapping_exception", "not allowed", Fate.REFUSED),
        (400, "index_closed_exception", "closed", Fate.STOP),
        (400, "illegal_argument_exception", "no write index is defined for alias", Fate.STOP),
        (403, "cluster_block_exception", READ_ONLY, Fate.STOP),
        (403, "cluster_block_exception", OLD_FLOOD, Fate.BLOCKED),
        (429, "cluster_block_exception", FLOOD, Fate.BLOCKED),
        (403, "security_exception", "no permissions for [indices:data/write/bulk]", Fate.STOP),
        (403, "", "The security token included in the request is expired", Fate.EXPIRED),
        (403, "", "Signature expired: 20260101T000000Z is now earlier than", Fate.EXPIRED),
        (401, "", "Unauthorized", Fate.STOP),
        (404, "index_not_found_exception", "no such index [x]", Fate.STOP),
        (404, "shard_not_found_exception", "", Fate.FAILED),
        (409, "version_conflict_engine_exception", "is higher than", Fate.FENCED),
        (413, "", "", Fate.TOO_LARGE),
        (301, "", "", Fate.STOP),
    ],
)
def test_fates(status: int, kind: str, reason: str, fate: Fate) -> None:
    assert verdict_of(status, kind, reason).fate is fate


@given(st.integers(), TEXT, TEXT)
def test_every_status_has_a_fate_and_only_success_is_done(
    status: int, kind: str, reason: str
) -> None:
    verdict = verdict_of(status, kind, reason)
    assert (verdict.fate is Fate.DONE) == (200 <= status < 300)
    assert len(verdict.reason) <= 300


@given(st.lists(st.tuples(st.integers(100, 599), TEXT, TEXT), min_size=1, max_size=12))
def test_each_row_is_done_refused_or_sent_again(answers: list[tuple[int, str, str]]) -> None:
    chunk = chunk_of(len(answers))
    items = [item(f"r{at}", *answer) for at, answer in enumerate(answers)]
    outcome = outcome_of(chunk, reply_of(reply(*items), chunk.ids, checks_ids=True))
    fates = [verdict_of(*answer).fate for answer in answers]
    if any(fate in (Fate.STOP, Fate.FENCED) for fate in fates):
        assert outcome.stop is not None
        return
    assert outcome.written == fates.count(Fate.DONE)
    again = [row_id for part in outcome.again for row_id in part.ids]
    assert again == [f"r{at}" for at, fate in enumerate(fates) if fate in AGAIN]
    assert outcome.written + len(outcome.refused) + len(again) == len(chunk)
    assert outcome.trouble == pytest.approx(len(again) / len(chunk))


@given(JSON)
def test_what_is_no_reply_is_never_counted(answer: Any) -> None:
    chunk = chunk_of(2)
    found = reply_of(answer, chunk.ids, checks_ids=True)
    assert found.whole.fate is Fate.AMBIGUOUS
    outcome = outcome_of(chunk, found)
    assert outcome.written == 0
    assert [part.unsure for part in outcome.again] == [True]


@given(JSON, st.booleans())
def test_what_is_no_item_is_never_counted(odd: Any, checks_ids: bool) -> None:
    found = reply_of(reply(item("r0", 200), odd), ["r0", "r1"], checks_ids=checks_ids)
    assert found.whole.fate is Fate.AMBIGUOUS


def test_fewer_items_than_were_sent_say_nothing_of_any() -> None:
    found = reply_of(reply(item("r0", 201)), ["r0", "r1"], checks_ids=True)
    assert found.whole.fate is Fate.AMBIGUOUS


@pytest.mark.parametrize("order", [["r1", "r0"], ["r0", "r2"], ["r0", "r0"]])
def test_other_ids_or_another_order_stop(order: list[str]) -> None:
    answer = reply(*(item(row_id, 201) for row_id in order))
    assert reply_of(answer, ["r0", "r1"], checks_ids=True).whole.fate is Fate.STOP
    assert reply_of(answer, ["r0", "r1"], checks_ids=False).whole.fate is Fate.DONE


def test_success_is_read_from_each_item_not_from_the_flag() -> None:
    answer = reply(item("r0", 201), item("r1", 429)) | {"errors": False}
    assert reply_of(answer, ["r0", "r1"], checks_ids=True).others.keys() == {1}


def test_a_refusal_keeps_the_servers_reason_down_to_its_cause() -> None:
    answer = item("r0", 400, "mapper_parsing_exception", "failed to parse field [pages]")
    answer["index"]["error"]["caused_by"] = {"type": "x", "reason": 'For input string: "many"'}
    outcome = outcome_of(chunk_of(1), reply_of(reply(answer), ["r0"], checks_ids=True))
    (refused,) = outcome.refused
    assert (refused.id, refused.doc_id, refused.status) == ("r0", "d0", 400)
    assert refused.reason == (
        'mapper_parsing_exception: failed to parse field [pages]: For input string: "many"'
    )


def of_whole(fate: Fate, chunk: Chunk) -> Outcome:
    return outcome_of(chunk, Reply(Verdict(fate, 0, "why"), {}))


def test_a_413_halves_and_a_lone_row_is_refused() -> None:
    outcome = of_whole(Fate.TOO_LARGE, chunk_of(5))
    assert sum(len(part) for part in outcome.again) == 5
    assert len(outcome.again) == 2
    (refused,) = of_whole(Fate.TOO_LARGE, chunk_of(1)).refused
    assert refused.reason.startswith("too_large")


def test_rows_that_time_out_twice_go_in_halves() -> None:
    assert [len(part) for part in of_whole(Fate.TIMED_OUT, chunk_of(4)).again] == [4]
    later = of_whole(Fate.TIMED_OUT, chunk_of(4, attempts=1))
    assert [len(part) for part in later.again] == [2, 2]
    assert all(part.unsure and part.attempts == 2 for part in later.again)


@pytest.mark.parametrize(
    ("error", "fate"),
    [
        (refusal.ConnectionTimeout("TIMEOUT", "read", OSError()), Fate.TIMED_OUT),
        (refusal.ConnectionError("N/A", "reset", OSError("reset")), Fate.AMBIGUOUS),
        (refusal.ConnectionError("N/A", "keys", NoCredentialsError()), Fate.EXPIRED),
        (refusal.SerializationError("<html>", ValueError()), Fate.AMBIGUOUS),
        (refusal.TransportError(429, "too_many_requests", {}), Fate.THROTTLED),
        (refusal.TransportError(503, "unavailable", {}), Fate.AMBIGUOUS),
        (refusal.TransportError(504, "gateway", {}), Fate.AMBIGUOUS),
        (refusal.TransportError(413, "too large", {}), Fate.TOO_LARGE),
        (refusal.RequestError(400, "parse_exception", {}), Fate.STOP),
        (refusal.NotFoundError(404, "index_not_found_exception", {}), Fate.STOP),
        (refusal.AuthenticationException(401, "", {}), Fate.STOP),
        (refusal.AuthorizationException(403, "", {"message": "User is not authorized"}), Fate.STOP),
        (
            refusal.AuthorizationException(
                403, "", {"message": "The security token included in the request is expired"}
            ),
            Fate.EXPIRED,
        ),
        (refusal.ConflictError(409, "", {}), Fate.STOP),
    ],
    ids=lambda value: value.name if isinstance(value, Fate) else type(value).__name__,
)
def test_failures_of_a_whole_request(error: Exception, fate: Fate) -> None:
    found = failure_of(error)
    assert found is not None
    assert found.fate is fate


def test_an_error_of_ours_is_no_failure_of_the_cluster() -> None:
    assert failure_of(json.JSONDecodeError("no", "", 0)) is None
    assert failure_of(KeyError("x")) is None
