"""The forward pass alone: the engine in the same processes on the same batches, nothing else.

The batches are those that a run makes of each split; they are shared out over the processes by
what they weigh, so this also has the better balance. The clock runs from the moment when all
processes stand ready to the end of the last one.
"""

from __future__ import annotations

import multiprocessing
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.job import Job
from embed_job.batch import distinct, plan_batches, take
from embed_job.bundle import open_bundle
from embed_job.chunk.chunker import Chunker
from embed_job.engine import Tokens
from embed_job.engine.onnx import OnnxEngine
from embed_job.plan import make_plan
from embed_job.records import Document
from embed_job.source.reader import SplitReader
from embed_job.spec.file import load_spec
from embed_job.storage import store_for
from embed_job.tokenizer import Tokenizer, use_one_thread

_START_TIMEOUT_S = 300


def make_batches(job: Job) -> list[Tokens]:
    """The batches that a job's run gives its engine, of all splits."""
    spec = load_spec(job.write_spec(), job.overrides)
    plan = make_plan(spec)
    bundle = open_bundle(spec.model.bundle, verify=False)
    chunker = Chunker(
        Tokenizer(bundle),
        strategy=spec.chunk.strategy,
        max_tokens=plan.dataset.max_tokens,
        overlap_tokens=spec.chunk.overlap_tokens,
    )
    source = store_for(spec.input.uri)
    batches = []
    for split in plan.splits.values():
        reader = SplitReader(source, split, spec.input, plan.dataset.columns)
        documents = (record for record in reader if isinstance(record, Document))
        size = int(spec.execution.window_mib * (1 << 20))
        for window in chunker.iter_windows(documents, window_bytes=size):
            unique = take(window.tokens, distinct(window.tokens)[0])
            indices = plan_batches(unique.lengths, batch_tokens=spec.execution.batch_tokens)
            batches += [take(unique, index) for index in indices]
    return batches


def forward_seconds(
    batches: list[Tokens], *, bundle: Path, processes: int, threads: int, precision: str = "fp32"
) -> float:
    """Seconds that the processes together take to embed all batches."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(processes)
    results: Any = context.SimpleQueue()
    started: list[BaseProcess] = []
    for share in _shares(batches, processes):
        arguments = (str(bundle), precision, threads, share, barrier, results)
        started.append(context.Process(target=_embed_all, args=arguments))
        started[-1].start()
    for process in started:
        process.join()
    if any(process.exitcode for process in started):
        raise RuntimeError("a process of the forward pass failed")
    spans = [results.get() for _ in started]
    return float(max(end for _, end in spans) - min(begin for begin, _ in spans))


def _shares(batches: list[Tokens], processes: int) -> list[list[Tokens]]:
    """Batches by process, the heaviest first to whoever has least; each in the order given."""
    weights = [len(batch) * int(batch.lengths.max(initial=0)) for batch in batches]
    loads = [0] * processes
    chosen: list[list[int]] = [[] for _ in range(processes)]
    for at in np.argsort(-np.array(weights), kind="stable").tolist():
        least = loads.index(min(loads))
        loads[least] += weights[at]
        chosen[least].append(at)
    return [[batches[at] for at in sorted(share)] for share in chosen]


def _embed_all(
    bundle: str, precision: str, threads: int, share: list[Tokens], barrier: Any, results: Any
) -> None:
    use_one_thread()
    opened = open_bundle(Path(bundle), precision=precision, verify=False)
    engine = OnnxEngine(opened, precision=precision, threads=threads)
    engine.embed(share[0])
    barrier.wait(_START_TIMEOUT_S)
    begin = time.perf_counter()
    for batch in share:
        engine.embed(batch)
    results.put((begin, time.perf_counter()))
