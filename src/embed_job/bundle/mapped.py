"""The weights beside a graph: one safetensors file that ONNX Runtime and the kernels both map.

ONNX wants tensors at offsets of a file, safetensors is tensors at offsets of a file with a header
before them; so the file that the graph refers to tells by itself what is in it, and an image needs
the weights once. Tensors have the names of their roles, as bundle/graph.py gives them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from embed_job.bundle.encoder import Encoder, Layer, Linear, Norm
from embed_job.bundle.files import Array
from embed_job.bundle.info import Dense, HeadStep
from embed_job.errors import BundleError

MAPPED_FILE = "model.onnx.data"
_KIND = "embed-job-encoder-1"
_PAGE_BYTES = 4096
_ALIGN_BYTES = 64
_MAX_HEADER_BYTES = 2**24
_TYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "I32": np.dtype("<i4"),
    "I64": np.dtype("<i8"),
}
_NAMES = {dtype: name for name, dtype in _TYPES.items()}


@dataclass(frozen=True, slots=True)
class Mapped:
    """An encoder and the Dense layers of its head. Their arrays are the file's own pages, which
    all processes of a machine share; they can't be written to."""

    encoder: Encoder
    dense: tuple[Linear, ...]


def write_tensors(
    path: Path, tensors: Mapping[str, npt.NDArray[Any]], settings: Mapping[str, str]
) -> dict[str, int]:
    """Write a safetensors file; the offset of each tensor in it, in bytes.

    settings: what the tensors alone don't tell, which goes into the header. The first tensor lies
    at a page's beginning, each whose size is a multiple of 64 bytes at a multiple of 64.
    """
    # safetensors allows no gaps, so the odd sizes come last.
    order = sorted(
        tensors,
        key=lambda name: (tensors[name].nbytes % _ALIGN_BYTES > 0, -tensors[name].itemsize),
    )
    header: dict[str, Any] = {"__metadata__": dict(settings)}
    starts: dict[str, int] = {}
    end = 0
    for name in order:
        tensor = tensors[name]
        starts[name], end = end, end + tensor.nbytes
        header[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": tensor.shape,
            "data_offsets": (starts[name], end),
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % _PAGE_BYTES)
    with path.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            stream.write(np.ascontiguousarray(tensors[name]).data)
    return {name: 8 + len(text) + start for name, start in starts.items()}


def encoder_settings(encoder: Encoder) -> dict[str, str]:
    """What an encoder has beside its weights, as the header holds it."""
    return {
        "kind": _KIND,
        "layers": str(len(encoder.layers)),
        "heads": str(encoder.heads),
        "epsilon": repr(float(encoder.epsilon)),
        "activation": encoder.activation,
        "positions_pad": "" if encoder.positions_pad is None else str(encoder.positions_pad),
    }


def is_mapped(folder: Path) -> bool:
    """Whether a bundle's weights can be read by read_mapped; those of older bundles can't."""
    path = folder / MAPPED_FILE
    try:
        return bool(_read_header(path)[0]["__metadata__"]["kind"] == _KIND)
    except (OSError, BundleError, LookupError, TypeError):
        return False


def read_mapped(folder: Path, head: Sequence[HeadStep]) -> Mapped:
    """The encoder of a bundle, and the Dense layers of that head.

    BundleError where the file is damaged, or is not what write_tensors made of an encoder.
    """
    path = folder / MAPPED_FILE
    try:
        header, begin = _read_header(path)
        settings = header.pop("__metadata__")
        tensors = _Tensors(path, header, begin)
        encoder = _encoder(settings, tensors)
        _check_shapes(encoder)
        dense = tuple(
            Linear(tensors[f"head{number}.weight"], tensors[f"head{number}.bias"])
            for number, step in enumerate(head)
            if isinstance(step, Dense)
        )
    except (OSError, LookupError, TypeError, ArithmeticError, ValueError, AttributeError) as error:
        raise _damaged(path) from error
    return Mapped(encoder, dense)


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    """The header, and where the tensors begin."""
    with path.open("rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        text = stream.read(size) if size <= _MAX_HEADER_BYTES else b""
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _damaged(path) from error
    if not isinstance(header, dict):
        raise _damaged(path)
    return header, 8 + size


class _Tensors:
    """The tensors of a file by name, mapped."""

    def __init__(self, path: Path, header: dict[str, Any], begin: int) -> None:
        self._header = header
        self._bytes = np.asarray(np.memmap(path, np.uint8, "r"))[begin:]

    def __getitem__(self, name: str) -> Array:
        entry = self._header[name]
        start, end = entry["data_offsets"]
        if not 0 <= start <= end <= len(self._bytes):
            raise ValueError(f"{name} lies outside the file")
        values = self._bytes[start:end].view(_TYPES[entry["dtype"]])
        tensor: Array = values.reshape(entry["shape"])
        return tensor

    def get(self, name: str) -> Array | None:
        return self[name] if name in self._header else None

    def linear(self, weight: str, bias: str) -> Linear:
        return Linear(self[f"{weight}.weight"], self[f"{bias}.bias"])

    def norm(self, name: str) -> Norm:
        return Norm(self[f"{name}.gamma"], self[f"{name}.beta"])


def _encoder(settings: Mapping[str, str], tensors: _Tensors) -> Encoder:
    pad = settings["positions_pad"]
    return Encoder(
        words=tensors["words"],
        positions=tensors["positions"],
        norm=tensors.norm("embeddings_norm"),
        layers=tuple(_layer(f"layer{n}", tensors) for n in range(int(settings["layers"]))),
        heads=int(settings["heads"]),
        epsilon=float(settings["epsilon"]),
        activation=settings["activation"],
        positions_pad=int(pad) if pad else None,
        relative_bias=tensors.get("relative_bias"),
    )


def _layer(name: str, tensors: _Tensors) -> Layer:
    # The graph's fused operators add these two biases with the norm that follows.
    return Layer(
        qkv=tensors.linear(f"{name}.qkv", f"{name}.qkv"),
        attention=tensors.linear(f"{name}.mixed", f"{name}.attention_norm"),
        attention_norm=tensors.norm(f"{name}.attention_norm"),
        up=tensors.linear(f"{name}.up", f"{name}.up"),
        down=tensors.linear(f"{name}.down", f"{name}.output_norm"),
        output_norm=tensors.norm(f"{name}.output_norm"),
    )


def _check_shapes(encoder: Encoder) -> None:
    """ValueError where parts don't fit together: the kernels would read past their ends."""
    hidden = encoder.words.shape[1]
    wide = encoder.layers[0].up.weight.shape[1]
    rows = len(encoder.positions)
    pairs = [(encoder.positions, (rows, hidden)), *_norm_shapes(encoder.norm, hidden)]
    for layer in encoder.layers:
        pairs += _linear_shapes(layer.qkv, hidden, 3 * hidden)
        pairs += _linear_shapes(layer.attention, hidden, hidden)
        pairs += _linear_shapes(layer.up, hidden, wide)
        pairs += _linear_shapes(layer.down, wide, hidden)
        pairs += _norm_shapes(layer.attention_norm, hidden)
        pairs += _norm_shapes(layer.output_norm, hidden)
    if encoder.relative_bias is not None:
        pairs.append((encoder.relative_bias, (encoder.heads, 32)))
    pad = encoder.positions_pad
    if (
        any(array.shape != shape or array.dtype != np.float32 for array, shape in pairs)
        or encoder.words.dtype != np.float32
        or encoder.words.ndim != 2
        or not hidden
        or encoder.heads < 1
        or hidden % encoder.heads
        or encoder.activation not in ("gelu", "relu")
        or (pad is not None and not 0 <= pad < rows)
    ):
        raise ValueError("the tensors' shapes do not fit together")


def _linear_shapes(linear: Linear, rows: int, columns: int) -> list[tuple[Array, tuple[int, ...]]]:
    return [(linear.weight, (rows, columns)), (linear.bias, (columns,))]


def _norm_shapes(norm: Norm, hidden: int) -> list[tuple[Array, tuple[int, ...]]]:
    return [(norm.gamma, (hidden,)), (norm.beta, (hidden,))]


def _damaged(path: Path) -> BundleError:
    return BundleError(str(path), "does not hold an encoder's weights", "Make the bundle again.")
