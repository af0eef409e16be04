"""int8 as a graph, for architectures that the native engine does not know."""

from __future__ import annotations

import logging
from pathlib import Path

import onnx


def write_int8(source: Path, target: Path) -> None:
    """Quantise a graph's matrix products, weights by channel and activations as they come.

    reduce_range keeps weights in 7 bits: AVX2 adds pairs of products in 16 bits, which overflow
    with 8. Processors with VNNI would not need it, but a bundle runs anywhere.
    """
    from embed_job.engine.onnx import refuse_telemetry

    refuse_telemetry()
    from onnxruntime.quantization import QuantType, quantize_dynamic

    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it advises preprocessing, which these operators don't need
    try:
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
            use_external_data_format=True,
        )
    finally:
        root.setLevel(level)
    target.with_suffix(".onnx.data").chmod(0o644)
