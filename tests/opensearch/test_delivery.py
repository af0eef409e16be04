"""The delivery loop against the real server: what is delivered is there, once, and equal."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from opensearchpy import OpenSearch

from embed_job.errors import OutputError
from embed_job.opensearch.client import connect
from embed_job.opensearch.delivery import Delivered, Delivery, DeliveryStats, Domain, SplitRows
from embed_job.spec.opensearch import OpenSearchOutput
from tests.opensearch.faults import reset_after, too_large
from tests.opensearch.proxy import Proxy, Rule

DIMENSION = 8
FIRST, SECOND = "1" * 64, "2" * 64
VECTOR = {
    "type": "knn_vector",
    "dimension": DIMENSION,
    "method": {"name": "hnsw", "engine": "lucene", "space_type": "innerproduct"},
}


@pytest.fixture
def index(client: OpenSearch, index_name: str) -> str:
    """An index with the alias that rows are sent to; `pages` takes no number above 127."""
    properties = {
        "doc_id": {"type": "keyword"},
        "pages": {"type": "byte"},
        "split": {"type": "keyword"},
        "vector": VECTOR,
    }
    client.indices.create(
        index=index_name,
        body={
            "settings": {"index": {"knn": True, "number_of_replicas": 0}},
            "mappings": {"dynamic": "strict", "properties": properties},
            "aliases": {f"{index_name}-load": {}},
        },
    )
    return index_name


def rows(first: int, count: int, *, pages: int = 1, doc_id: str = "d") -> pa.RecordBatch:
    """Rows of ids from `first` on, whose vectors follow from their ids."""
    vectors = np.random.default_rng(first).standard_normal((count, DIMENSION)).astype(np.float32)
    return pa.record_batch(
        {
            "id": [f"r{number}" for number in range(first, first + count)],
            "doc_id": [doc_id] * count,
            "pages": pa.array([pages] * count, pa.int64()),
            "split": ["0123456789abcdef"] * count,
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), DIMENSION),
        }
    )


def deliver(
    url: str,
    index: str,
    *splits: SplitRows,
    generation: int = 1,
    stopping: Callable[[], bool] = lambda: False,
    **bulk: Any,
) -> Iterator[Delivered]:
    """As a load does it, in bulks of 16 KiB unless told otherwise."""
    with delivery(url, index, generation=generation, stopping=stopping, **bulk) as running:
        yield from running.run(splits)


def delivery(
    url: str, index: str, *, generation: int = 1, stopping: Any = lambda: False, **bulk: Any
) -> Delivery:
    output = OpenSearchOutput.model_validate(
        {"url": url, "index": index, "bulk": {"max_mib": 1 / 64, "max_concurrency": 3} | bulk}
    )
    return Delivery(
        connect(output),
        f"{index}-load",
        Domain(output.bulk),
        bulk=output.bulk,
        storage="float32",
        generation=generation,
        stopping=stopping,
    )


def found(client: OpenSearch, index: str) -> dict[str, Any]:
    """What is in the index, by id."""
    client.indices.refresh(index=index)
    hits = client.search(index=index, body={"size": 10_000})["hits"]
    assert hits["total"]["value"] == len(hits["hits"])
    return {hit["_id"]: hit["_source"] for hit in hits["hits"]}


def test_each_row_is_there_once_and_equal(
    opensearch_url: str, client: OpenSearch, index: str
) -> None:
    first, second = [rows(0, 300), rows(300, 200)], [rows(500, 100)]
    with delivery(opensearch_url, index) as running:
        done = list(running.run([SplitRows(FIRST, first), SplitRows(SECOND, second)]))
        stats: DeliveryStats = running.stats
    assert {one.split: (one.read, one.written, one.rejected) for one in done} == {
        FIRST: (500, 500, 0),
        SECOND: (100, 100, 0),
    }
    documents = found(client, index)
    for row in (row for batch in [*first, *second] for row in batch.to_pylist()):
        document = documents.pop(row["id"])
        # Every number of a float32 has a decimal that only it is nearest to.
        assert np.array_equal(np.float32(document.pop("vector")), np.float32(row["vector"]))
        assert document == {"doc_id": "d", "pages": 1, "split": "0123456789abcdef"}
    assert not documents
    assert stats.rows == 600
    assert stats.requests > 5
    assert 0 < stats.peak_bytes <= 5 * (1 << 14), "(max_concurrency + 2) bulks"


def test_rows_that_the_server_refuses_have_its_reason_and_the_rest_lands(
    opensearch_url: str, client: OpenSearch, index: str
) -> None:
    given = [
        rows(0, 50),
        rows(50, 2, pages=128),
        rows(52, 50),
        rows(102, 1, doc_id="x" * 40_000),
        rows(103, 7),
    ]
    (done,) = deliver(opensearch_url, index, SplitRows(FIRST, given))
    assert (done.read, done.written, done.rejected) == (110, 107, 3)
    by_id = {refused.id: refused for refused in done.refused}
    assert set(by_id) == {"r50", "r51", "r102"}
    assert {refused.status for refused in done.refused} == {400}
    assert "out of range" in by_id["r50"].reason
    assert "immense term" in by_id["r102"].reason
    assert len(found(client, index)) == 107


def test_a_replay_changes_nothing_and_an_older_writer_is_fenced(
    opensearch_url: str, client: OpenSearch, index: str
) -> None:
    new = SplitRows(FIRST, [rows(0, 100, pages=2)])
    for _ in range(2):
        (done,) = deliver(opensearch_url, index, new, generation=5)
        assert done.written == 100
    with pytest.raises(OutputError, match="a later load has taken over"):
        list(deliver(opensearch_url, index, SplitRows(FIRST, [rows(0, 100)]), generation=4))
    assert {one["pages"] for one in found(client, index).values()} == {2}
    (done,) = deliver(
        opensearch_url, index, SplitRows(FIRST, [rows(0, 100, pages=3)]), generation=6
    )
    assert {one["pages"] for one in found(client, index).values()} == {3}


def test_a_reset_after_the_server_applied_it_leaves_one_copy(
    proxy: Proxy, client: OpenSearch, index: str
) -> None:
    proxy.rules.append(Rule(reset_after(), times=2))
    with delivery(proxy.url, index) as running:
        (done,) = running.run([SplitRows(FIRST, [rows(0, 200)])])
        assert running.stats.ambiguous == 2
    assert done.written == len(found(client, index)) == 200
    assert len(proxy.sent()) > 200


def test_a_row_that_is_too_large_alone_is_refused_and_bulks_are_halved_until_they_fit(
    proxy: Proxy, client: OpenSearch, index: str
) -> None:
    proxy.rules.append(Rule(too_large(3000), times=None))
    given = [rows(0, 200), rows(200, 1, doc_id="x" * 5000)]
    (done,) = deliver(proxy.url, index, SplitRows(FIRST, given))
    assert (done.written, done.rejected) == (200, 1)
    assert (done.refused[0].id, done.refused[0].status) == ("r200", 413)
    assert done.refused[0].reason.startswith("too_large")
    assert len(found(client, index)) == 200


def test_an_index_that_vanishes_is_not_made_anew(
    opensearch_url: str, client: OpenSearch, index: str
) -> None:
    def vanishing() -> Iterator[pa.RecordBatch]:
        yield rows(0, 200)
        client.indices.delete(index=index)
        yield rows(200, 2000)

    with pytest.raises(OutputError, match="the index is not there any more"):
        list(deliver(opensearch_url, index, SplitRows(FIRST, vanishing())))
    assert not client.indices.exists(index=f"{index}*", params={"allow_no_indices": "false"})


def test_a_full_disk_is_waited_for_and_refuses_no_row(
    opensearch_url: str, client: OpenSearch, index: str
) -> None:
    block = "index.blocks.read_only_allow_delete"
    client.indices.put_settings(index=index, body={block: True})
    running = delivery(opensearch_url, index)

    def lift() -> None:
        while running.stats.requests < 3:
            time.sleep(0.01)
        client.indices.put_settings(index=index, body={block: None})

    lifting = threading.Thread(target=lift)
    lifting.start()
    with running:
        (done,) = running.run([SplitRows(FIRST, [rows(0, 500)])])
    lifting.join()
    assert (done.written, done.rejected) == (500, 0)
    assert len(found(client, index)) == 500
    assert str(running.stats.last_reason).startswith("blocked, cluster_block_exception: ")


def test_another_block_stops_at_once(opensearch_url: str, client: OpenSearch, index: str) -> None:
    client.indices.put_settings(index=index, body={"index.blocks.write": True})
    with pytest.raises(OutputError, match="index write") as caught:
        list(deliver(opensearch_url, index, SplitRows(FIRST, [rows(0, 500)])))
    assert caught.value.where == f"{opensearch_url}/{index}"
    assert "set index.blocks.write to null" in caught.value.hint


def test_it_stops_when_told_to_and_gives_out_only_what_is_settled(
    opensearch_url: str, client: OpenSearch, index: str
) -> None:
    stop = threading.Event()

    def endless() -> Iterator[pa.RecordBatch]:
        for number in range(1_000_000):
            yield rows(1000 + 10 * number, 10)

    splits = [SplitRows(FIRST, [rows(0, 100)]), SplitRows(SECOND, endless())]
    done = []
    for one in deliver(opensearch_url, index, *splits, stopping=stop.is_set):
        done.append(one)
        stop.set()
    assert [one.split for one in done] == [FIRST]
    before = len(found(client, index))
    time.sleep(0.3)
    assert len(found(client, index)) == before >= 100


def test_a_split_is_given_out_while_the_next_one_is_waited_for(
    opensearch_url: str, index: str
) -> None:
    given_out = threading.Event()

    def splits() -> Iterator[SplitRows]:
        yield SplitRows(FIRST, [rows(0, 10)])
        assert given_out.wait(30)
        yield SplitRows(SECOND, [])

    with delivery(opensearch_url, index) as running:
        for one in running.run(splits()):
            given_out.set()
            assert one.read == one.written == (10 if one.split == FIRST else 0)


def test_what_fails_in_the_input_is_raised_to_the_caller(opensearch_url: str, index: str) -> None:
    def broken() -> Iterator[pa.RecordBatch]:
        yield rows(0, 10)
        raise OutputError("part", "is damaged", "Look.")

    with pytest.raises(OutputError, match="is damaged"):
        list(deliver(opensearch_url, index, SplitRows(FIRST, broken())))


def test_nobody_there_is_told_once_the_deadline_has_passed(index_name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    began = time.monotonic()
    url = f"http://127.0.0.1:{port}"
    with pytest.raises(OutputError, match=r"no row was acknowledged for 1 s: .*refused"):
        list(deliver(url, index_name, SplitRows(FIRST, [rows(0, 10)]), deadline_s=1))
    assert time.monotonic() - began < 10
