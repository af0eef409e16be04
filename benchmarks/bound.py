"""The bound of a forward pass on these cores: the best rate of the model's own matrix products.

NumPy, torch, ONNX Runtime and our kernel multiply the four shapes of a layer, on all cores at
once: a process a core with one thread each, and one process with a thread a core. The best of all
is the bound; what a model does beside its products (attention, norms, activations) is not in it.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

LIBRARIES = ("numpy", "torch", "onnxruntime", "embed-job")
ROWS = (192, 1024)
_LEAST_S = 0.4
_REPEATS = 2
_START_TIMEOUT_S = 300
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class Shapes:
    """Of a BERT-like encoder."""

    layers: int
    hidden: int
    wide: int

    @property
    def products(self) -> tuple[tuple[int, int], ...]:
        """Inputs and outputs of a layer's products: query, key and value; attention; up; down."""
        hidden, wide = self.hidden, self.wide
        return (hidden, 3 * hidden), (hidden, hidden), (hidden, wide), (wide, hidden)

    @property
    def flops_a_token(self) -> int:
        """Of all layers' products: two for each number of a matrix."""
        return 2 * self.layers * sum(inputs * outputs for inputs, outputs in self.products)


@dataclass(frozen=True, slots=True)
class Rate:
    """flops_a_s of all cores together, with that library, rows a product and threads."""

    flops_a_s: float
    library: str
    rows: int
    layout: str

    def __str__(self) -> str:
        return (
            f"{self.flops_a_s / 1e9:.0f} GFLOP/s ({self.library}, {self.rows} rows, {self.layout})"
        )


def shapes_of(model: Path) -> Shapes:
    """Of a model's folder."""
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    return Shapes(config["num_hidden_layers"], config["hidden_size"], config["intermediate_size"])


def product_rates(shapes: Shapes, *, cores: int, quick: bool = False) -> list[Rate]:
    """Every library, number of rows and layout; the best first. quick: one of rows and layouts."""
    rows = ROWS[:1] if quick else ROWS
    found: list[Rate] = []
    layouts = list(dict.fromkeys(((cores, 1), (1, cores))))
    for processes, threads in layouts[: 1 if quick else None]:
        found += _measure(shapes, rows, processes, threads)
    return sorted(found, key=lambda rate: -rate.flops_a_s)


def _measure(shapes: Shapes, rows: tuple[int, ...], processes: int, threads: int) -> list[Rate]:
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ |= dict.fromkeys(_THREADS, str(threads))
    context = multiprocessing.get_context("spawn")
    barrier: Any = context.Barrier(processes)
    results: Any = context.SimpleQueue()
    workers = [
        context.Process(target=_work, args=(shapes, rows, threads, barrier, results))
        for _ in range(processes)
    ]
    for worker in workers:
        worker.start()
    each = [results.get() for _ in workers]
    for worker in workers:
        worker.join()
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})
    layout = f"{processes} × {threads} thread{'s' if threads > 1 else ''}"
    return [
        Rate(_together([spans[key] for spans in each]), *key, layout)
        for key in each[0]
        if all(key in spans for spans in each)
    ]


def _together(runs: list[list[tuple[float, float, float]]]) -> float:
    """The best rate of all processes at once. runs: by process, (flops, begin, end) by repeat."""
    return max(
        sum(flops for flops, _, _ in repeat)
        / (max(end for _, _, end in repeat) - min(begin for _, begin, _ in repeat))
        for repeat in zip(*runs, strict=True)
    )


Spans = dict[tuple[str, int], list[tuple[float, float, float]]]


def _work(shapes: Shapes, rows: tuple[int, ...], threads: int, barrier: Any, results: Any) -> None:
    makers: dict[str, Callable[[Shapes, int, int], Callable[[], object] | None]] = {
        "numpy": _numpy,
        "torch": _torch,
        "onnxruntime": _onnxruntime,
        "embed-job": _native,
    }
    spans: Spans = {}
    for name, maker in makers.items():
        for count in rows:
            multiply = maker(shapes, count, threads)
            if multiply is None:
                continue
            multiply()
            flops = float(count * shapes.flops_a_token // shapes.layers)
            spans[name, count] = []
            for _ in range(_REPEATS):
                barrier.wait(_START_TIMEOUT_S)
                spans[name, count].append(_timed(multiply, flops))
    results.put(spans)


def _timed(multiply: Callable[[], object], flops: float) -> tuple[float, float, float]:
    done, begin = 0.0, time.perf_counter()
    while True:
        multiply()
        done += flops
        now = time.perf_counter()
        if now - begin >= _LEAST_S:
            return done, begin, now


def _operands(shapes: Shapes, rows: int) -> list[tuple[Any, Any]]:
    """Of each product: what is multiplied, float32 [rows, inputs], and with what."""
    rng = np.random.default_rng(0)
    return [
        (
            rng.standard_normal((rows, inputs), np.float32),
            rng.standard_normal((inputs, outputs), np.float32),
        )
        for inputs, outputs in shapes.products
    ]


def _numpy(shapes: Shapes, rows: int, _: int) -> Callable[[], object]:
    ready = [(a, b, np.empty((rows, b.shape[1]), np.float32)) for a, b in _operands(shapes, rows)]
    return lambda: [np.matmul(a, b, out=out) for a, b, out in ready]


def _torch(shapes: Shapes, rows: int, threads: int) -> Callable[[], object]:
    import torch

    torch.set_num_threads(threads)
    ready = [
        (torch.from_numpy(a), torch.from_numpy(b), torch.empty(rows, b.shape[1]))
        for a, b in _operands(shapes, rows)
    ]
    return lambda: [torch.mm(a, b, out=out) for a, b, out in ready]


def _onnxruntime(shapes: Shapes, rows: int, threads: int) -> Callable[[], object]:
    from embed_job.engine.onnx import refuse_telemetry

    refuse_telemetry()
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    operands = _operands(shapes, rows)
    nodes = [helper.make_node("MatMul", [f"a{n}", f"b{n}"], [f"c{n}"]) for n in range(4)]
    graph = helper.make_graph(
        nodes,
        "products",
        [helper.make_tensor_value_info(f"a{n}", TensorProto.FLOAT, a.shape)
         for n, (a, _) in enumerate(operands)],
        [helper.make_tensor_value_info(f"c{n}", TensorProto.FLOAT, (rows, b.shape[1]))
         for n, (_, b) in enumerate(operands)],
        [numpy_helper.from_array(b, f"b{n}") for n, (_, b) in enumerate(operands)],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        onnx.ModelProto.SerializeToString(model), options, ["CPUExecutionProvider"]
    )
    given = {f"a{n}": a for n, (a, _) in enumerate(operands)}
    return lambda: session.run(None, given)


def _native(shapes: Shapes, rows: int, threads: int) -> Callable[[], object] | None:
    """None where our kernels were not compiled for this processor, or would need more threads."""
    from embed_job.engine.native.library import Target, load_library
    from embed_job.engine.native.pack import pack_fp32

    library = load_library()
    if library is None or threads > 1:
        return None
    ready, kept = [], []
    for a, b in _operands(shapes, rows):
        outputs = b.shape[1]
        linear, arrays = pack_fp32(b, np.zeros(outputs, np.float32), library)
        out = np.empty((rows, outputs), np.float32)
        target = Target(out=out.ctypes.data, stride=outputs, block=outputs)
        ready.append((a.ctypes.data, a.shape[1], linear, target))
        kept.append((a, arrays, out))

    def multiply() -> object:
        for address, stride, linear, target in ready:
            library.handle.multiply_fp32(rows, address, stride, linear, target)
        return kept

    return multiply
