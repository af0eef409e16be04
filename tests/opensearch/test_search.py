"""Questions to an index: nearest vectors, filters, words beside them, and which index answers."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from opensearchpy import OpenSearch

from embed_job.dataset.search import Hit
from embed_job.errors import ExitCode, OutputError, UserError
from embed_job.opensearch.index.promote import promote
from embed_job.opensearch.search.ask import search_index
from embed_job.opensearch.search.found import FoundIndex, find_index
from embed_job.opensearch.search.fusion import fuse
from tests.opensearch.corpora import make_output, rows_of, spec_file, spec_for
from tests.opensearch.loading import Loaded, embed_job, load

ROWS = 300
Row = dict[str, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("search")
    make_output(made, rows=ROWS, dim=64)
    return made


@pytest.fixture(scope="module")
def rows(folder: Path) -> list[Row]:
    return list(rows_of(folder / "out"))


@pytest.fixture(scope="module")
def loaded(client: OpenSearch, opensearch_url: str, folder: Path) -> Iterator[Loaded]:
    """An index that all tests here only read."""
    loaded = load(client, spec_for(folder, opensearch_url, alias=f"t-{uuid.uuid4().hex[:12]}"))
    yield loaded
    client.indices.delete(index=loaded.name)


@pytest.fixture
def own(client: OpenSearch, opensearch_url: str, index_name: str, folder: Path) -> Loaded:
    """An index of one test."""
    return load(client, spec_for(folder, opensearch_url, alias=index_name))


@pytest.fixture
def index(loaded: Loaded) -> FoundIndex:
    return find_index(loaded.client, loaded.target.output, lambda: loaded.name)


@pytest.fixture
def question() -> np.ndarray:
    """A vector that is no row's."""
    vector = np.random.default_rng(5).standard_normal(64).astype(np.float32)
    return vector / np.linalg.norm(vector)


def nearest(rows: list[Row], question: np.ndarray, top: int) -> dict[str, float]:
    """Exactly: ids and cosines, best first."""
    cosines = {row["id"]: float(row["vector"] @ question) for row in rows}
    best = sorted(cosines, key=lambda name: -cosines[name])[:top]
    return {name: cosines[name] for name in best}


def found(hits: list[Hit]) -> dict[str, float]:
    return {hit.id: hit.score for hit in hits}


def test_the_nearest_rows_with_their_cosines(
    loaded: Loaded, index: FoundIndex, rows: list[Row], question: np.ndarray
) -> None:
    hits = search_index(loaded.client, index, question, "anything", top=7)
    assert found(hits) == pytest.approx(nearest(rows, question, 7), abs=1e-5)
    assert list(found(hits)) == list(nearest(rows, question, 7))
    # Opposite to the question: cosines below 0 have another formula of their score.
    far = search_index(loaded.client, index, -question, "anything", top=ROWS)
    assert found(far) == pytest.approx(nearest(rows, -question, ROWS), abs=1e-5)
    assert far[-1].score < -0.2


def test_a_hit_tells_what_a_row_of_the_output_tells(
    loaded: Loaded, index: FoundIndex, rows: list[Row], question: np.ndarray
) -> None:
    [hit] = search_index(loaded.client, index, question, "anything", top=1)
    row = next(row for row in rows if row["id"] == hit.id)
    assert (hit.doc_id, hit.chunk, hit.text) == (row["doc_id"], row["chunk"], row["text"])
    assert (hit.char_start, hit.char_end) == (row["char_start"], row["char_end"])
    assert set(hit.metadata) == {"language", "pages", "score", "free", "at"}
    assert hit.metadata["pages"] == row["pages"]


@pytest.mark.parametrize(
    ("filters", "holds"),
    [
        (["language=de"], lambda row: row["language"] == "de"),
        (["language!=de"], lambda row: row["language"] != "de"),
        (["pages>=290"], lambda row: (row["pages"] or 0) >= 290),
        (["pages > 20", "pages<=30"], lambda row: 20 < (row["pages"] or 0) <= 30),
        (["score<1.5"], lambda row: row["score"] is not None and row["score"] < 1.5),
        (["free=true"], lambda row: row["free"]),
        (["at>=2026-01-27"], lambda row: row["at"] is not None and row["at"].day >= 27),
        (["language=en", "free=false"], lambda row: row["language"] == "en" and not row["free"]),
        (["language=xx"], lambda _: False),
    ],
)
def test_filters_hold_for_all_and_lose_none(
    loaded: Loaded,
    index: FoundIndex,
    rows: list[Row],
    question: np.ndarray,
    filters: list[str],
    holds: Any,
) -> None:
    kept = [row for row in rows if holds(row)]
    hits = search_index(loaded.client, index, question, "anything", top=5, filters=filters)
    assert found(hits) == pytest.approx(nearest(kept, question, 5), abs=1e-5)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("langage=en", "Did you mean 'language'"),
        ("language", "is no filter"),
        ("pages=many", "a whole number"),
        ("free>true", "true or false"),
        ("at=yesterday", "a date"),
        ("text=fox", "can't be filtered by"),
        ("vector=1", "can't be filtered by"),
    ],
)
def test_what_is_no_filter_of_the_index(
    loaded: Loaded, index: FoundIndex, question: np.ndarray, text: str, says: str
) -> None:
    with pytest.raises(UserError, match="--filter") as caught:
        search_index(loaded.client, index, question, "anything", top=1, filters=[text])
    assert says in str(caught.value)


class TestHybrid:
    def test_both_rankings_are_fused(
        self, loaded: Loaded, index: FoundIndex, rows: list[Row], question: np.ndarray
    ) -> None:
        words = "lazy lighthouse"
        body = {"query": {"match": {"text": words}}, "size": 50}
        worded = [
            hit["_id"] for hit in loaded.client.search(index=loaded.name, body=body)["hits"]["hits"]
        ]
        fused = fuse([list(nearest(rows, question, 50)), worded])
        hits = search_index(loaded.client, index, question, words, top=50, hybrid=True)
        assert list(found(hits)) == fused[:50]
        # What only its words have brought up has a cosine, too.
        exact = nearest(rows, question, ROWS)
        assert set(fused[:50]) > set(nearest(rows, question, 10))
        assert set(fused[:50]) - set(nearest(rows, question, 50))
        assert found(hits) == pytest.approx({hit.id: exact[hit.id] for hit in hits}, abs=1e-5)

    def test_filters_hold_for_words_too(
        self, loaded: Loaded, index: FoundIndex, question: np.ndarray
    ) -> None:
        hits = search_index(
            loaded.client, index, question, "fox", top=50, filters=["free=true"], hybrid=True
        )
        assert len(hits) == 50
        assert all(hit.metadata["free"] for hit in hits)

    def test_an_index_without_texts(
        self,
        client: OpenSearch,
        index_name: str,
        loaded: Loaded,
        question: np.ndarray,
    ) -> None:
        name = f"{index_name}-textless"
        found = client.indices.get(index=loaded.name)[loaded.name]
        del found["mappings"]["properties"]["text"]
        body = {"settings": {"index.knn": True}, "mappings": found["mappings"]}
        client.indices.create(index=name, body=body)
        index = find_index(client, loaded.target.output, lambda: name)
        with pytest.raises(UserError, match="no texts"):
            search_index(client, index, question, "fox", top=1, hybrid=True)


def test_vectors_kept_as_bytes(
    client: OpenSearch,
    opensearch_url: str,
    index_name: str,
    folder: Path,
    rows: list[Row],
    question: np.ndarray,
) -> None:
    graph = {"engine": "lucene", "storage": "byte"}
    loaded = load(client, spec_for(folder, opensearch_url, alias=index_name, graph=graph))
    index = find_index(client, loaded.target.output, lambda: loaded.name)
    hits = search_index(client, index, question, "anything", top=10)
    exact = nearest(rows, question, ROWS)
    assert len(set(found(hits)) & set(nearest(rows, question, 10))) >= 8
    assert found(hits) == pytest.approx({hit.id: exact[hit.id] for hit in hits}, abs=0.02)


class TestWhichIndex:
    def test_the_specs_own_until_the_alias_is_there(self, own: Loaded) -> None:
        output = own.target.output
        before = find_index(own.client, output, lambda: own.name)
        assert (before.asked, before.index, before.promoted) == (own.name, own.name, False)
        promote(own.client, own.target)
        after = find_index(own.client, output, lambda: pytest.fail("not to be asked for"))
        assert (after.asked, after.index, after.promoted) == (output.alias, own.name, True)

    def test_neither_is_there(self, own: Loaded) -> None:
        own.client.indices.delete(index=own.name)
        with pytest.raises(OutputError, match="is not there"):
            find_index(own.client, own.target.output, lambda: own.name)

    def test_an_alias_of_two(self, own: Loaded, index_name: str) -> None:
        promote(own.client, own.target)
        own.client.indices.create(index=f"{index_name}-other")
        own.client.indices.put_alias(index=f"{index_name}-other", name=index_name)
        with pytest.raises(OutputError, match="names 2 indexes"):
            find_index(own.client, own.target.output, lambda: own.name)

    def test_somebody_elses(self, own: Loaded, index_name: str) -> None:
        own.client.indices.create(index=f"{index_name}-other")
        own.client.indices.put_alias(index=f"{index_name}-other", name=index_name)
        with pytest.raises(OutputError, match="not an index of embed-job"):
            find_index(own.client, own.target.output, lambda: own.name)


class TestCommand:
    def test_vectors_that_mean_nothing(
        self, folder: Path, opensearch_url: str, index_name: str, capfd: Any
    ) -> None:
        spec = spec_file(folder, opensearch_url, alias=index_name)
        assert embed_job("search", "a fox", "--in", spec) == ExitCode.OUTPUT
        assert "engine null" in capfd.readouterr().err
