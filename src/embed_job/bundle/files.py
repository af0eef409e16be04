"""Reading what strangers wrote: bounded, JSON and safetensors only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from embed_job.errors import BundleError

MAX_JSON_BYTES = 64 * 2**20
"""The largest tokenizer.json in common use has 17 MB."""
MAX_WEIGHTS_BYTES = 32 * 2**30

Array = npt.NDArray[np.float32]


def sha256_of(path: Path) -> str:
    """sha256 of a file's content, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_text(path: Path, *, max_bytes: int = MAX_JSON_BYTES) -> str:
    """A UTF-8 file as text; BundleError where it is missing, larger than max_bytes or not UTF-8."""
    try:
        if path.stat().st_size > max_bytes:
            raise BundleError(
                str(path), f"is larger than {max_bytes} bytes", "Is it the right file?"
            )
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise BundleError(
            str(path), f"can't be read ({error.strerror})", "Check the model folder."
        ) from error
    except UnicodeDecodeError as error:
        raise BundleError(str(path), "is not UTF-8", "Check the model folder.") from error


def read_json(path: Path) -> Any:
    """A JSON file's value; BundleError where it is missing, too large or malformed."""
    try:
        return json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise BundleError(str(path), "is not valid JSON", "Fetch the model again.") from error


def read_object(path: Path, *, optional: bool = False) -> dict[str, Any]:
    """A JSON object; the empty one where optional and the file is missing."""
    if optional and not path.exists():
        return {}
    value = read_json(path)
    if not isinstance(value, dict):
        raise BundleError(str(path), "is not a JSON object", "Fetch the model again.")
    return value


def read_tensors(path: Path) -> dict[str, Array]:
    """All floating-point tensors of a safetensors file, upcast to float32.

    BundleError where the file is missing, damaged or holds quantised weights.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise BundleError(str(path), "is missing", "Fetch the model again.")
    if path.stat().st_size > MAX_WEIGHTS_BYTES:
        raise BundleError(str(path), "is larger than 32 GiB", "Choose a smaller model.")
    tensors: dict[str, Array] = {}
    try:
        with safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118 - not a mapping
                dtype = file.get_slice(name).get_dtype()
                if dtype in _FLOATS:
                    tensors[name] = _float32(file, name, dtype)
                elif dtype not in _INTEGERS:
                    raise BundleError(
                        f"{path}: {name}",
                        f"has the type {dtype}",
                        "Only fp32, fp16 and bf16 can be bundled; choose such a checkpoint.",
                    )
    except SafetensorError as error:
        raise BundleError(
            str(path), f"is not a sound safetensors file ({error})", "Fetch the model again."
        ) from error
    return tensors


_FLOATS = frozenset(["F64", "F32", "F16", "BF16"])
_INTEGERS = frozenset(["I64", "I32", "U8", "BOOL"])
"""Buffers such as position_ids, which follow from the architecture."""


def _float32(file: Any, name: str, dtype: str) -> Array:
    if dtype == "BF16":
        import ml_dtypes  # noqa: F401 - gives numpy the type bfloat16
    tensor: Array = np.ascontiguousarray(file.get_tensor(name)).astype(np.float32)
    return tensor


def check_type(path: Path, values: Mapping[str, Any], key: str, kind: type) -> None:
    """BundleError where a key is there with another type."""
    if key in values and not isinstance(values[key], kind):
        raise BundleError(f"{path}: {key}", f"is not a {kind.__name__}", "Fetch the model again.")
