"""Overlap and nDCG, by examples computed by hand."""

from __future__ import annotations

import math

import pytest

from embed_job.opensearch.canary.measures import dcg, ndcg, overlap

GAINS = [3, 2, 3, 0, 0, 1, 2, 2, 3, 0]
"""The example of Järvelin and Kekäläinen (2002), section 2: the first ten of G'."""
IDEAL = [3, 3, 3, 2, 2, 2, 1, 1, 1, 1]
"""The first ten of their I'."""


@pytest.mark.parametrize(
    ("gains", "by_rank"),
    [
        # 3 | + 2 | + 3 / log2 3 = 1.893 | | | + 1 / log2 6 = 0.387 | + 2 / log2 7 = 0.712 | ...
        (GAINS, [3, 5, 6.89, 6.89, 6.89, 7.28, 7.99, 8.66, 9.61, 9.61]),
        (IDEAL, [3, 6, 7.89, 8.89, 9.75, 10.53, 10.88, 11.22, 11.53, 11.83]),
    ],
)
def test_the_discounted_gain_is_that_of_the_paper(gains: list[int], by_rank: list[float]) -> None:
    found = [dcg(gains[:rank]) for rank in range(1, 11)]
    assert found == pytest.approx(by_rank, abs=0.006)


def test_the_normalised_gain_is_that_of_the_paper() -> None:
    """Documents d0..d9 are found; the recall base holds three more of grade 1."""
    grades = {f"d{rank}": grade for rank, grade in enumerate(GAINS)} | dict.fromkeys("xyz", 1)
    assert ndcg([f"d{rank}" for rank in range(10)], grades) == pytest.approx(9.61 / 11.83, abs=1e-3)


def test_ranks_one_and_two_count_whole_and_the_third_is_discounted() -> None:
    grades = {"a": 1.0, "b": 1.0}
    assert ndcg(["a", "b", "c"], grades) == 1
    assert ndcg(["c", "a", "b"], grades) == pytest.approx((1 + 1 / math.log2(3)) / 2)
    assert ndcg(["c", "d", "a", "b"], grades) == pytest.approx((1 / math.log2(3) + 1 / 2) / 2)
    assert ndcg(["c"], grades) == 0


def test_what_is_not_judged_gains_nothing_and_may_come_first() -> None:
    assert ndcg(["x", "a"], {"a": 2}) == 1, "rank 2 is not discounted with base 2"
    assert ndcg(["x", "y", "a"], {"a": 2}) == pytest.approx(1 / math.log2(3))


def test_ten_count_on_either_side() -> None:
    grades = {f"d{number}": 1.0 for number in range(30)}
    assert ndcg([f"d{number}" for number in range(10)], grades) == 1
    late = [*(f"x{number}" for number in range(10)), "d1"]
    assert ndcg(late, grades) == 0


@pytest.mark.parametrize("grades", [{}, {"a": 0.0}])
def test_without_anything_worth_finding_there_is_no_ideal(grades: dict[str, float]) -> None:
    assert ndcg(["a", "b"], grades) is None


@pytest.mark.parametrize(
    ("one", "other", "share"),
    [
        ("abcdefghij", "abcdefghij", 1.0),
        ("abcdefghij", "jihgfedcba", 1.0),
        ("abcdefghij", "abcdefghXY", 0.8),
        ("abcdefghij", "ZabcdefghiY", 0.9),  # the eleventh does not count
        ("abc", "abc", 1.0),
        ("abcd", "ab", 0.5),
        ("ab", "", 0.0),
        ("", "", 1.0),
    ],
)
def test_overlap(one: str, other: str, share: float) -> None:
    assert overlap(one, other) == share
    assert overlap(other, one) == share
