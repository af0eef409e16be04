"""int8 added to a bundle: smaller numbers, faster, lossy, and labelled so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from embed_job.bundle import Bundle, graph_file
from embed_job.bundle.encoder import is_known
from embed_job.bundle.golden import cosines, embed_golden, save_golden
from embed_job.bundle.golden_texts import golden_texts
from embed_job.bundle.proof import make_golden
from embed_job.engine.onnx import OnnxEngine
from embed_job.errors import BundleError
from embed_job.tokenizer import Tokenizer

if TYPE_CHECKING:
    from embed_job.engine import Engine


@dataclass(frozen=True, slots=True)
class Loss:
    """Cosines of int8 against fp32 over a sample."""

    texts: int
    mean: float
    least: float


def add_int8(bundle: Bundle, sample: Sequence[str] | None) -> Loss:
    """Add what int8 needs to a bundle's folder, bundle.json apart; its loss over the sample.

    Golden vectors alone where the native engine knows the architecture: it makes its integers of
    the fp32 weights. Else a graph for ONNX Runtime too. sample: None for the golden texts.
    BundleError where this machine can't make them.
    """
    tokenizer = Tokenizer(bundle)
    lossy = _engine(bundle)
    save_golden(bundle.path, "int8", make_golden(bundle, lossy, tokenizer))
    exact = OnnxEngine(bundle, precision="fp32", threads=1)
    texts = golden_texts(()) if sample is None else sample
    limit = bundle.max_tokens
    found = [
        cosines(left, right)
        for left, right in zip(
            embed_golden(texts, exact, tokenizer, max_tokens=limit),
            embed_golden(texts, lossy, tokenizer, max_tokens=limit),
            strict=True,
        )
    ]
    values = np.concatenate(found)
    return Loss(len(values), float(values.mean()), float(values.min()))


def _engine(bundle: Bundle) -> Engine:
    if is_known(bundle.info.architecture):
        return _native(bundle)
    from embed_job.bundle.quantize import write_int8

    write_int8(bundle.path / graph_file("fp32"), bundle.path / graph_file("int8"))
    return OnnxEngine(bundle, precision="int8", threads=1)


def _native(bundle: Bundle) -> Engine:
    from embed_job.engine import native

    reason = native.why_not(bundle, precision="int8")
    if reason is not None:
        raise BundleError(
            "--precision int8",
            f"is made by the native engine, which can't run here: {reason}",
            "Make the bundle on another machine: embed-job doctor says whether it can.",
        )
    return native.NativeEngine(bundle, precision="int8", threads=1)
