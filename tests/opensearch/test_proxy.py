"""The proxy itself, before a real server: what it breaks, and that it breaks nothing else."""

from __future__ import annotations

import time
from collections.abc import Iterator

import orjson
import pytest
from opensearchpy import ConnectionError as ConnectionFailed
from opensearchpy import ConnectionTimeout, OpenSearch, TransportError
from opensearchpy.exceptions import SerializationError

from tests.opensearch import faults
from tests.opensearch.proxy import Proxy, Rule

IDS = [f"d{number}" for number in range(10)]


@pytest.fixture
def through(proxy: Proxy) -> Iterator[OpenSearch]:
    """A client that knows the proxy alone, and never tries again by itself."""
    with OpenSearch(proxy.url, max_retries=0, timeout=5) as client:
        yield client


@pytest.fixture(autouse=True)
def index(client: OpenSearch, index_name: str) -> None:
    client.indices.create(index=index_name, body={"settings": {"number_of_replicas": 0}})


def body(ids: list[str] = IDS) -> bytes:
    lines = [[{"index": {"_id": row}}, {"text": f"of {row}"}] for row in ids]
    return b"".join(orjson.dumps(line) + b"\n" for pair in lines for line in pair)


def indexed(client: OpenSearch, name: str) -> list[str]:
    client.indices.refresh(index=name)
    return sorted(hit["_id"] for hit in client.search(index=name, size=100)["hits"]["hits"])


def test_without_a_rule_it_changes_nothing(
    proxy: Proxy, through: OpenSearch, client: OpenSearch, index_name: str
) -> None:
    answer = through.bulk(index=index_name, body=body())
    assert [item["index"]["status"] for item in answer["items"]] == [201] * 10
    assert through.indices.exists(index=index_name)
    assert indexed(through, index_name) == indexed(client, index_name) == IDS
    assert proxy.sent() == IDS


def test_refused_items_are_told_in_their_places_and_never_applied(
    proxy: Proxy, through: OpenSearch, client: OpenSearch, index_name: str
) -> None:
    proxy.rules = [Rule(faults.refuse_items(faults.named("d3", "d7"), 429))]
    answer = through.bulk(index=index_name, body=body())
    assert answer["errors"] is True
    assert [item["index"]["_id"] for item in answer["items"]] == IDS
    refused = [n for n, item in enumerate(answer["items"]) if item["index"]["status"] == 429]
    assert refused == [3, 7]
    assert indexed(client, index_name) == [row for row in IDS if row not in ("d3", "d7")]


def test_a_bulk_of_which_every_item_is_refused_never_reaches_the_server(
    proxy: Proxy, through: OpenSearch, client: OpenSearch, index_name: str
) -> None:
    proxy.rules = [Rule(faults.refuse_items(lambda _: True, 503))]
    answer = through.bulk(index=index_name, body=body())
    assert {item["index"]["status"] for item in answer["items"]} == {503}
    assert indexed(client, index_name) == []


def test_a_share_of_the_items_meets_the_fault_once(
    proxy: Proxy, through: OpenSearch, index_name: str
) -> None:
    proxy.rules = [Rule(faults.refuse_items(faults.share(0.5), 429), times=None)]
    first = through.bulk(index=index_name, body=body())["items"]
    refused = [item["index"]["_id"] for item in first if item["index"]["status"] == 429]
    assert 0 < len(refused) < 10
    assert through.bulk(index=index_name, body=body(refused))["errors"] is False


@pytest.mark.parametrize(
    ("act", "applied"), [(faults.reset_before(), []), (faults.reset_after(), IDS)]
)
def test_a_reset_comes_before_or_after_the_server_applied(
    proxy: Proxy,
    through: OpenSearch,
    client: OpenSearch,
    index_name: str,
    act: object,
    applied: object,
) -> None:
    proxy.rules = [Rule(act)]  # type: ignore[arg-type]
    with pytest.raises(ConnectionFailed):
        through.bulk(index=index_name, body=body())
    assert indexed(client, index_name) == applied


def test_what_the_client_no_longer_waits_for_is_still_applied(
    proxy: Proxy, through: OpenSearch, client: OpenSearch, index_name: str
) -> None:
    proxy.rules = [Rule(faults.apply_late(1.0))]
    with pytest.raises(ConnectionTimeout):
        through.bulk(index=index_name, body=body(), request_timeout=0.2)
    assert indexed(client, index_name) == []
    proxy.wait_for(lambda: indexed(client, index_name) == IDS, timeout_s=10)


def test_an_answer_may_be_a_page_or_half_of_its_json(
    proxy: Proxy, through: OpenSearch, index_name: str
) -> None:
    proxy.rules = [Rule(faults.refuse(200)), Rule(faults.alter(faults.half))]
    for _ in proxy.rules:
        with pytest.raises(SerializationError):
            through.bulk(index=index_name, body=body())
    assert through.bulk(index=index_name, body=body())["errors"] is False


def test_items_of_an_answer_may_be_lost_or_anothers(
    proxy: Proxy, through: OpenSearch, client: OpenSearch, index_name: str
) -> None:
    proxy.rules = [
        Rule(faults.change_items(lambda items: items[:4])),
        Rule(faults.change_items(faults.with_wrong_id)),
    ]
    assert len(through.bulk(index=index_name, body=body())["items"]) == 4
    items = through.bulk(index=index_name, body=body())["items"]
    assert items[-1]["index"]["_id"] == "somebody-else"
    assert indexed(client, index_name) == IDS


def test_a_limit_refuses_what_is_larger_alone(
    proxy: Proxy, through: OpenSearch, index_name: str
) -> None:
    proxy.rules = [Rule(faults.too_large(200), times=None)]
    with pytest.raises(TransportError) as refused:
        through.bulk(index=index_name, body=body())
    assert refused.value.status_code == 413
    assert through.bulk(index=index_name, body=body(IDS[:2]))["errors"] is False


def test_a_gate_holds_a_request_until_it_is_opened(
    proxy: Proxy, client: OpenSearch, index_name: str
) -> None:
    gate = faults.Gate()
    proxy.rules = [Rule(gate.after())]
    with OpenSearch(proxy.url, max_retries=0, timeout=0.5) as impatient:
        began = time.monotonic()
        with pytest.raises(ConnectionTimeout):
            impatient.bulk(index=index_name, body=body())
        assert time.monotonic() - began >= 0.5
    assert gate.holding == 1
    assert indexed(client, index_name) == IDS
    gate.open()
    proxy.wait_for(lambda: gate.holding == 0)
