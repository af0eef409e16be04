"""Scores as cosines, filters as clauses, rankings fused, vectors that came back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embed_job.errors import UserError
from embed_job.opensearch.check.pages import reason_of
from embed_job.opensearch.check.vectors import comes_back
from embed_job.opensearch.search.filters import parse_filters
from embed_job.opensearch.search.fusion import fuse
from embed_job.opensearch.search.question import (
    MIN_K,
    cosine_of,
    nearest_query,
    quantised,
)
from tests.opensearch.index_targets import target_of

FIELDS = {
    "language": {"type": "keyword"},
    "meta.year": {"type": "long"},
    "content_hash": {"type": "keyword", "index": False},
    "text": {"type": "text"},
}


class TestScores:
    @given(st.floats(-1, 1))
    def test_of_an_inner_product(self, cosine: float) -> None:
        score = 1 + cosine if cosine >= 0 else 1 / (1 - cosine)
        assert cosine_of(score, space="innerproduct", is_byte=False) == pytest.approx(cosine)

    @given(st.floats(-1, 1))
    def test_of_bytes(self, cosine: float) -> None:
        product = cosine * 127**2
        score = 1 + product if product >= 0 else 1 / (1 - product)
        found = cosine_of(score, space="innerproduct", is_byte=True)
        assert found == pytest.approx(cosine, abs=1e-9)

    @given(st.floats(-1, 1))
    def test_of_a_cosine(self, cosine: float) -> None:
        found = cosine_of((1 + cosine) / 2, space="cosinesimil", is_byte=False)
        assert found == pytest.approx(cosine, abs=1e-9)


class TestQuery:
    def test_a_small_k_looks_at_enough(self) -> None:
        vector = np.array([0.5, -0.5], np.float32)
        few = nearest_query(vector, k=3, is_byte=False)["knn"]["vector"]
        assert few == {"vector": [0.5, -0.5], "k": MIN_K}
        many = nearest_query(vector, k=900, is_byte=True, filters=[{"term": {"a": 1}}])
        assert many["knn"]["vector"]["k"] == 900
        assert many["knn"]["vector"]["vector"] == [64, -64]
        assert many["knn"]["vector"]["filter"] == {"bool": {"filter": [{"term": {"a": 1}}]}}

    def test_bytes_stay_within_a_byte(self) -> None:
        assert quantised(np.array([1.0000001, -1, 0], np.float32)).tolist() == [127, -127, 0]


class TestFilters:
    @pytest.mark.parametrize(
        ("text", "clause"),
        [
            ("language=en", {"term": {"language": {"value": "en"}}}),
            ("language=a=b", {"term": {"language": {"value": "a=b"}}}),
            ("language>b", {"range": {"language": {"gt": "b"}}}),
            ("meta.year >= 2020", {"range": {"meta.year": {"gte": 2020}}}),
            ("meta.year<-1", {"range": {"meta.year": {"lt": -1}}}),
            (
                "meta.year!=7",
                {"bool": {"must_not": [{"term": {"meta.year": {"value": 7}}}]}},
            ),
        ],
    )
    def test_what_they_mean(self, text: str, clause: dict[str, Any]) -> None:
        assert parse_filters([text], FIELDS) == [clause]

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("language==en", "'language==en' is no filter. Write language=en."),
            ("meta.year>==2020", "Write meta.year>=2020."),
            ("language=", "'language=' names no value. Write what 'language' must hold"),
            ("language!= ", "names no value"),
        ],
    )
    def test_slips_that_would_find_nothing(self, text: str, says: str) -> None:
        with pytest.raises(UserError, match="--filter") as caught:
            parse_filters([text], FIELDS)
        assert says in str(caught.value)


class TestFusion:
    def test_one_ranking_stays_as_it_is(self) -> None:
        assert fuse([["b", "a", "c"]]) == ["b", "a", "c"]

    def test_what_both_hold_comes_first(self) -> None:
        assert fuse([["a", "b", "c"], ["d", "c", "e"]])[0] == "c"
        assert fuse([["a", "b"], ["c", "d"]]) == ["a", "c", "b", "d"]


class TestComesBack:
    VECTOR = np.array([0.6, -0.8], np.float32)

    def back(self, stored: object, **graph: Any) -> bool:
        target = target_of("http://localhost:9200", "kb", graph={"engine": "faiss"} | graph)
        return comes_back(target, stored, self.VECTOR)

    def test_to_the_last_bit(self) -> None:
        exact = [float(value) for value in self.VECTOR]
        nudged = [float(np.nextafter(self.VECTOR[0], np.float32(1))), exact[1]]
        assert self.back(exact)
        assert self.back(exact, storage="on_disk")
        assert not self.back(nudged)
        assert not self.back(exact[:1])
        assert not self.back(None)

    def test_to_half_precision(self) -> None:
        half = self.VECTOR.astype(np.float16).tolist()
        assert self.back(half, storage="float16")
        assert not self.back([half[0] * 1.002, half[1]], storage="float16")
        assert not self.back(half)

    def test_as_bytes(self) -> None:
        assert self.back([76, -102], storage="byte")
        assert not self.back([78, -102], storage="byte")


class TestReasons:
    @pytest.mark.parametrize(
        ("error", "reason"),
        [
            ("plain", "plain"),
            ({"error": {"type": "t", "reason": "all shards failed"}}, "all shards failed"),
            (
                {"error": {"root_cause": [{"type": "t", "reason": "inner"}], "reason": "outer"}},
                "inner",
            ),
            ({"root_cause": [], "type": "t"}, "t"),
            ({}, "no reason given"),
        ],
    )
    def test_the_innermost_is_told(self, error: object, reason: str) -> None:
        assert reason_of(error) == reason
