"""An encoder's weights in the shape that the kernels read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from embed_job.bundle.encoder import Encoder, Layer, Norm, relative_buckets
from embed_job.bundle.encoder import Linear as Weights
from embed_job.bundle.files import Array
from embed_job.engine.native import library as kernels
from embed_job.engine.native.library import Library
from embed_job.engine.native.pack_int8 import pack_int8

CHUNK_ROWS = 192
"""Rows that go through a layer together: they and what is made of them fit the second-level cache,
and a panel of weights serves many tiles."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A model for the kernels. arrays: the memory that it points to."""

    model: kernels.Model
    arrays: tuple[object, ...]


def pack_model(encoder: Encoder, library: Library, *, pooling: str, precision: str) -> Packed:
    """The model of an encoder. Its words stay where they are; everything else is copied."""
    packer = _Packer(encoder, library, precision)
    layers = (kernels.Layer * len(encoder.layers))(*map(packer.layer, encoder.layers))
    width = packer.head_width
    model = kernels.Model(
        precision=kernels.PRECISIONS[precision],
        pooling=kernels.POOLINGS[pooling],
        activation=kernels.ACTIVATIONS[encoder.activation],
        hidden=encoder.words.shape[1],
        hidden_stride=library.handle.spread_columns(packer.hidden),
        heads=encoder.heads,
        head_width=width,
        head_stride=library.up_to_panels(width),
        layers=len(encoder.layers),
        chunk_rows=CHUNK_ROWS,
        position_rows=len(encoder.positions),
        positions_pad=-1 if encoder.positions_pad is None else encoder.positions_pad,
        epsilon=encoder.epsilon,
        layer=layers,
        words=packer.keep(encoder.words),
        positions=packer.keep(encoder.positions),
        gamma=packer.norm(encoder.norm)[0],
        beta=packer.norm(encoder.norm)[1],
        relative=None
        if encoder.relative_bias is None
        else packer.keep(_by_distance(encoder.relative_bias, len(encoder.positions))),
    )
    return Packed(model, (*packer.arrays, layers))


class _Packer:
    """Fills up and packs weights; holds the arrays whose addresses it has given away."""

    def __init__(self, encoder: Encoder, library: Library, precision: str) -> None:
        self._library = library
        self._heads = encoder.heads
        self._pack = {"fp32": pack_fp32, "int8": pack_int8}[precision]
        self.head_width = encoder.words.shape[1] // encoder.heads
        self.hidden = library.up_to_panels(encoder.words.shape[1])
        self.arrays: list[object] = []

    def keep(self, array: npt.NDArray[Any]) -> int:
        """The address of an array's numbers, which stay as long as the model."""
        whole = np.ascontiguousarray(array)
        self.arrays.append(whole)
        return int(whole.ctypes.data)

    def norm(self, norm: Norm) -> tuple[int, int]:
        """Addresses of gamma and beta, filled up with zeros."""
        return self.keep(_fill(norm.gamma, self.hidden)), self.keep(_fill(norm.beta, self.hidden))

    def layer(self, layer: Layer) -> kernels.Layer:
        """A layer; each head's columns begin at a panel of their own."""
        wide = self._library.up_to_panels(layer.up.weight.shape[1])
        attention = self._spread_heads(layer.attention.weight.T).T
        attention_norm, output_norm = self.norm(layer.attention_norm), self.norm(layer.output_norm)
        return kernels.Layer(
            qkv=self._linear(
                _fill(self._spread_heads(layer.qkv.weight), self.hidden, axis=0),
                self._spread_heads(layer.qkv.bias[None])[0],
            ),
            attention=self._linear(
                _fill(attention, self.hidden, axis=1), _fill(layer.attention.bias, self.hidden)
            ),
            up=self._filled(layer.up, self.hidden, wide),
            down=self._filled(layer.down, wide, self.hidden),
            attention_gamma=attention_norm[0],
            attention_beta=attention_norm[1],
            output_gamma=output_norm[0],
            output_beta=output_norm[1],
        )

    def _filled(self, linear: Weights, rows: int, columns: int) -> kernels.Linear:
        weight = _fill(_fill(linear.weight, rows, axis=0), columns, axis=1)
        return self._linear(weight, _fill(linear.bias, columns))

    def _linear(self, weight: Array, bias: Array) -> kernels.Linear:
        linear, arrays = self._pack(weight, bias, self._library)
        self.arrays += arrays
        return linear

    def _spread_heads(self, weight: Array) -> Array:
        """Columns [rows, n * heads * width] with each head filled up to whole panels."""
        width = self.head_width
        heads = weight.reshape(len(weight), -1, width)
        return _fill(heads, self._library.up_to_panels(width), axis=2).reshape(len(weight), -1)


def pack_fp32(
    weight: Array, bias: Array, library: Library
) -> tuple[kernels.Linear, tuple[object, ...]]:
    """A linear layer [inputs, outputs] of whole panels, and the arrays that it points to."""
    inputs, outputs = weight.shape
    columns = library.panel_columns
    split = weight.reshape(inputs, outputs // columns, columns)
    panels = np.ascontiguousarray(split.transpose(1, 0, 2), np.float32)
    bias = np.ascontiguousarray(bias, np.float32)
    linear = kernels.Linear(
        inputs=inputs, outputs=outputs, panels=panels.ctypes.data, bias=bias.ctypes.data
    )
    return linear, (panels, bias)


def _fill(array: Array, size: int, *, axis: int = 0) -> Array:
    """The array with zeros after it, up to size along axis."""
    missing = [(0, 0)] * array.ndim
    missing[axis] = (0, size - array.shape[axis])
    return np.pad(array, missing)


def _by_distance(relative_bias: Array, rows: int) -> Array:
    """MPNet's bias [heads, 2 * rows - 1]: column d + rows - 1 for keys d places after a query."""
    buckets = relative_buckets(rows)
    # A query in the last row sees keys 0 to rows - 1 places before it, one in the first after it.
    by_distance = np.concatenate([buckets[-1], buckets[0, 1:]])
    bias: Array = relative_bias[:, by_distance]
    return bias
