"""An encoder, its pooling and its head as one ONNX graph of ONNX Runtime's fused operators.

Inputs: ``ids`` int32 [texts, tokens], padded on the right; ``lengths`` int32 [texts]. Output:
``vectors`` float32 [texts, dimension]. Weights lie beside the graph in a file that ONNX Runtime
maps, so that there is no limit of 2 GB and workers share the pages they don't repack.
The native engine reads that file without the graph (bundle/mapped.py).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto

from embed_job.bundle.encoder import Encoder, Layer, Linear, Norm, relative_buckets
from embed_job.bundle.files import Array
from embed_job.bundle.graph_writer import GraphWriter
from embed_job.bundle.info import Dense, HeadStep, Pooling
from embed_job.bundle.mapped import encoder_settings


def write_graph(
    path: Path,
    encoder: Encoder,
    *,
    pooling: Pooling,
    head: tuple[HeadStep, ...],
    dense: list[Linear],
) -> int:
    """Write the graph to path and its weights to path + ``.data``; the vectors' dimension.

    dense holds the weights of each Dense of head, in order.
    """
    graph = GraphWriter()
    states = _embeddings(graph, encoder)
    bias = _relative_bias(graph, encoder, states)
    for number, layer in enumerate(encoder.layers):
        states = _layer(graph, encoder, layer, states, f"layer{number}", bias)
    pooled = _pool(graph, states, pooling)
    dimension = _head(graph, pooled, head, dense, encoder.words.shape[1])
    graph.save(path, dimension=dimension, settings=encoder_settings(encoder))
    return dimension


def _embeddings(graph: GraphWriter, encoder: Encoder) -> str:
    inputs = [
        "ids",
        "",
        graph.weight("words", encoder.words),
        graph.weight("positions", encoder.positions),
        "",
        *_norm(graph, encoder.norm, "embeddings_norm"),
    ]
    if encoder.positions_pad is not None:
        inputs += ["", _positions_after_pad(graph, encoder.positions_pad)]
    return graph.fused("EmbedLayerNormalization", inputs, "embeddings", epsilon=encoder.epsilon)


def _positions_after_pad(graph: GraphWriter, pad: int) -> str:
    """RoBERTa's positions: pad + the number of tokens so far that are not padding."""
    pad_id = graph.weight("pad_id", np.array(pad, np.int32))
    is_pad = graph.node("Equal", ["ids", pad_id], "is_pad")
    counts = graph.node("Cast", [graph.node("Not", [is_pad], "is_word")], "counts", to=6)
    total = graph.node("CumSum", [counts, graph.weight("axis", np.array(1, np.int64))], "total")
    rows = graph.node("Mul", [total, counts], "rows")
    return graph.node("Add", [rows, pad_id], "position_ids")


def _relative_bias(graph: GraphWriter, encoder: Encoder, states: str) -> str:
    """MPNet's bias [1, heads, tokens, tokens] by distance; "" for the others."""
    if encoder.relative_bias is None:
        return ""
    buckets = graph.weight("buckets", relative_buckets(len(encoder.positions)))
    tokens = graph.node("Shape", [states], "token_count", start=1, end=2)
    ends = graph.node("Concat", [tokens, tokens], "bucket_ends", axis=0)
    here = graph.node(
        "Slice", [buckets, graph.ints("zeros", 0, 0), ends, graph.ints("axes", 0, 1)], "here"
    )
    table = graph.weight("relative_bias", encoder.relative_bias)
    rows = graph.node("Gather", [table, here], "relative_rows", axis=1)
    return graph.node("Unsqueeze", [rows, graph.ints("first_axis", 0)], "attention_bias")


def _norm(graph: GraphWriter, norm: Norm, name: str) -> list[str]:
    return [graph.weight(f"{name}.gamma", norm.gamma), graph.weight(f"{name}.beta", norm.beta)]


def _layer(
    graph: GraphWriter, encoder: Encoder, layer: Layer, states: str, name: str, bias: str
) -> str:
    def matmul(value: str, weight: Array, part: str) -> str:
        return graph.node(
            "MatMul", [value, graph.weight(f"{name}.{part}.weight", weight)], f"{name}.{part}"
        )

    def add_and_norm(value: str, other: str, linear: Linear, norm: Norm, part: str) -> str:
        inputs = [value, other, *_norm(graph, norm, f"{name}.{part}")]
        inputs.append(graph.weight(f"{name}.{part}.bias", linear.bias))
        return graph.fused(
            "SkipLayerNormalization", inputs, f"{name}.{part}", epsilon=encoder.epsilon
        )

    attention = [
        states,
        graph.weight(f"{name}.qkv.weight", layer.qkv.weight),
        graph.weight(f"{name}.qkv.bias", layer.qkv.bias),
        "lengths",
        *(["", bias] if bias else []),
    ]
    mixed = graph.fused("Attention", attention, f"{name}.attention", num_heads=encoder.heads)
    mixed = matmul(mixed, layer.attention.weight, "mixed")
    states = add_and_norm(mixed, states, layer.attention, layer.attention_norm, "attention_norm")
    wide = matmul(states, layer.up.weight, "up")
    up_bias = graph.weight(f"{name}.up.bias", layer.up.bias)
    if encoder.activation == "gelu":
        wide = graph.fused("BiasGelu", [wide, up_bias], f"{name}.gelu")
    else:
        wide = graph.node(
            "Relu", [graph.node("Add", [wide, up_bias], f"{name}.add")], f"{name}.relu"
        )
    narrow = matmul(wide, layer.down.weight, "down")
    return add_and_norm(narrow, states, layer.down, layer.output_norm, "output_norm")


def _pool(graph: GraphWriter, states: str, pooling: Pooling) -> str:
    """states [texts, tokens, hidden] → [texts, hidden]; a text without tokens gives zeros."""
    if pooling == "cls":
        first = graph.weight("first", np.array(0, np.int64))
        return graph.node("Gather", [states, first], "pooled", axis=1)
    one = graph.weight("one", np.array(1, np.int32))
    zero = graph.weight("zero", np.array(0, np.int32))
    tokens = graph.node("Shape", [states], "pool_tokens", start=1, end=2)
    count = graph.node("Squeeze", [tokens], "pool_count")
    count = graph.node("Cast", [count], "pool_count32", to=TensorProto.INT32)
    places = graph.node("Range", [zero, count, one], "places")
    lengths = graph.node("Unsqueeze", ["lengths", graph.ints("column", 1)], "lengths_column")
    if pooling == "mean":
        chosen = graph.node("Less", [places, lengths], "chosen")
    else:
        last = graph.node("Sub", [lengths, one], "last")
        chosen = graph.node("Equal", [places, last], "chosen")
    mask = graph.node("Cast", [chosen], "pool_mask", to=TensorProto.FLOAT)
    rows = graph.node("Unsqueeze", [mask, graph.ints("middle", 1)], "pool_rows")
    summed = graph.node("MatMul", [rows, states], "pool_sum")
    summed = graph.node("Squeeze", [summed, graph.ints("squeezed", 1)], "pool_total")
    if pooling == "lasttoken":
        return summed
    size = graph.node("Cast", [graph.node("Max", [lengths, one], "size")], "sizes", to=1)
    return graph.node("Div", [summed, size], "pooled")


def _head(
    graph: GraphWriter, value: str, head: tuple[HeadStep, ...], dense: list[Linear], dimension: int
) -> int:
    layers = iter(dense)
    for number, step in enumerate(head):
        name = f"head{number}"
        if isinstance(step, Dense):
            linear = next(layers)
            weight = graph.weight(f"{name}.weight", linear.weight)
            product = graph.node("MatMul", [value, weight], f"{name}.product")
            value = graph.node("Add", [product, graph.weight(f"{name}.bias", linear.bias)], name)
            if step.activation == "tanh":
                value = graph.node("Tanh", [value], f"{name}.tanh")
            dimension = linear.weight.shape[1]
        else:
            axes = graph.ints(f"{name}.axes", 1)
            norm = graph.node("ReduceL2", [value, axes], f"{name}.norm", keepdims=1)
            # The smallest divisor is that of torch.nn.functional.normalize.
            least = graph.weight(f"{name}.least", np.array(1e-12, np.float32))
            value = graph.node(
                "Div", [value, graph.node("Max", [norm, least], f"{name}.size")], name
            )
    graph.node("Identity", [value], "vectors")
    return dimension
