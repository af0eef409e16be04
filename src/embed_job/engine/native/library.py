"""The compiled kernels: found, loaded, and told to Python."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from embed_job.engine.native.compile import (
    LIBRARIES,
    VARIANTS,
    library_file,
    machine,
    sources_digest,
)

_SIZE = ctypes.c_int64
_POINTER = ctypes.c_void_p
PRECISIONS = {"fp32": 0, "int8": 1}
POOLINGS = {"mean": 0, "cls": 1, "lasttoken": 2}
ACTIVATIONS = {"none": 0, "gelu": 1, "relu": 2}


class Linear(ctypes.Structure):
    """``linear`` of kernels/model.h."""

    _fields_ = (
        ("inputs", _SIZE),
        ("outputs", _SIZE),
        ("panels", _POINTER),
        ("bias", _POINTER),
        ("scales", _POINTER),
        ("sums", _POINTER),
    )


class Target(ctypes.Structure):
    """``target`` of kernels/model.h."""

    _fields_ = (
        ("out", _POINTER),
        ("stride", _SIZE),
        ("block", _SIZE),
        ("block_step", _SIZE),
        ("residual", _POINTER),
        ("activation", _SIZE),
    )


class Layer(ctypes.Structure):
    """``layer`` of kernels/model.h."""

    _fields_ = (
        ("qkv", Linear),
        ("attention", Linear),
        ("up", Linear),
        ("down", Linear),
        ("attention_gamma", _POINTER),
        ("attention_beta", _POINTER),
        ("output_gamma", _POINTER),
        ("output_beta", _POINTER),
    )


class Model(ctypes.Structure):
    """``model`` of kernels/model.h."""

    _fields_ = (
        ("precision", _SIZE),
        ("pooling", _SIZE),
        ("activation", _SIZE),
        ("hidden", _SIZE),
        ("hidden_stride", _SIZE),
        ("heads", _SIZE),
        ("head_width", _SIZE),
        ("head_stride", _SIZE),
        ("layers", _SIZE),
        ("chunk_rows", _SIZE),
        ("position_rows", _SIZE),
        ("positions_pad", _SIZE),
        ("epsilon", ctypes.c_double),
        ("layer", ctypes.POINTER(Layer)),
        ("words", _POINTER),
        ("positions", _POINTER),
        ("gamma", _POINTER),
        ("beta", _POINTER),
        ("relative", _POINTER),
    )


_MODEL = ctypes.POINTER(Model)
_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "kernel_sources": (ctypes.c_char_p, ()),
    "panel_columns": (_SIZE, ()),
    "spread_columns": (_SIZE, (_SIZE,)),
    "workspace_bytes": (_SIZE, (_MODEL, _SIZE, _SIZE)),
    "forward": (None, (_MODEL, _SIZE, _POINTER, _POINTER, _POINTER, _POINTER)),
    "attention_scratch": (_SIZE, (_MODEL, _SIZE)),
    "attend": (None, (_MODEL, _SIZE, _POINTER, _SIZE, _POINTER, _SIZE, _POINTER)),
    "normalise": (None, (_MODEL, _SIZE, _POINTER, _POINTER, _POINTER)),
    "multiply_fp32": (
        None,
        (_SIZE, _POINTER, _SIZE, ctypes.POINTER(Linear), ctypes.POINTER(Target)),
    ),
    "multiply_int8_scratch": (_SIZE, (_SIZE, _SIZE)),
    "multiply_int8": (
        None,
        (_SIZE, _POINTER, _SIZE, ctypes.POINTER(Linear), ctypes.POINTER(Target), _POINTER),
    ),
}
"""Results and arguments of the functions that Python calls; tests call the stages one by one."""


@dataclass(frozen=True, slots=True)
class Library:
    """A loaded library. panel_columns: what columns are filled up to a multiple of."""

    variant: str
    handle: ctypes.CDLL
    panel_columns: int

    def up_to_panels(self, columns: int) -> int:
        """Columns of the whole panels that hold so many."""
        return -(-columns // self.panel_columns) * self.panel_columns


def runnable_variants() -> tuple[str, ...]:
    """The variants that are compiled and that this processor runs, the best first."""
    flags = _processor_flags()
    return tuple(
        variant.name
        for variant in VARIANTS
        if variant.machine == machine()
        and variant.needs <= flags
        and (LIBRARIES / library_file(variant.name)).is_file()
    )


@cache
def load_library(variant: str | None = None) -> Library | None:
    """The library of that variant, or the best; None where this machine can't load it."""
    names = runnable_variants()
    if not names or variant not in (None, *names):
        return None
    chosen = variant or names[0]
    return open_library(LIBRARIES / library_file(chosen), chosen)


def open_library(path: Path, variant: str) -> Library | None:
    """Load a file; None where it can't be, or was compiled of other sources than these: what it
    takes its arguments for would be another thing than what it is given."""
    try:
        handle = ctypes.CDLL(str(path))
    except OSError:
        # Another C library than it was compiled for, such as musl.
        return None
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(handle, name, None)
        if function is None:
            return None
        function.restype, function.argtypes = result, arguments
    if handle.kernel_sources() != sources_digest().encode():
        return None
    return Library(variant, handle, handle.panel_columns())


def _processor_flags() -> frozenset[str]:
    """What the system says the processor can do; nothing where it does not say."""
    if sys.platform != "linux":
        return frozenset()
    for line in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(("flags", "Features")):  # on x86, on Arm
            return frozenset(line.partition(":")[2].split())
    return frozenset()
