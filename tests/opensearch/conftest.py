"""A client of the session's server, an index name a test."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from opensearchpy import OpenSearch

from tests.opensearch import corpora
from tests.opensearch.loads import SMALL_BULKS, Load, Undisturbed
from tests.opensearch.proxy import Proxy, running_proxy


@pytest.fixture(scope="session")
def client(opensearch_url: str) -> Iterator[OpenSearch]:
    """A plain client of the server."""
    with OpenSearch(opensearch_url, timeout=60) as plain:
        yield plain


@pytest.fixture
def index_name(client: OpenSearch) -> Iterator[str]:
    """A name that no other test has; every index and alias that begins with it goes afterwards."""
    name = f"t-{uuid.uuid4().hex[:12]}"
    yield name
    client.indices.delete(index=f"{name}*", params={"ignore_unavailable": "true"})


@pytest.fixture
def proxy(opensearch_url: str) -> Iterator[Proxy]:
    """A proxy before the server, which breaks nothing until it is told to."""
    with running_proxy(opensearch_url) as running:
        yield running


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small corpus, embedded; nobody changes it, and each test has an index of
    its own."""
    folder = tmp_path_factory.mktemp("corpus")
    corpora.make_output(folder, rows=600, dim=16, splits=6)
    return folder


@pytest.fixture(scope="session")
def calm(corpus: Path, opensearch_url: str, client: OpenSearch) -> Undisturbed:
    """What an index of the corpus holds after a load in which nothing went wrong."""
    index = f"t-{uuid.uuid4().hex[:12]}"
    load = Load(corpus, opensearch_url, client, index, {"bulk": SMALL_BULKS})
    load.load()
    state = load.state()
    client.indices.delete(index=index)
    assert len(state.documents) == 600
    return state


@pytest.fixture
def load(
    corpus: Path, calm: Undisturbed, proxy: Proxy, client: OpenSearch, index_name: str
) -> Load:
    """A load of the corpus through the proxy, into an index of the test's own."""
    return Load(corpus, proxy.url, client, index_name, {"bulk": SMALL_BULKS})
