"""The native engine: which bundles it runs, threads, instruction sets, what it refuses."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embed_job.bundle import Bundle, open_bundle
from embed_job.bundle.build import build_bundle
from embed_job.bundle.golden import cosines
from embed_job.bundle.mapped import MAPPED_FILE, is_mapped, read_mapped
from embed_job.engine import Tokens, choose_engine, load_engine, torch
from embed_job.engine.native import NativeEngine, can_run
from embed_job.engine.native.library import runnable_variants
from embed_job.engine.onnx import OnnxEngine
from embed_job.errors import BundleError
from embed_job.spec import ModelSpec
from tests.texts import tokens

IDS = st.lists(st.lists(st.integers(0, 99), max_size=48), min_size=1, max_size=9)


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> Bundle:
    return open_bundle(tiny_bundle)


@pytest.fixture
def damaged(tiny_bundle: Path, tmp_path: Path) -> Bundle:
    """A copy to change, whose sums are not looked at."""
    shutil.copytree(tiny_bundle, tmp_path / "bundle")
    return open_bundle(tmp_path / "bundle")


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "xlm-roberta", "mpnet"])
def test_vectors_are_those_of_onnx_runtime(
    tiny_models: ModuleType, tmp_path: Path, family: str
) -> None:
    """Padding's id within a text too, which has no place of its own in some families."""
    model = tiny_models.write_model(tmp_path / "model", family, dense=24)
    bundle = build_bundle(str(model), tmp_path / "bundle").bundle
    source = np.random.default_rng(3)
    words = len(read_mapped(bundle.path, bundle.info.head).encoder.words)
    texts = [source.integers(0, words, length).tolist() for length in range(1, 49)]
    expected = OnnxEngine(bundle, precision="fp32", threads=1).embed(tokens(texts))
    made = []
    for variant in runnable_variants():
        engine = NativeEngine(bundle, precision="fp32", threads=1, variant=variant)
        made.append(engine.embed(tokens(texts)))
        assert cosines(made[-1], expected).min() >= 0.999999
        assert np.abs(made[-1] - expected).max() < 2e-6
    assert all((vectors == made[0]).all() for vectors in made), "to the bit on all of them"


@settings(max_examples=30, deadline=None)
@given(texts=IDS)
def test_threads_share_a_batch(bundle: Bundle, texts: list[list[int]]) -> None:
    one = NativeEngine(bundle, precision="fp32", threads=1)
    three = NativeEngine(bundle, precision="fp32", threads=3)
    batch = tokens(texts)
    assert np.abs(one.embed(batch) - three.embed(batch)).max() < 1e-6
    assert three.padded_tokens(batch) == len(batch.ids)
    assert three.batch_tokens == 3 * one.batch_tokens


def test_batches_come_back_in_their_order(bundle: Bundle) -> None:
    engine = NativeEngine(bundle, precision="fp32", threads=2)
    batches = [tokens([[5, 6], [7]]), tokens([]), tokens([list(range(40))]), tokens([[9, 8]])]
    made = list(engine.embed_each(iter(batches)))
    assert [vectors.shape for vectors in made] == [(2, 32), (0, 32), (1, 32), (1, 32)]
    for batch, vectors in zip(batches, made, strict=True):
        assert (engine.embed(batch) == vectors).all()


@pytest.mark.parametrize(
    ("ids", "offsets"),
    [
        ([5, -1, 6], [0, 3]),
        ([5, 10_000_000, 6], [0, 3]),
        ([5, 6], [0, 3]),
        ([5, 6, 7], [1, 3]),
        ([5, 6, 7], [0, 2, 1, 3]),
        ([], []),
    ],
)
def test_what_would_read_past_an_end_is_refused(
    bundle: Bundle, ids: list[int], offsets: list[int]
) -> None:
    engine = NativeEngine(bundle, precision="fp32", threads=2)
    with pytest.raises(ValueError, match=r"id is not below|offsets of a batch"):
        engine.embed(Tokens(np.array(ids, np.int32), np.array(offsets, np.int64)))


def test_auto_is_native_where_there_is_no_gpu(bundle: Bundle) -> None:
    assert can_run(bundle, precision="fp32")
    assert choose_engine(bundle, ModelSpec()) == ("torch" if torch.has_gpu() else "native")


def test_a_bundle_without_weights_of_its_own_goes_to_onnx(damaged: Bundle) -> None:
    """As older versions made them: the file begins with a tensor, not with a header."""
    weights = damaged.path / MAPPED_FILE
    weights.write_bytes(weights.read_bytes()[4096:])
    assert not is_mapped(damaged.path)
    if not torch.has_gpu():
        assert choose_engine(damaged, ModelSpec()) == "onnx"
    with pytest.raises(BundleError, match="older version") as caught:
        load_engine(damaged, ModelSpec(engine="native"), threads=1)
    assert "onnx" in caught.value.hint


def test_other_architectures_and_precisions_go_to_onnx(bundle: Bundle) -> None:
    other = Bundle(bundle.path, bundle.info.model_copy(update={"architecture": "modernbert"}))
    assert not can_run(other, precision="fp32")
    assert not can_run(bundle, precision="fp16")
    with pytest.raises(BundleError, match="not know the architecture modernbert"):
        NativeEngine(other, precision="fp32", threads=1)
    with pytest.raises(BundleError, match="not in bf16"):
        NativeEngine(bundle, precision="bf16", threads=1)
    with pytest.raises(BundleError, match="no mmx kernels"):
        NativeEngine(bundle, precision="fp32", threads=1, variant="mmx")
    with pytest.raises(BundleError, match="no int8 graph"):
        load_engine(bundle, ModelSpec(engine="onnx", precision="int8"), threads=1)


@pytest.mark.parametrize(
    ("found", "changed"),
    [
        (b'"heads":"4"', b'"heads":"3"'),
        (b'"layers":"2"', b'"layers":"9"'),
        (b'"shape":[66,32]', b'"shape":[33,64]'),
        (b'"shape":[66,32]', b'"shape":[36893488147419103232,1]'),
        (b'"activation":"gelu"', b'"activation":"tanh"'),
    ],
)
def test_weights_that_do_not_fit_together_are_refused(
    damaged: Bundle, found: bytes, changed: bytes
) -> None:
    weights = damaged.path / MAPPED_FILE
    content = weights.read_bytes()
    assert found in content
    weights.write_bytes(content.replace(found, changed, 1))
    with pytest.raises(BundleError, match="does not hold an encoder's weights"):
        NativeEngine(damaged, precision="fp32", threads=1)


def test_a_model_with_fewer_places_than_tokens_is_refused(bundle: Bundle) -> None:
    longer = Bundle(bundle.path, bundle.info.model_copy(update={"max_tokens": 67}))
    with pytest.raises(BundleError, match="positions for fewer than its 67 tokens"):
        NativeEngine(longer, precision="fp32", threads=1)


def test_the_weights_are_a_safetensors_file_that_is_mapped(bundle: Bundle) -> None:
    """safetensors' own reader finds no fault; large tensors lie where they can be mapped."""
    from safetensors.numpy import load_file

    tensors = load_file(bundle.path / MAPPED_FILE)
    mapped = read_mapped(bundle.path, bundle.info.head)
    assert (tensors["words"] == mapped.encoder.words).all()
    assert (tensors["layer1.up.weight"] == mapped.encoder.layers[1].up.weight).all()
    assert mapped.encoder.words.ctypes.data % 64 == 0
    assert not mapped.encoder.words.flags.writeable
