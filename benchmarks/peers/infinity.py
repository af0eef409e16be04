"""infinity-emb: its asynchronous engine in this process, which batches and sorts what waits.

optimum: ONNX Runtime, what it advises for CPUs. torch: what it advises for GPUs.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.peers.task import MAX_TOKENS, Loaded, Ran, Task, in_memory, main


def load(task: Task) -> Loaded:
    """The engine, warmed up by itself."""
    folder = task.model
    if task.variant == "optimum":
        # It names a local folder's graph by a path that its own loader takes for one inside that
        # folder.
        os.chdir(folder)
        folder = "."
    import torch
    from infinity_emb import AsyncEmbeddingEngine, EngineArgs
    from transformers import AutoTokenizer

    if task.device == "cpu":
        torch.set_num_threads(task.cores)
    loop = asyncio.new_event_loop()
    running: dict[int, Any] = {}

    def stop() -> None:
        for engine in running.values():
            loop.run_until_complete(engine.astop())
        running.clear()

    def engine_of(batch_size: int) -> Any:
        """The engine for a batch size; another one that runs is ended first."""
        if batch_size not in running:
            stop()
            engine = AsyncEmbeddingEngine.from_args(
                EngineArgs(
                    model_name_or_path=folder,
                    engine=task.variant,
                    device=task.device,
                    dtype="float16" if task.precision == "fp16" else "float32",
                    pooling_method="mean",
                    batch_size=batch_size,
                    lengths_via_tokenize=False,
                    # Its own optimising fails with the optimum that it installs; the graph is
                    # optimised already.
                    onnx_disable_optimize=True,
                )
            )
            loop.run_until_complete(engine.astart())
            running[batch_size] = engine
        return running[batch_size]

    def encode(texts: list[str], batch_size: int) -> Any:
        vectors, _ = loop.run_until_complete(engine_of(batch_size).embed(sentences=texts))
        return np.asarray(vectors, np.float32)

    job = in_memory(encode)

    def run(task: Task) -> Ran:
        engine_of(task.batch_size)
        return job(task)

    tokenizer = AutoTokenizer.from_pretrained(folder)

    def token_ids(texts: list[str]) -> Iterator[list[int]]:
        yield from tokenizer(texts, truncation=True, max_length=MAX_TOKENS)["input_ids"]

    engine_of(task.batch_size)
    return Loaded(run, token_ids, stop)


if __name__ == "__main__":
    main(
        __doc__ or "",
        variants=("optimum", "torch"),
        packages=("infinity-emb", "torch", "transformers"),
        load=load,
    )
