"""The native engine: a BERT-like encoder in C kernels of our own, without padding."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from embed_job.bundle import Bundle
    from embed_job.engine.native.engine import NativeEngine

__all__ = ["NativeEngine", "can_run", "why_not"]

PRECISIONS = ("fp32", "int8")


def can_run(bundle: Bundle, *, precision: str) -> bool:
    """Whether the native engine runs that bundle on this machine."""
    return why_not(bundle, precision=precision) is None


def why_not(bundle: Bundle, *, precision: str) -> str | None:
    """What keeps the native engine from running that bundle here, for a user; None: nothing."""
    from embed_job.bundle import graph_file
    from embed_job.bundle.encoder import is_known
    from embed_job.bundle.mapped import is_mapped
    from embed_job.engine.native.library import load_library

    if precision not in PRECISIONS:
        return f"it computes in {' or '.join(PRECISIONS)}, not in {precision}"
    if not is_known(bundle.info.architecture):
        return f"it does not know the architecture {bundle.info.architecture}"
    if precision == "int8" and graph_file("int8") in bundle.info.files:
        return "the bundle's int8 is a graph of ONNX Runtime's own"
    if not is_mapped(bundle.path):
        return "the bundle was made by an older version (embed-job bundle makes it again)"
    if load_library() is None:
        return "it has no kernels for this processor, or of another version (make compiles them)"
    return None


def __getattr__(name: str) -> object:
    """NativeEngine, imported when it is first asked for."""
    if name != "NativeEngine":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from embed_job.engine.native.engine import NativeEngine

    return NativeEngine
