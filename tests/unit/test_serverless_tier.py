"""How long rows of unknown outcome are looked for, and which are sent again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, cast

import orjson
import pytest
from opensearchpy import AuthorizationException, ConnectionTimeout, OpenSearch, TransportError

from embed_job.opensearch.serverless.tier import Serverless
from embed_job.spec.opensearch import BulkSpec

HOLD_S = 30.0


@dataclass
class FakeService:
    """A clock, and a collection whose documents come to be seen as it passes."""

    seen_at: dict[str, float]
    troubles: list[Exception] = field(default_factory=list)
    partial: bool = False
    now: float = 0.0
    asked_at: list[float] = field(default_factory=list)
    queries: list[dict[str, Any]] = field(default_factory=list)

    @property
    def indices(self) -> FakeService:
        return self

    def get_settings(self, *, index: str) -> dict[str, Any]:
        return {index: {"settings": {"index": {"refresh_interval": "10s"}}}}

    def search(self, *, index: str, body: dict[str, Any]) -> dict[str, Any]:
        assert index == "books"
        self.asked_at.append(self.now)
        self.queries.append(body)
        if self.troubles:
            raise self.troubles.pop(0)
        filters = body["query"]["bool"]["filter"]
        wanted = filters[0]["terms"]["id"]
        buckets = [{"key": row} for row in wanted if self.seen_at.get(row, 1e9) <= self.now]
        return {
            "timed_out": False,
            "_shards": {"failed": int(self.partial)},
            "aggregations": {"rows": {"buckets": buckets}},
        }

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def _tier(service: FakeService, stopping: Callable[[], bool] = lambda: False) -> Serverless:
    return Serverless(
        cast(OpenSearch, service),
        "books",
        BulkSpec(),
        generation=7,
        stopping=stopping,
        clock=lambda: service.now,
        sleep=service.sleep,
    )


def _missing(service: FakeService, ids: Iterable[str]) -> list[str]:
    return list(_tier(service).missing(list(ids), 7))


def test_an_action_names_no_document_and_its_fields_do() -> None:
    tier = _tier(FakeService({}))
    assert orjson.loads(tier.action("d1", 7)) == {"index": {}}
    assert tier.action("d1", 7).endswith(b"\n")
    assert tier.extra_fields("d1") == {"id": "d1", "generation": 7}
    assert not tier.checks_ids


def test_bulks_begin_at_5_mib_and_never_over_what_the_spec_says() -> None:
    client = cast(OpenSearch, FakeService({}))
    assert Serverless(client, "books", BulkSpec(), generation=1).start_bulk_bytes == 5 * 2**20
    small = BulkSpec(max_mib=2)
    assert Serverless(client, "books", small, generation=1).start_bulk_bytes == 2 * 2**20


def test_rows_that_come_to_be_seen_are_not_sent_again() -> None:
    service = FakeService({"a": 2.0, "b": 12.0})
    assert _missing(service, ["a", "b"]) == []
    assert 12 <= service.now <= 12 + 5


def test_only_what_is_not_seen_at_the_end_of_the_hold_is_sent_again() -> None:
    service = FakeService({"a": 2.0, "c": HOLD_S + 5})
    assert _missing(service, ["a", "b", "c"]) == ["b", "c"]
    assert service.now == HOLD_S
    assert service.asked_at[-1] == HOLD_S, "the last question comes after the whole hold"
    waits = [b - a for a, b in zip(service.asked_at, service.asked_at[1:], strict=False)]
    assert waits[:4] == [0.25, 0.5, 1.0, 2.0]
    assert max(waits) <= 5


def test_the_query_is_about_this_generation() -> None:
    service = FakeService({"a": 0.0})
    _missing(service, ["a"])
    assert service.queries[0]["query"]["bool"]["filter"] == [
        {"terms": {"id": ["a"]}},
        {"term": {"generation": 7}},
    ]


def test_many_rows_are_asked_for_in_several_queries() -> None:
    service = FakeService(dict.fromkeys(map(str, range(25_000)), 0.0))
    assert _missing(service, service.seen_at) == []
    assert [
        len(query["query"]["bool"]["filter"][0]["terms"]["id"]) for query in service.queries
    ] == [
        10_000,
        10_000,
        5_000,
    ]


def test_trouble_with_asking_is_waited_out() -> None:
    busy = TransportError(429, "too_many_requests", {})
    service = FakeService({"a": 0.0}, troubles=[busy, busy])
    assert _missing(service, ["a"]) == []


def test_nothing_is_sent_again_where_nobody_could_look_for_it() -> None:
    service = FakeService({"a": 0.0}, troubles=[TransportError(503, "", {}) for _ in range(100)])
    with pytest.raises(TransportError):
        _missing(service, ["a"])
    assert service.now == HOLD_S


def test_an_answer_of_a_part_of_the_index_does_not_count() -> None:
    with pytest.raises(TransportError, match="503"):
        _missing(FakeService({}, partial=True), ["a"])


def test_a_refusal_ends_the_hold_at_once() -> None:
    service = FakeService({"a": 0.0}, troubles=[AuthorizationException(403, "denied", {})])
    with pytest.raises(AuthorizationException):
        _missing(service, ["a"])
    assert service.now == 0


def test_stopping_ends_the_hold_and_nothing_is_sent_again() -> None:
    service = FakeService({})
    tier = _tier(service, stopping=lambda: service.now > 3)
    with pytest.raises(ConnectionTimeout):
        tier.missing(["a"], 7)
    assert service.now < 3 + 5
