"""Whole loads into a stand-in for a Serverless collection: killed, repeated, changed."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from opensearchpy import OpenSearch

from embed_job.errors import ExitCode
from tests.opensearch import corpora
from tests.opensearch.faults import Gate, reset_after
from tests.opensearch.loads import SMALL_BULKS, Load, kill
from tests.opensearch.serverless_stand_in import Collection, serverless_stand_in


@pytest.fixture
def collection(opensearch_url: str) -> Iterator[Collection]:
    with serverless_stand_in(opensearch_url) as running:
        yield running


@pytest.fixture
def serverless(
    corpus: Path, tmp_path: Path, collection: Collection, client: OpenSearch, index_name: str
) -> Load:
    """A load of a copy of the corpus, which a test may change, into the collection."""
    folder = tmp_path / "own"
    shutil.copytree(corpus, folder)
    shutil.rmtree(folder / "out")
    corpora.embed(folder)
    options: dict[str, Any] = {"service": "aoss", "auth": "none", "bulk": SMALL_BULKS}
    options["refresh"] = {"max_delete_fraction": 0.1}
    return Load(folder, collection.url, client, index_name, options)


def rows(load: Load) -> Counter[str]:
    """How often each row is there."""
    load.client.indices.refresh(index=load.index)
    body = {"size": 5000, "_source": False, "docvalue_fields": ["id"]}
    hits = load.client.search(index=load.index, body=body)["hits"]["hits"]
    return Counter(hit["fields"]["id"][0] for hit in hits)


def once(*numbers: int) -> Counter[str]:
    return Counter(corpora.row_id(number) for number in numbers)


def test_an_increment_sends_what_changed_and_leaves_each_row_once(
    serverless: Load, collection: Collection
) -> None:
    serverless.load()
    folder, before = serverless.folder, len(collection.proxy.bulks())
    documents = [corpora.document(number) for number in range(100)]
    documents[7]["text"] = "another text"
    del documents[9]
    corpora.write_split(folder, 0, [*documents, corpora.document(900)])
    corpora.embed(folder)
    done = serverless.run("--json")
    assert done.code == ExitCode.OK, done.told
    index = orjson.loads(done.output)["index"]
    assert (index["delivery"]["rows"], index["deleted"], index["splits_again"]) == (2, 1, 0)
    sent = [one for seen in collection.proxy.bulks()[before:] for one in seen.request.operations()]
    assert sorted(one.verb for one in sent) == ["delete", "delete", "index", "index"]
    assert rows(serverless) == once(*(set(range(600)) - {9}), 900)


def test_each_row_is_there_once_and_a_second_load_does_nothing(serverless: Load) -> None:
    serverless.load()
    assert rows(serverless) == once(*range(600))
    second = serverless.run()
    assert second.code == ExitCode.OK, second.told
    assert "all were loaded before, so nothing was to do" in second.output


def test_a_killed_load_and_lost_answers_leave_one_copy_of_each_row(
    serverless: Load, collection: Collection
) -> None:
    gate = Gate()
    collection.fault(gate.after(), times=4)
    process = serverless.start()
    collection.proxy.wait_for(lambda: gate.holding == 4)
    kill(process)
    gate.open()
    collection.fault(reset_after(), times=2)
    serverless.load()
    assert rows(serverless) == once(*range(600))


def test_rows_of_a_changed_file_move_and_those_that_are_gone_go(serverless: Load) -> None:
    serverless.load()
    corpora.write_split(serverless.folder, 0, map(corpora.document, [*range(60), 900]))
    corpora.embed(serverless.folder)
    done = serverless.run("--json")
    assert done.code == ExitCode.OK, done.told
    assert orjson.loads(done.output)["ok"]
    assert rows(serverless) == once(*range(60), 900, *range(100, 600))


def test_rows_sent_just_now_do_not_hide_how_many_would_be_deleted(serverless: Load) -> None:
    serverless.load()
    (serverless.folder / "in/000.jsonl").unlink()
    corpora.write_split(serverless.folder, 6, map(corpora.document, range(900, 1000)))
    corpora.embed(serverless.folder)
    done = serverless.run()
    assert done.code == ExitCode.INCOMPLETE, done.told
    assert "refresh.max_delete_fraction (now 0.1)" in done.told
    assert rows(serverless) == once(*range(600), *range(900, 1000))
    serverless.options["refresh"] = {"max_delete_fraction": 0.2}
    serverless.load()
    assert rows(serverless) == once(*range(100, 600), *range(900, 1000))
