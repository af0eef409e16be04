"""The native engine's kernels, each instruction set against float64 in numpy."""

from __future__ import annotations

import ctypes
import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embed_job.bundle.encoder import Encoder, Layer, Linear, Norm, relative_buckets
from embed_job.engine.native import pack
from embed_job.engine.native.library import (
    ACTIVATIONS,
    Library,
    Target,
    load_library,
    runnable_variants,
)

Matrix = npt.NDArray[np.float64]
FEW = settings(max_examples=25, deadline=None)
ERF = np.vectorize(math.erf, otypes=[np.float64])


@pytest.fixture(scope="module", params=runnable_variants())
def library(request: pytest.FixtureRequest) -> Library:
    found = load_library(request.param)
    assert found is not None
    return found


def test_this_machine_runs_a_variant() -> None:
    """Without it every other test here would be none."""
    assert runnable_variants()


def random(seed: int, *shape: int, scale: float = 1.0) -> npt.NDArray[np.float32]:
    values = np.random.default_rng(seed).standard_normal(shape, np.float32)
    return values * np.float32(scale)


def activated(x: Matrix, activation: str) -> Matrix:
    if activation == "relu":
        return np.maximum(x, 0)
    return x if activation == "none" else np.asarray(x * (1 + ERF(x / math.sqrt(2))) / 2)


def multiply(
    library: Library,
    a: npt.NDArray[np.float32],
    linear: Linear,
    *,
    activation: str = "none",
    residual: npt.NDArray[np.float32] | None = None,
) -> npt.NDArray[np.float32]:
    """a times a linear layer of whole panels, by the kernel."""
    packed, _kept = pack.pack_fp32(linear.weight, linear.bias, library)
    out = np.full((len(a), len(linear.bias)), np.nan, np.float32)
    target = Target(
        out=out.ctypes.data,
        stride=out.shape[1],
        block=out.shape[1],
        block_step=0,
        residual=None if residual is None else residual.ctypes.data,
        activation=ACTIVATIONS[activation],
    )
    library.handle.multiply_fp32(
        len(a), a.ctypes.data, a.shape[1], ctypes.byref(packed), ctypes.byref(target)
    )
    return out


@FEW
@given(
    rows=st.integers(1, 40),
    inputs=st.integers(1, 70),
    panels=st.integers(1, 3),
    activation=st.sampled_from(["none", "gelu", "relu"]),
    has_residual=st.booleans(),
)
def test_products_of_any_size(
    library: Library, rows: int, inputs: int, panels: int, activation: str, has_residual: bool
) -> None:
    columns = panels * library.panel_columns
    a, weight, bias = random(1, rows, inputs), random(2, inputs, columns), random(3, columns)
    residual = random(4, rows, columns) if has_residual else None
    made = multiply(library, a, Linear(weight, bias), activation=activation, residual=residual)
    expected = activated(a.astype(np.float64) @ weight + bias, activation)
    expected = expected if residual is None else expected + residual
    assert np.abs(made - expected).max() < 2e-5


def test_gelu_over_its_whole_range(library: Library) -> None:
    """The product with a unit matrix leaves the activation alone."""
    columns = library.panel_columns
    x = np.linspace(-12, 12, 40 * columns, dtype=np.float32).reshape(-1, columns)
    unit = Linear(np.eye(columns, dtype=np.float32), np.zeros(columns, np.float32))
    made = multiply(library, x, unit, activation="gelu")
    assert np.abs(made - activated(x.astype(np.float64), "gelu")).max() < 2e-6


@pytest.mark.parametrize("activation", ["none", "gelu", "relu"])
def test_nan_comes_out_as_nan(library: Library, activation: str) -> None:
    columns = library.panel_columns
    a = np.zeros((3, 4), np.float32)
    a[1, 2] = np.nan
    linear = Linear(np.ones((4, columns), np.float32), np.zeros(columns, np.float32))
    made = multiply(library, a, linear, activation=activation)
    assert np.isnan(made[1]).all()
    assert not np.isnan(made[[0, 2]]).any()


def encoder(
    *, hidden: int, heads: int, wide: int, activation: str = "gelu", relative: bool = False
) -> Encoder:
    """A random encoder of two layers, 40 words and 80 positions."""
    seeds = iter(range(1000))

    def linear(inputs: int, outputs: int) -> Linear:
        weight = random(next(seeds), inputs, outputs, scale=inputs**-0.5)
        return Linear(weight, random(next(seeds), outputs, scale=0.1))

    def norm() -> Norm:
        return Norm(1 + random(next(seeds), hidden, scale=0.2), random(next(seeds), hidden) / 16)

    def layer() -> Layer:
        qkv, attention = linear(hidden, 3 * hidden), linear(hidden, hidden)
        return Layer(qkv, attention, norm(), linear(hidden, wide), linear(wide, hidden), norm())

    return Encoder(
        words=random(next(seeds), 40, hidden),
        positions=random(next(seeds), 80, hidden),
        norm=norm(),
        layers=(layer(), layer()),
        heads=heads,
        epsilon=1e-5,
        activation=activation,
        positions_pad=None,
        relative_bias=random(next(seeds), heads, 32) if relative else None,
    )


def normalised(x: Matrix, norm: Norm, epsilon: float) -> Matrix:
    centred = x - x.mean(axis=-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + epsilon)
    return np.asarray(centred / deviation * norm.gamma + norm.beta)


def reference(model: Encoder, ids: list[int]) -> Matrix:
    """The mean state of one text, in float64."""
    tokens, hidden = len(ids), model.words.shape[1]
    x = normalised(model.words[ids].astype(float) + model.positions[:tokens], model.norm, 1e-5)
    for layer in model.layers:
        qkv = (x @ layer.qkv.weight + layer.qkv.bias).reshape(tokens, 3, model.heads, -1)
        q, k, v = qkv.transpose(1, 2, 0, 3)
        scores = q @ k.transpose(0, 2, 1) / math.sqrt(hidden / model.heads)
        if model.relative_bias is not None:
            scores = scores + model.relative_bias[:, relative_buckets(tokens)]
        shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
        mixed = shares / shares.sum(axis=-1, keepdims=True) @ v
        mixed = mixed.transpose(1, 0, 2).reshape(tokens, hidden)
        mixed = mixed @ layer.attention.weight + layer.attention.bias
        x = normalised(x + mixed, layer.attention_norm, 1e-5)
        wide = activated(x @ layer.up.weight + layer.up.bias, model.activation)
        x = normalised(x + wide @ layer.down.weight + layer.down.bias, layer.output_norm, 1e-5)
    return np.asarray(x.mean(axis=0))


def run(
    library: Library, model: Encoder, texts: list[list[int]], *, chunk_rows: int | None = None
) -> npt.NDArray[np.float32]:
    """Mean states by the kernels, in a workspace whose end is watched."""
    packed = pack.pack_model(model, library, pooling="mean", precision="fp32")
    if chunk_rows is not None:
        packed.model.chunk_rows = chunk_rows
    ids = np.array([token for text in texts for token in text], np.int32)
    offsets = np.cumsum([0, *map(len, texts)]).astype(np.int64)
    longest = max(map(len, texts))
    address = ctypes.byref(packed.model)
    size = library.handle.workspace_bytes(address, len(ids), longest)
    memory = np.full(size + 192, 0xA5, np.uint8)
    start = -memory.ctypes.data % 64 + 64
    pooled = np.full((len(texts) + 2, model.words.shape[1]), 7, np.float32)
    library.handle.forward(
        address,
        len(texts),
        offsets.ctypes.data,
        ids.ctypes.data,
        pooled[1:].ctypes.data,
        memory.ctypes.data + start,
    )
    assert (memory[:start] == 0xA5).all()
    assert (memory[start + size :] == 0xA5).all()
    assert (pooled[[0, -1]] == 7).all()
    return pooled[1:-1]


TEXTS = st.lists(st.lists(st.integers(0, 39), min_size=1, max_size=80), min_size=1, max_size=5)


@FEW
@given(
    texts=TEXTS,
    heads=st.sampled_from([1, 2, 3, 5]),
    width=st.sampled_from([1, 4, 7, 16, 20, 32, 33, 64]),
    wide=st.integers(1, 150),
    activation=st.sampled_from(["gelu", "relu"]),
    relative=st.booleans(),
    chunk_rows=st.sampled_from([12, 36, 192]),
)
def test_encoders_of_any_shape(
    library: Library,
    texts: list[list[int]],
    heads: int,
    width: int,
    wide: int,
    activation: str,
    relative: bool,
    chunk_rows: int,
) -> None:
    """Sizes that are no multiple of a vector are filled up; nothing is written past an end."""
    model = encoder(
        hidden=heads * width, heads=heads, wide=wide, activation=activation, relative=relative
    )
    made = run(library, model, texts, chunk_rows=chunk_rows)
    expected = np.stack([reference(model, text) for text in texts])
    assert np.abs(made - expected).max() < 1e-4


def test_rows_that_would_share_a_cache_line_set(library: Library) -> None:
    """512 and 1024 numbers a row: their rows lie further apart than their length."""
    model = encoder(hidden=512, heads=8, wide=1024)
    texts = [[5, 6, 7], list(range(40)), [3]]
    expected = np.stack([reference(model, text) for text in texts])
    assert np.abs(run(library, model, texts) - expected).max() < 1e-4


def test_scores_far_apart_and_a_nan(library: Library) -> None:
    """A softmax of scores in the hundreds is that of its largest; a NaN reaches its text alone."""
    model = encoder(hidden=32, heads=2, wide=32)
    for layer in model.layers:
        layer.qkv.weight[:] *= 30
    model.words[9] = np.nan
    texts = [[1, 2, 3, 4], [5, 9, 6], [7, 8]]
    made = run(library, model, texts)
    assert np.isnan(made[1]).all()
    for row in (0, 2):
        assert np.abs(made[row] - reference(model, texts[row])).max() < 1e-3
