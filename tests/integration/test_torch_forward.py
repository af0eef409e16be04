"""The packed forward gives what transformers gives, however texts are batched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from embed_job.bundle.golden import cosines
from embed_job.engine.torch.forward import PackedModel
from tests.integration import torch_models as tiny

LENGTHS = [1, 2, 17, 3, tiny.MAX_TOKENS, 9, 33]
VARIANTS: dict[str, dict[str, Any]] = {
    "mean": {},
    "cls-dense": {"pooling": "cls", "dense": 24},
    "lasttoken-raw": {"pooling": "lasttoken", "normalize": False},
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_vectors_are_those_of_transformers(tmp_path: Path, family: str, variant: str) -> None:
    recipe = tiny.write_model(tmp_path / "model", family, **VARIANTS[variant])
    texts = tiny.random_texts(LENGTHS)
    model = tiny.load(recipe)
    assert isinstance(model, PackedModel)
    made = tiny.embed(model, texts)
    expected = tiny.by_transformers(recipe, texts)
    assert made.dtype == np.float32
    assert made.shape == (len(texts), model.dimension)
    assert np.abs(made - expected).max() < 2e-5 * np.abs(expected).max()
    spread = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.median(spread @ spread.T) < 0.9, "the model tells its texts apart"


@pytest.mark.parametrize("pooling", ["mean", "cls", "lasttoken"])
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_a_batch_gives_the_vectors_of_its_texts_alone(
    tmp_path: Path, family: str, pooling: str
) -> None:
    """Every length, texts without tokens among them, in a bucket with room to spare."""
    recipe = tiny.write_model(tmp_path / "model", family, pooling=pooling, dense=16)
    model = tiny.load(recipe)
    texts = tiny.random_texts([0, *range(1, tiny.MAX_TOKENS + 1), 0, 5])
    alone = [tiny.embed(model, [text], max_length=len(text))[0] for text in texts if len(text)]
    for spare in ({}, {"spare_rows": 6}, {"spare_rows": 3, "spare_tokens": 41, "fill": 7}):
        made = tiny.embed(model, texts, **spare)
        full = np.array([len(text) > 0 for text in texts] + [False] * spare.get("spare_rows", 0))
        # Rounding in another order, no more: a neighbour's token would change a digit.
        assert np.abs(made[full] - alone).max() < 2e-5
        assert not made[~full].any()


def test_a_mean_is_the_same_each_time(tmp_path: Path) -> None:
    model = tiny.load(tiny.write_model(tmp_path / "model", "bert"))
    texts = tiny.random_texts(LENGTHS)
    first = tiny.embed(model, texts)
    assert all(np.array_equal(first, tiny.embed(model, texts)) for _ in range(3))


@pytest.mark.parametrize("family", ["roberta", "mpnet"])
def test_positions_skip_the_padding_token_within_a_text(tmp_path: Path, family: str) -> None:
    recipe = tiny.write_model(tmp_path / "model", family)
    texts = tiny.random_texts(LENGTHS)
    for text in texts:
        text[len(text) // 3 :: 4] = recipe.pad_token_id
    made = tiny.embed(tiny.load(recipe), texts, spare_tokens=9, fill=recipe.pad_token_id)
    # transformers takes the places from the ids, as nothing is masked in one text.
    assert np.abs(made - tiny.by_transformers(recipe, texts)).max() < 1e-5


@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize(("precision", "least"), [("fp16", 0.9999), ("bf16", 0.99)])
def test_half_precision_stays_near(
    tmp_path: Path, family: str, precision: str, least: float
) -> None:
    """Random weights of this size lose more than trained ones: bf16 keeps 8 bits."""
    recipe = tiny.write_model(tmp_path / "model", family)
    texts = tiny.random_texts(LENGTHS)
    exact, made = (
        tiny.embed(tiny.load(recipe, name), texts, spare_rows=1) for name in ("fp32", precision)
    )
    assert made.dtype == np.float32
    assert not np.array_equal(made, exact)
    assert cosines(exact[:-1], made[:-1]).min() > least
    assert not made[-1].any()


@pytest.mark.parametrize("family", ["bert", "mpnet", "modernbert"])
def test_an_overflow_is_seen_in_its_own_vector_alone(tmp_path: Path, family: str) -> None:
    recipe = tiny.write_model(tmp_path / "model", family)
    model = tiny.load(recipe, "fp16")
    assert isinstance(model, PackedModel)
    texts = tiny.random_texts([5, 8, 3])
    texts[1][2] = 4
    sound = tiny.embed(model, texts)
    model.words[4] = float("inf")
    made = tiny.embed(model, texts)
    assert not np.isfinite(made[1]).any()
    assert np.array_equal(made[[0, 2]], sound[[0, 2]])


@pytest.mark.parametrize(
    ("family", "pooling"), [("xlm-roberta", "mean"), ("modernbert", "lasttoken")]
)
def test_the_pass_is_one_graph_for_every_shape(tmp_path: Path, family: str, pooling: str) -> None:
    """So that it is compiled once: no branch on data, nothing read back, no shape built in."""
    model = tiny.load(tiny.write_model(tmp_path / "model", family, pooling=pooling))
    torch._dynamo.reset()
    whole = torch.compile(model, backend="eager", fullgraph=True, dynamic=True)
    for number, (lengths, longest) in enumerate([([3, 9, 20], 24), ([5, 40, 3, 2], 48), ([7], 8)]):
        ids, cu_seqlens = tiny.packed(tiny.random_texts(lengths), spare_rows=2, spare_tokens=3)
        once = torch._dynamo.config.patch(error_on_recompile=number > 0)
        with torch.inference_mode(), once:
            made = whole(ids, cu_seqlens, longest)
            assert torch.equal(made, model(ids, cu_seqlens, longest))
