"""Engines: padding, composition of batches, limits; the null engine's hash."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embed_job.bundle import Bundle, open_bundle
from embed_job.bundle.build import build_bundle
from embed_job.engine import Engine, Vectors, load_engine, pad
from embed_job.engine.native import NativeEngine
from embed_job.engine.null import NullEngine
from embed_job.engine.onnx import OnnxEngine
from embed_job.spec import ModelSpec
from tests.texts import tokens

VOCABULARY = 100
TEXTS = st.lists(st.lists(st.integers(5, VOCABULARY - 1), min_size=1, max_size=48), max_size=6)


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> Bundle:
    return open_bundle(tiny_bundle)


@pytest.fixture(scope="module", params=["bert", "roberta", "mpnet"])
def family(
    request: pytest.FixtureRequest,
    tiny_models: ModuleType,
    tmp_path_factory: pytest.TempPathFactory,
) -> Bundle:
    folder = tmp_path_factory.mktemp(request.param)
    model = tiny_models.write_model(folder / "model", request.param)
    return build_bundle(str(model), folder / "bundle").bundle


@pytest.fixture(scope="module", params=["onnx", "native"])
def engine(request: pytest.FixtureRequest, family: Bundle) -> Engine:
    return load_engine(family, ModelSpec(engine=request.param), threads=1)


@settings(max_examples=40, deadline=None)
@given(texts=TEXTS)
def test_a_vector_does_not_depend_on_its_batch(engine: Engine, texts: list[list[int]]) -> None:
    together = engine.embed(tokens(texts))
    assert together.dtype == np.float32
    assert together.shape == (len(texts), engine.dimension)
    for text, vector in zip(texts, together, strict=True):
        assert np.abs(engine.embed(tokens([text]))[0] - vector).max() < 1e-5


def test_the_order_of_tokens_counts(engine: Engine) -> None:
    there, back = engine.embed(tokens([[6, 7, 8, 9], [9, 8, 7, 6]]))
    assert np.abs(there - back).max() > 1e-3


def test_a_text_without_tokens_gives_zeros(engine: Engine) -> None:
    """The job refuses such a vector; the batch's other texts are not touched."""
    alone = engine.embed(tokens([[6, 7, 8]]))[0]
    empty, other = engine.embed(tokens([[], [6, 7, 8]]))
    assert not empty.any()
    assert np.abs(other - alone).max() < 1e-6
    assert not engine.embed(tokens([[]])).any()


def test_a_text_as_long_as_the_model_works_and_a_longer_one_is_refused(engine: Engine) -> None:
    assert np.isfinite(engine.embed(tokens([[7] * 48]))).all()
    with pytest.raises(ValueError, match="49 tokens, 48 at most"):
        engine.embed(tokens([[7] * 49]))


def test_padding_is_counted(bundle: Bundle) -> None:
    batch = tokens([[7] * 3, [8] * 5, []])
    assert OnnxEngine(bundle, precision="fp32", threads=1).padded_tokens(batch) == 15
    assert NullEngine(dimension=8).padded_tokens(batch) == 8


@settings(deadline=None)
@given(texts=st.lists(st.lists(st.integers(1, 99), max_size=9), max_size=9))
def test_padding_fills_the_right(texts: list[list[int]]) -> None:
    ids = pad(tokens(texts), pad_token_id=0)
    width = max([1, *map(len, texts)])
    assert ids.tolist() == [text + [0] * (width - len(text)) for text in texts]


def null(texts: list[list[int]]) -> Vectors:
    return NullEngine(dimension=16).embed(tokens(texts))


@settings(deadline=None)
@given(texts=st.lists(st.lists(st.integers(0, 30000), max_size=9), max_size=9))
def test_null_vectors_follow_from_each_texts_ids_alone(texts: list[list[int]]) -> None:
    together = null(texts)
    assert together.shape == (len(texts), 16)
    for text, vector in zip(texts, together, strict=True):
        assert (null([text])[0] == vector).all()
    assert np.abs(np.linalg.norm(together, axis=1) - 1).max(initial=0) < 1e-5


def test_null_vectors_tell_texts_apart() -> None:
    source = np.random.default_rng(1)
    texts = [source.integers(0, 30000, 12).tolist() for _ in range(500)]
    texts += [text[::-1] for text in texts]
    distinct = np.unique(null(texts), axis=0)
    assert len(distinct) > 800, "4096 vectors, 1000 texts"


def test_the_spec_chooses_the_engine(bundle: Bundle) -> None:
    chosen: list[Engine] = [
        load_engine(bundle, ModelSpec(engine=name), threads=1)
        for name in ("native", "onnx", "null")
    ]
    assert [type(engine) for engine in chosen] == [NativeEngine, OnnxEngine, NullEngine]
    assert {engine.dimension for engine in chosen} == {bundle.dimension}
