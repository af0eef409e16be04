"""The exact search that a recall is measured against."""

from __future__ import annotations

import numpy as np
import pytest

from embed_job.ids import Hashes, hash_ids
from embed_job.opensearch.check.recall import TOP, ExactTop, between


def random_units(count: int, *, seed: int, dimension: int = 16) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def contents(count: int) -> Hashes:
    return hash_ids(f"text {number}" for number in range(count))


@pytest.mark.parametrize("rows", [3, 10, 99, 1000])
def test_it_finds_what_a_full_sort_finds(rows: int) -> None:
    queries, vectors, texts = random_units(20, seed=1), random_units(rows, seed=2), contents(rows)
    exact = ExactTop(queries)
    for at in range(0, rows, 64):
        exact.see(vectors[at : at + 64], texts[at : at + 64])
    for number, query in enumerate(queries):
        order = np.argsort(-(vectors @ query))
        assert exact.recall(number, texts[order[:TOP]]) == 1
        worst = order[-min(TOP, rows) :]
        overlap = len(set(worst.tolist()) & set(order[:TOP].tolist()))
        assert exact.recall(number, texts[worst]) == pytest.approx(overlap / min(TOP, rows))
        assert exact.recall(number, texts[order[: TOP // 2]]) == min(1, TOP / 2 / min(TOP, rows))


def test_of_equals_any_will_do() -> None:
    query = random_units(1, seed=1)
    others, texts = random_units(50, seed=2), contents(80)
    exact = ExactTop(query)
    exact.see(np.concatenate([others, np.repeat(query, 30, axis=0)]), texts)
    assert exact.recall(0, texts[50:60]) == exact.recall(0, texts[70:80]) == 1
    assert exact.recall(0, texts[45:55]) == pytest.approx(0.5)


def test_no_rows_no_loss() -> None:
    assert ExactTop(random_units(1, seed=1)).recall(0, contents(0)) == 1


def test_questions_lie_between_rows_and_are_none() -> None:
    vectors = random_units(40, seed=3)
    questions = between(vectors, count=250)
    assert questions.shape == (250, 16)
    np.testing.assert_allclose(np.linalg.norm(questions, axis=1), 1, rtol=1e-5)
    cosines = questions @ vectors.T
    assert cosines.max() < 0.999
    # Two rows of each are as near as rows at that angle can be.
    assert (np.sort(cosines, axis=1)[:, -2] > 0.3).all()
    np.testing.assert_array_equal(questions, between(vectors, count=250))


def test_one_row_alone_and_its_opposite() -> None:
    alone = random_units(1, seed=4)
    np.testing.assert_allclose(between(alone, count=3), np.repeat(alone, 3, axis=0), rtol=1e-5)
    both = np.concatenate([alone, -alone])
    np.testing.assert_allclose(np.abs(between(both, count=9) @ alone[0]), 1, rtol=1e-5)
