"""sentence-transformers: ``encode``, which sorts by length, on the back end of the variant.

torch: one process, a thread a core. pool: its multi-process pool, a process a core or GPU.
onnx: ONNX Runtime on a graph that its own ``export_optimized_onnx_model`` made.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.peers.task import Loaded, Task, in_memory, main

_IDS_AT_A_TIME = 64


def load(task: Task) -> Loaded:
    """The model, and its pool where there is one, warm."""
    if task.variant == "onnx":
        model = _load_onnx(task)
        return _loaded(model, {})
    if task.variant == "pool" and task.device == "cpu":
        # Read by the processes of the pool when they import torch.
        os.environ["OMP_NUM_THREADS"] = "1"
    model = load_torch(task, threads=task.cores)
    options: dict[str, Any] = {}
    if task.variant == "pool":
        devices = ["cpu"] * task.cores if task.device == "cpu" else None
        options["pool"] = model.start_multi_process_pool(devices)
        # Until each process has imported and answered.
        model.encode(["ready"] * 64 * len(options["pool"]["processes"]), chunk_size=1, **options)
    return _loaded(model, options)


def load_torch(task: Task, *, threads: int) -> Any:
    """The model on torch, in the task's precision and on its device."""
    import torch
    from sentence_transformers import SentenceTransformer

    if task.device == "cpu":
        torch.set_num_threads(threads)
    kind = "float16" if task.precision == "fp16" else "float32"
    return SentenceTransformer(
        task.model, device=task.device, model_kwargs={"torch_dtype": kind}, local_files_only=True
    )


def token_ids(model: Any, texts: list[str]) -> Iterator[list[int]]:
    """Token ids that the model is given for each text, padding taken off."""
    preprocess = getattr(model, "preprocess", model.tokenize)  # the name until release 5
    for begin in range(0, len(texts), _IDS_AT_A_TIME):
        features = preprocess(texts[begin : begin + _IDS_AT_A_TIME])
        rows = zip(features["input_ids"].tolist(), features["attention_mask"].tolist(), strict=True)
        yield from ([i for i, seen in zip(ids, mask, strict=True) if seen] for ids, mask in rows)


def _loaded(model: Any, options: dict[str, Any]) -> Loaded:
    def encode(texts: list[str], batch_size: int) -> Any:
        return model.encode(texts, batch_size=batch_size, show_progress_bar=False, **options)

    return Loaded(in_memory(encode), lambda texts: token_ids(model, texts))


def _load_onnx(task: Task) -> Any:
    import onnxruntime
    from sentence_transformers import SentenceTransformer

    session = onnxruntime.SessionOptions()
    session.intra_op_num_threads = task.cores
    graph = sorted(Path(task.model, "onnx").glob("model_O*.onnx"))[-1]
    options = {
        "provider": "CPUExecutionProvider",
        "file_name": f"onnx/{graph.name}",
        "session_options": session,
    }
    return SentenceTransformer(
        task.model, backend="onnx", model_kwargs=options, local_files_only=True
    )


if __name__ == "__main__":
    main(
        __doc__ or "",
        variants=("torch", "pool", "onnx"),
        packages=("sentence-transformers", "transformers", "torch"),
        load=load,
    )
