"""The Serverless tier against a stand-in for a collection: at least once, and once in the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from opensearchpy import NotFoundError, OpenSearch

from embed_job.opensearch.delivery import Delivered, Delivery, Domain, SplitRows, Tier
from embed_job.opensearch.index.open import open_index
from embed_job.opensearch.serverless.sweep import delete_splits, sweep_duplicates
from embed_job.opensearch.serverless.tier import Serverless
from embed_job.opensearch.serverless.visibility import await_visible, seconds_of
from embed_job.opensearch.target import IndexTarget
from embed_job.spec.opensearch import BulkSpec
from tests.opensearch.faults import (
    apply_late,
    half,
    refuse,
    refuse_items,
    reset_after,
    reset_before,
)
from tests.opensearch.index_targets import DIMENSION, target_of
from tests.opensearch.proxy import Answer, Forward, Operation, Request, Seen
from tests.opensearch.serverless_stand_in import NO_ID, REFRESH, Collection, serverless_stand_in

SPLIT, OTHER_SPLIT = "5" * 16, "6" * 16


@pytest.fixture
def collection(opensearch_url: str) -> Iterator[Collection]:
    with serverless_stand_in(opensearch_url) as running:
        yield running


@pytest.fixture
def aoss(collection: Collection) -> Iterator[OpenSearch]:
    """A client of the collection."""
    with OpenSearch(collection.url, max_retries=0, timeout=60) as client:
        yield client


@pytest.fixture
def index(aoss: OpenSearch, collection: Collection, index_name: str) -> IndexTarget:
    """An open index in the collection."""
    target = target_of(collection.url, index_name, service="aoss", auth="none")
    open_index(aoss, target, create=True)
    return target


def test_what_serverless_has_not_is_refused_as_documented(
    aoss: OpenSearch, index: IndexTarget
) -> None:
    for absent in (
        lambda: aoss.indices.refresh(index=index.name),
        lambda: aoss.indices.forcemerge(index=index.name),
        aoss.cluster.health,
        aoss.cluster.get_settings,
        aoss.tasks.list,
        aoss.nodes.stats,
        lambda: aoss.transport.perform_request("GET", f"/_plugins/_knn/warmup/{index.name}"),
    ):
        with pytest.raises(NotFoundError):
            absent()
    reply = _send(aoss, index, Domain(BulkSpec()), ["d1"])
    assert reply["items"][0]["index"]["status"] == 400
    assert NO_ID in reply["items"][0]["index"]["error"]["reason"]


def test_writes_are_seen_later_and_waited_for(aoss: OpenSearch, index: IndexTarget) -> None:
    _write(aoss, index, [f"d{number}" for number in range(50)])
    assert await_visible(aoss, index.name)
    assert aoss.count(index=index.name)["count"] == 50


def test_a_replay_leaves_the_copy_of_the_newest_generation(
    aoss: OpenSearch, index: IndexTarget
) -> None:
    _write(aoss, index, ["d1", "d2", "d3"], generation=1)
    _write(aoss, index, ["d1", "d2", "d3", "d4"], generation=2)
    _write(aoss, index, ["d2"], generation=1)  # a writer that wakes up late
    swept = sweep_duplicates(aoss, index.name)
    assert (swept.deleted, swept.clean) == (4, True)
    assert _documents(aoss, index) == [("d1", 2), ("d2", 2), ("d3", 2), ("d4", 2)]
    assert sweep_duplicates(aoss, index.name).deleted == 0


def test_copies_are_found_across_pages(aoss: OpenSearch, index: IndexTarget) -> None:
    for _ in range(7):
        _write(aoss, index, ["d2"])
    _write(aoss, index, ["d1", "d3", "d4"])
    _write(aoss, index, ["d3", "d4"])
    swept = sweep_duplicates(aoss, index.name, page_rows=3)
    assert (swept.deleted, swept.clean) == (8, True)
    assert [row for row, _ in _documents(aoss, index)] == ["d1", "d2", "d3", "d4"]


def test_two_sweeps_at_a_time_leave_one_copy(aoss: OpenSearch, index: IndexTarget) -> None:
    rows = [f"d{number:03}" for number in range(100)]
    for _ in range(3):
        _write(aoss, index, rows)
    with ThreadPoolExecutor(2) as hosts:
        sweeps = [hosts.submit(sweep_duplicates, aoss, index.name) for _ in range(2)]
        assert all(sweep.result().clean for sweep in sweeps)
    assert [row for row, _ in _documents(aoss, index)] == rows


def test_documents_of_splits_that_are_gone_are_deleted(
    aoss: OpenSearch, index: IndexTarget
) -> None:
    _write(aoss, index, ["d1", "d2"], split=SPLIT)
    _write(aoss, index, ["d2", "d3"], split=OTHER_SPLIT, generation=2)
    assert delete_splits(aoss, index.name, [SPLIT], newest=2).deleted == 2
    assert _documents(aoss, index) == [("d2", 2), ("d3", 2)]


def test_what_a_later_load_has_written_is_not_deleted(aoss: OpenSearch, index: IndexTarget) -> None:
    _write(aoss, index, ["d1"], generation=2)
    _write(aoss, index, ["d2"], generation=3)
    assert delete_splits(aoss, index.name, [SPLIT], newest=2).deleted == 1
    assert _documents(aoss, index) == [("d2", 3)]


def test_stopping_ends_a_sweep_that_says_so(aoss: OpenSearch, index: IndexTarget) -> None:
    _write(aoss, index, ["d1", "d1"])
    assert not sweep_duplicates(aoss, index.name, stopping=lambda: True).clean


def test_a_deletion_whose_answers_are_lost_or_throttled_is_repeated(
    aoss: OpenSearch, collection: Collection, index: IndexTarget
) -> None:
    rows = [f"d{number}" for number in range(10)]
    _write(aoss, index, rows * 2)
    for fault in (reset_after(), refuse(429), refuse_items(lambda one: one.id[:1] < "M", 429)):
        collection.fault(fault)
    assert sweep_duplicates(aoss, index.name).clean
    assert [row for row, _ in _documents(aoss, index)] == rows


# The loop of delivery.


def test_a_load_arrives_once_each_and_needs_no_sweep(
    aoss: OpenSearch, collection: Collection, index: IndexTarget
) -> None:
    delivered = _deliver(aoss, index, 300)
    assert (delivered.read, delivered.written, delivered.rejected) == (300, 300, 0)
    assert await_visible(aoss, index.name)
    assert _documents(aoss, index) == [(row, 1) for row in _rows(300)]
    assert max(len(seen.request.body) for seen in collection.proxy.bulks()) <= 5 * 2**20


def test_rows_that_were_applied_though_the_answer_was_lost_are_not_sent_again(
    aoss: OpenSearch, collection: Collection, index: IndexTarget
) -> None:
    collection.fault(reset_after(), times=2)
    assert _deliver(aoss, index, 300).written == 300
    assert await_visible(aoss, index.name)
    assert _documents(aoss, index) == [(row, 1) for row in _rows(300)]
    assert Counter(_sent(collection)).most_common(1)[0][1] == 1


def test_rows_that_were_not_applied_are_sent_again_after_the_hold(
    aoss: OpenSearch, collection: Collection, index: IndexTarget
) -> None:
    collection.fault(reset_before())
    collection.fault(refuse(503))
    assert _deliver(aoss, index, 300).written == 300
    assert await_visible(aoss, index.name)
    assert _documents(aoss, index) == [(row, 1) for row in _rows(300)]
    sent_at = [seen.at for seen in collection.proxy.bulks() if _rows(1)[0] in _ids(seen)]
    assert len(sent_at) > 1
    assert min(np.diff(sent_at)) >= seconds_of(REFRESH)


def test_of_a_request_that_was_applied_in_part_only_the_rest_is_sent_again(
    aoss: OpenSearch, collection: Collection, index: IndexTarget
) -> None:
    """The answer, which said so, is cut short on its way."""
    part = refuse_items(lambda one: _document(one)["chunk"] % 3 == 0, 429)

    async def act(request: Request, forward: Forward) -> Answer:
        answer = await part(request, forward)
        return replace(answer, body=half(answer.body))

    collection.fault(act)
    assert _deliver(aoss, index, 60).written == 60
    assert await_visible(aoss, index.name)
    assert _documents(aoss, index) == [(row, 1) for row in _rows(60)]
    twice = [row for row, times in Counter(_sent(collection)).items() if times > 1]
    assert sorted(twice) == [row for number, row in enumerate(_rows(60)) if number % 3 == 0]


def test_what_is_applied_after_the_hold_is_there_twice_until_swept(
    aoss: OpenSearch, collection: Collection, index: IndexTarget
) -> None:
    """A request that times out, is looked for in vain, sent again, and then applied."""
    collection.fault(apply_late(5))
    assert _deliver(aoss, index, 20, timeout_s=0.5).written == 20
    collection.proxy.wait_for(lambda: aoss.count(index=index.name)["count"] == 40)
    assert sweep_duplicates(aoss, index.name).deleted == 20
    assert _documents(aoss, index) == [(row, 1) for row in _rows(20)]


def test_items_answered_429_are_sent_again_alone(
    aoss: OpenSearch, collection: Collection, index: IndexTarget
) -> None:
    collection.fault(refuse_items(lambda one: _document(one)["chunk"] % 2 == 0, 429), times=2)
    assert _deliver(aoss, index, 100).written == 100
    assert await_visible(aoss, index.name)
    assert _documents(aoss, index) == [(row, 1) for row in _rows(100)]


def _rows(count: int) -> list[str]:
    return [f"d{number:04}" for number in range(count)]


def _deliver(
    aoss: OpenSearch, index: IndexTarget, rows: int, *, timeout_s: float = 60
) -> Delivered:
    """Deliver a split of so many rows in bulks of a few hundred documents."""
    bulk = BulkSpec(max_mib=0.03, max_concurrency=2, timeout_s=timeout_s)
    vectors = np.eye(rows, DIMENSION, dtype=np.float32) + 1
    batch = pa.RecordBatch.from_pydict(
        {
            "id": _rows(rows),
            "doc_id": _rows(rows),
            "chunk": pa.array(range(rows), pa.int32()),
            "split": [SPLIT] * rows,
            "vector": pa.FixedSizeListArray.from_arrays(vectors.ravel(), DIMENSION),
        }
    )
    tier = Serverless(aoss, index.name, bulk, generation=1)
    with Delivery(
        aoss,
        index.write_name,
        tier,
        bulk=bulk,
        storage="float32",
        generation=1,
        stopping=lambda: False,
    ) as delivery:
        (delivered,) = delivery.run([SplitRows(SPLIT, [batch])])
    return delivered


def _document(operation: Operation) -> dict[str, Any]:
    document: dict[str, Any] = orjson.loads(operation.lines.splitlines()[1])
    return document


def _ids(seen: Seen) -> list[str]:
    """The rows of a bulk request."""
    return [_document(one)["id"] for one in seen.request.operations()]


def _sent(collection: Collection) -> list[str]:
    """Every row of every bulk request, as often as it was sent."""
    return [row for seen in collection.proxy.bulks() for row in _ids(seen)]


def _tier(aoss: OpenSearch, index: IndexTarget, generation: int) -> Serverless:
    return Serverless(aoss, index.name, BulkSpec(), generation=generation)


def _write(
    aoss: OpenSearch,
    index: IndexTarget,
    rows: Sequence[str],
    *,
    generation: int = 1,
    split: str = SPLIT,
) -> None:
    reply = _send(aoss, index, _tier(aoss, index, generation), rows, split)
    assert not reply["errors"], reply["items"][0]


def _send(
    aoss: OpenSearch, index: IndexTarget, tier: Tier, rows: Sequence[str], split: str = SPLIT
) -> dict[str, Any]:
    """One bulk of documents with no more fields than they need."""
    vector = np.eye(1, DIMENSION).tolist()[0]
    fields = {"split": split, "vector": vector}
    lines = [
        tier.action(row, 1) + orjson.dumps({**tier.extra_fields(row), **fields}) for row in rows
    ]
    reply: dict[str, Any] = aoss.bulk(body=b"\n".join([*lines, b""]), index=index.name)
    return reply


def _documents(aoss: OpenSearch, index: IndexTarget) -> list[tuple[str, int]]:
    """Row and generation of every document that searches see, in order."""
    body = {"size": 5000, "sort": ["id"], "_source": ["id", "generation"]}
    hits = aoss.search(index=index.name, body=body)["hits"]["hits"]
    return [(hit["_source"]["id"], hit["_source"]["generation"]) for hit in hits]
