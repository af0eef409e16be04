"""A rollback while documents are being written to the new index, to the old one, or to both."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from opensearchpy import OpenSearch

from embed_job.opensearch.index.open import open_index
from embed_job.opensearch.index.promote import promote
from embed_job.opensearch.index.rollback import rollback
from embed_job.opensearch.target import IndexTarget
from tests.opensearch.index_targets import fill, target_of
from tests.opensearch.loads import wait_until

BATCH = 20


@pytest.fixture
def blue(client: OpenSearch, opensearch_url: str, index_name: str) -> IndexTarget:
    return made(client, target_of(opensearch_url, None, alias=index_name, generation=1))


@pytest.fixture
def green(client: OpenSearch, opensearch_url: str, index_name: str) -> IndexTarget:
    return made(client, target_of(opensearch_url, None, alias=index_name, generation=2))


def made(client: OpenSearch, target: IndexTarget) -> IndexTarget:
    open_index(client, target, create=True)
    fill(client, target, rows=BATCH)
    return target


class Writer:
    """Sends batch after batch as a load does, each with ids of its own, until it is left."""

    def __init__(self, url: str, target: IndexTarget) -> None:
        self.target = target
        self.rows = BATCH
        self.failure: BaseException | None = None
        self._url = url
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            with OpenSearch(self._url, timeout=60) as client:
                while not self._done.is_set():
                    fill(client, self.target, rows=BATCH, first=self.rows)
                    self.rows += BATCH
        except BaseException as error:  # noqa: BLE001 - told by the test
            self.failure = error


class Reader:
    """Searches the alias without a pause; indexes: which of them have answered, by search."""

    def __init__(self, url: str, alias: str | None) -> None:
        self.answers: list[set[str]] = []
        self.failure: BaseException | None = None
        self._url, self._alias = url, alias
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Reader:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            with OpenSearch(self._url, timeout=60) as client:
                while not self._done.is_set():
                    body = {"size": 1000, "_source": False}
                    hits = client.search(index=self._alias, body=body)["hits"]["hits"]
                    self.answers.append({hit["_index"] for hit in hits})
        except BaseException as error:  # noqa: BLE001 - told by the test
            self.failure = error


@contextmanager
def under_way(writers: list[Writer], reader: Reader) -> Iterator[None]:
    """With all of them at work, and both before and after what is done within."""
    with ExitStack() as stack:
        for one in (*writers, reader):
            stack.enter_context(one)
        await_more(writers, reader)
        yield
        await_more(writers, reader)


def await_more(writers: list[Writer], reader: Reader) -> None:
    """Until each has done something more."""
    rows, answers = [writer.rows for writer in writers], len(reader.answers)

    def more() -> bool:
        assert reader.failure is None
        assert all(writer.failure is None for writer in writers)
        wrote = all(one.rows > before for one, before in zip(writers, rows, strict=True))
        return wrote and len(reader.answers) > answers

    wait_until(more)


@pytest.mark.parametrize("written", [("blue",), ("green",), ("blue", "green")])
def test_searches_see_one_index_at_a_time_and_no_write_is_lost(
    client: OpenSearch,
    opensearch_url: str,
    blue: IndexTarget,
    green: IndexTarget,
    written: tuple[str, ...],
) -> None:
    client.indices.refresh(index=f"{blue.alias}-*")
    promote(client, blue)
    promote(client, green)
    targets = {"blue": blue, "green": green}
    writers = [Writer(opensearch_url, targets[colour]) for colour in written]
    reader = Reader(opensearch_url, blue.alias)
    with under_way(writers, reader):
        assert rollback(client, green).index == blue.name
    assert reader.failure is None
    assert [writer.failure for writer in writers] == [None] * len(writers)
    seen = [*dict.fromkeys(next(iter(answer)) for answer in reader.answers)]
    assert all(len(answer) == 1 for answer in reader.answers)
    assert seen == [green.name, blue.name]
    client.indices.refresh(index=f"{blue.alias}-*")
    sent = {target.name: BATCH for target in (blue, green)}
    sent |= {writer.target.name: writer.rows for writer in writers}
    for name, rows in sent.items():
        assert client.count(index=name)["count"] == rows
