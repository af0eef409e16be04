"""Products in 8-bit integers: the same to the last bit on every instruction set, and in numpy."""

from __future__ import annotations

import ctypes

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embed_job.engine.native.library import Library, Linear, Target, load_library, runnable_variants
from embed_job.engine.native.pack_int8 import pack_int8, panels_of, quantise_columns

Matrix = npt.NDArray[np.float32]
MOST_OF_TWO = 32767 // 255


@pytest.fixture(scope="module", params=runnable_variants())
def library(request: pytest.FixtureRequest) -> Library:
    found = load_library(request.param)
    assert found is not None
    return found


def random(*shape: int, seed: int = 1) -> Matrix:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def expected(rows: Matrix, weight: Matrix, bias: Matrix) -> Matrix:
    """The scheme in numpy, its sums in 64 bits."""
    low, high = np.minimum(rows.min(axis=1), 0), np.maximum(rows.max(axis=1), 0)
    spread = high - low
    inverse = np.zeros_like(spread)
    np.divide(np.float32(255), spread, out=inverse, where=spread > 1e-30)
    zero = -np.rint(low * inverse).astype(np.int64)
    codes = np.minimum(np.rint(rows * inverse[:, None]).astype(np.int64) + zero[:, None], 255)
    numbers, scales = quantise_columns(weight)
    sums = (codes - zero[:, None]) @ numbers.astype(np.int64)
    made: Matrix = sums.astype(np.float32) * (spread[:, None] / np.float32(255) * scales) + bias
    return made


def product(library: Library, rows: Matrix, weight: Matrix, bias: Matrix, **to: int) -> Matrix:
    """The kernels' product; shapes must be whole panels."""
    rows = np.ascontiguousarray(rows)
    linear, kept = pack_int8(weight, bias, library)
    count, inputs = rows.shape
    out = np.full((count, weight.shape[1]), np.nan, np.float32)
    target = Target(out.ctypes.data, len(bias), len(bias), 0, to.get("residual"), to.get("act", 0))
    scratch = ctypes.create_string_buffer(library.handle.multiply_int8_scratch(count, inputs))
    library.handle.multiply_int8(
        count, rows.ctypes.data, inputs, ctypes.byref(linear), ctypes.byref(target), scratch
    )
    assert kept
    return out


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 30),
    inputs=st.integers(1, 9),
    outputs=st.integers(1, 4),
    seed=st.integers(0),
)
def test_any_shape(library: Library, count: int, inputs: int, outputs: int, seed: int) -> None:
    made = np.random.default_rng(seed % 2**32)
    sizes = np.float32(10.0) ** made.integers(-20, 20, (count, 1)).astype(np.float32)
    inputs, outputs = inputs * library.panel_columns, outputs * library.panel_columns
    rows = made.standard_normal((count, inputs)).astype(np.float32) * sizes
    weight = made.standard_normal((inputs, outputs)).astype(np.float32)
    bias = np.zeros(outputs, np.float32)
    found = product(library, rows, weight, bias)
    assert np.array_equal(found, expected(rows, weight, bias))


def test_deep_sums_that_would_saturate(library: Library) -> None:
    """Codes of 255 and weights as large as two neighbours may be, 4,096 deep."""
    weight = np.zeros((4096, 64), np.float32)
    weight[:, 0:64:4], weight[:, 1:64:4] = 1.0, -1.0
    weight[0::2, 2:64:4], weight[1::2, 2:64:4] = 1.0, -1.0
    weight[0::2, 3:64:4] = -1.0
    rows = np.ones((9, 4096), np.float32)
    rows[1], rows[2], rows[3, 0::2], rows[4, 1::2] = -1.0, 1e-3, -1.0, -1.0
    bias = np.zeros(64, np.float32)
    found = product(library, rows, weight, bias)
    assert np.array_equal(found, expected(rows, weight, bias))
    assert found[0, 2] == 0


def test_corners_of_a_row(library: Library) -> None:
    """Zeros, one huge number among small ones, a half that rounds past 255, numbers too small."""
    rows = random(6, 64)
    rows[0] = 0.0
    rows[1, 17] = 1e20
    rows[2, 0::2], rows[2, 1::2] = 1.0, -1.0
    rows[3] *= 1e-32
    rows[4, :] = 0.0
    rows[4, 3] = -5.0
    weight, bias = random(64, 64, seed=2), random(64, seed=3)
    found = product(library, rows, weight, bias)
    np.testing.assert_allclose(found, expected(rows, weight, bias), rtol=1e-5, atol=1e-5)
    assert np.array_equal(found[0], bias)
    assert np.array_equal(found[3], bias), "a row below 1e-30 counts as zeros"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_not_hidden(library: Library, value: float) -> None:
    rows, weight, bias = random(3, 64), random(64, 64), np.zeros(64, np.float32)
    rows[1, 63] = value
    found = product(library, rows, weight, bias)
    assert np.isnan(found[1]).all()
    assert np.isfinite(found[[0, 2]]).all(), "a row is its own"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_weight_that_is_no_number_is_not_hidden(library: Library, value: float) -> None:
    rows, weight, bias = random(3, 64), random(64, 64), np.zeros(64, np.float32)
    weight[5, 9] = value
    found = product(library, rows, weight, bias)
    assert np.isnan(found[:, 9]).all()
    assert np.isfinite(np.delete(found, 9, axis=1)).all()


def test_weights_too_small_for_a_scale_count_as_zeros() -> None:
    numbers, scales = quantise_columns(np.full((4, 2), 1e-44, np.float32))
    assert not numbers.any()
    assert np.isfinite(scales).all()


def test_a_row_does_not_depend_on_the_others(library: Library) -> None:
    rows, weight, bias = random(13, 64), random(64, 64), random(64)
    together = product(library, rows, weight, bias)
    for row in range(13):
        assert np.array_equal(product(library, rows[row : row + 1], weight, bias)[0], together[row])


def test_what_follows_the_sums(library: Library) -> None:
    rows, weight, bias = random(7, 64), random(64, 64), random(64)
    plain, residual = product(library, rows, weight, bias), random(7, 64, seed=9)
    relu = product(library, rows, weight, bias, act=2, residual=residual.ctypes.data)
    np.testing.assert_allclose(relu, np.maximum(plain, 0) + residual, rtol=1e-6)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 40), sparse=st.booleans())
def test_neighbours_of_one_sign_stay_within_what_16_bits_hold(
    seed: int, rows: int, sparse: bool
) -> None:
    made = np.random.default_rng(seed)
    weight = made.standard_t(2, (2 * rows, 8)).astype(np.float32)
    weight[:, 0] = 0.0
    if sparse:
        weight[made.random(weight.shape) < 0.9] = 0.0
    numbers, scales = quantise_columns(weight)
    pairs = numbers.astype(np.int32).reshape(rows, 2, 8)
    assert np.maximum(pairs, 0).sum(axis=1).max() <= MOST_OF_TWO
    assert np.minimum(pairs, 0).sum(axis=1).min() >= -MOST_OF_TWO
    assert (np.abs(weight - numbers * scales) <= 0.5001 * scales).all()
    assert not numbers[:, 0].any()


def test_the_layout_of_panels() -> None:
    numbers = np.arange(8 * 6, dtype=np.int8).reshape(8, 6)
    panels = panels_of(numbers, 3)
    assert panels.shape == (2, 2, 3, 4)
    assert panels[1, 0, 2].tolist() == numbers[0:4, 5].tolist()
    assert panels[0, 1, 1].tolist() == numbers[4:8, 1].tolist()


def test_instruction_sets_make_the_same_numbers() -> None:
    rows, weight, bias = random(50, 1536), random(1536, 384, seed=4), random(384, seed=5)
    found = [
        product(library, rows, weight, bias)
        for library in map(load_library, runnable_variants())
        if library is not None
    ]
    for other in found[1:]:
        assert np.array_equal(found[0], other)


def test_a_linear_layer_points_to_what_it_keeps(library: Library) -> None:
    linear, kept = pack_int8(random(64, 64), random(64), library)
    assert isinstance(linear, Linear)
    assert {linear.panels, linear.bias, linear.scales, linear.sums} == {
        array.ctypes.data for array in kept
    }
