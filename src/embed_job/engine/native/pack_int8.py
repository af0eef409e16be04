"""Weights in 8-bit integers, a scale a column, laid out for the kernels of kernels/gemm_int8.c."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from embed_job.bundle.files import Array
from embed_job.engine.native.library import Library, Linear

MOST = 127
_LEAST = 1e-30
"""A column below it counts as zeros: its scale could not be a float."""


def quantise_columns(weight: Array) -> tuple[npt.NDArray[np.int8], Array]:
    """A weight [inputs, outputs] as whole numbers of its shape and a scale a column.

    inputs is even. Symmetric: 0.0 is 0. The scale is such that two neighbours of a column, rows
    2 k and 2 k + 1, add up to 127 at most where they have one sign, 128 after rounding: AVX2 adds
    two products with 8-bit codes in 16 bits, and 255 · 128 just fits. Seven bits a weight would
    do so as well, at twice the error; most weights are far smaller than their column's largest.
    A column that holds NaN or infinity gets such a scale, so that vectors show it.
    """
    first, second = weight[0::2], weight[1::2]
    above = np.maximum(first, 0) + np.maximum(second, 0)
    below = np.minimum(first, 0) + np.minimum(second, 0)
    largest = np.maximum(above.max(axis=0), -below.min(axis=0))
    scales: Array = np.where(largest <= _LEAST, np.float32(MOST), largest).astype(np.float32)
    scales /= np.float32(MOST)
    with np.errstate(invalid="ignore"):
        return np.rint(weight / scales).astype(np.int8), scales


def panels_of(numbers: npt.NDArray[np.int8], columns: int) -> npt.NDArray[np.int8]:
    """[inputs, outputs] to [outputs / columns, inputs / 4, columns, 4]."""
    inputs, outputs = numbers.shape
    apart = numbers.reshape(inputs // 4, 4, outputs // columns, columns)
    return np.ascontiguousarray(apart.transpose(2, 0, 3, 1))


def pack_int8(
    weight: Array, bias: Array, library: Library
) -> tuple[Linear, tuple[npt.NDArray[np.generic], ...]]:
    """A linear layer [inputs, outputs] of whole panels, and the arrays that it points to."""
    inputs, outputs = weight.shape
    numbers, scales = quantise_columns(weight)
    panels = panels_of(numbers, library.panel_columns)
    sums = numbers.sum(axis=0, dtype=np.int32)
    bias = np.ascontiguousarray(bias, np.float32)
    linear = Linear(
        inputs=inputs,
        outputs=outputs,
        panels=panels.ctypes.data,
        bias=bias.ctypes.data,
        scales=scales.ctypes.data,
        sums=sums.ctypes.data,
    )
    return linear, (panels, bias, scales, sums)
