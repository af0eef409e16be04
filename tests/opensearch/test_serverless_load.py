"""Commands against a stand-in for a Serverless collection, from the load to the search."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from opensearchpy import OpenSearch

from embed_job.dataset.search import Hit
from embed_job.opensearch.client import connect
from embed_job.opensearch.search.ask import search_index
from embed_job.opensearch.search.found import find_index
from embed_job.spec.file import load_spec
from tests.opensearch import corpora
from tests.opensearch.faults import reset_after
from tests.opensearch.loads import SMALL_BULKS, Load
from tests.opensearch.serverless_stand_in import Collection, serverless_stand_in

ROWS = 240
ONCE_EACH = dict.fromkeys(map(corpora.row_id, range(ROWS)), 1)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output of ROWS rows in four splits."""
    folder = tmp_path_factory.mktemp("corpus")
    corpora.make_output(folder, rows=ROWS)
    return folder


@pytest.fixture
def collection(opensearch_url: str) -> Iterator[Collection]:
    with serverless_stand_in(opensearch_url) as running:
        yield running


@pytest.fixture
def load(corpus: Path, collection: Collection, client: OpenSearch, index_name: str) -> Load:
    """Of the corpus into the collection; its client is the server's, behind the collection."""
    options = {"service": "aoss", "auth": "none", "alias": f"{index_name}-live"}
    return Load(corpus, collection.url, client, index_name, options | {"bulk": SMALL_BULKS})


def test_from_the_load_to_the_search(load: Load, collection: Collection) -> None:
    load.load()
    assert _copies(load) == ONCE_EACH
    for command in ("verify", "promote"):
        done = load.run(command=command)
        assert done.code == 0, done.told
    for hybrid, filters in ((False, []), (True, []), (False, ["language=fr"])):
        assert _best(load, number=5, hybrid=hybrid, filters=filters).id == corpora.row_id(5)
    _assert_only_what_is_offered(load, collection)

    hit = load.client.search(index=load.index, body={"size": 1})["hits"]["hits"][0]
    load.client.index(index=load.index, body=hit["_source"])
    done = load.run(command="verify")
    assert done.code == 6, done.told
    assert "a second time" in done.told
    done = load.run(command="finalize")
    assert done.code == 0, done.told
    assert _copies(load) == ONCE_EACH


def test_a_killed_load_is_replayed_and_swept(load: Load, collection: Collection) -> None:
    collection.fault(reset_after(), times=2)
    for bulks in (3, 4):
        begun = len(collection.proxy.bulks())
        process = load.start()
        collection.proxy.wait_for(lambda: len(collection.proxy.bulks()) >= begun + bulks)  # noqa: B023
        process.kill()
        process.communicate()
    load.load()
    assert _copies(load) == ONCE_EACH
    done = load.run(command="verify")
    assert done.code == 0, done.told


def _assert_only_what_is_offered(load: Load, collection: Collection) -> None:
    """404 is for an index or alias that is not there yet alone; nothing was refused."""
    refused = [
        f"{seen.status} {seen.request.method} {seen.request.target}"
        for seen in collection.proxy.seen
        if (seen.status or 0) >= 400
        and not (seen.status == 404 and load.index in seen.request.target)
    ]
    assert not refused


def _best(load: Load, *, number: int, hybrid: bool, filters: list[str]) -> Hit:
    """The first hit for a document's own vector and text, by the alias."""
    row = next(
        row for row in corpora.rows_of(load.folder / "out") if row["id"] == corpora.row_id(number)
    )
    output = load_spec(load.spec()).opensearch
    assert output is not None
    with connect(output) as client:
        index = find_index(client, output, lambda: "")
        hits = search_index(
            client, index, row["vector"], row["text"], top=3, filters=filters, hybrid=hybrid
        )
    assert index.promoted
    return hits[0]


def _copies(load: Load) -> dict[str, int]:
    """How many documents each row has."""
    load.client.indices.refresh(index=load.index)
    hits = load.client.search(index=load.index, body={"size": 10_000})["hits"]["hits"]
    return dict(sorted(Counter(hit["_source"]["id"] for hit in hits).items()))
