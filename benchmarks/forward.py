"""The forward pass alone: the engine in the same processes on the same batches, nothing else.

The batches are those that a run makes of each split; they are shared out over the processes by
what they weigh, so this also has the better balance. The clock runs from the moment when all
processes stand ready to the end of the last one.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from typing import Any

import numpy as np

from benchmarks.job import Job
from embed_job.batch import embed_windows
from embed_job.bundle import open_bundle
from embed_job.chunk.chunker import MIN_WINDOW_CHUNKS, Chunker
from embed_job.engine import Engine, Tokens, Vectors, load_engine
from embed_job.engine.facts import EngineFacts
from embed_job.plan import make_plan
from embed_job.records import Document
from embed_job.source.reader import SplitReader
from embed_job.spec import ModelSpec
from embed_job.spec.file import load_spec
from embed_job.storage import store_for
from embed_job.tokenizer import Tokenizer, use_one_thread

_START_TIMEOUT_S = 300


@dataclass(slots=True)
class _Notes:
    """An engine that keeps the batches it is given, in the size that another one wants them."""

    batch_tokens: int
    packs: bool
    facts: EngineFacts
    dimension: int = 1
    batches: list[Tokens] = field(default_factory=list)

    def embed(self, batch: Tokens) -> Vectors:
        self.batches.append(batch)
        return np.zeros((len(batch), 1), np.float32)

    def embed_each(self, batches: Iterable[Tokens]) -> Iterator[Vectors]:
        return map(self.embed, batches)

    def padded_tokens(self, batch: Tokens) -> int:
        return len(batch.ids)


def make_batches(job: Job) -> list[Tokens]:
    """The batches that a job's run gives its engine, of all splits."""
    spec = load_spec(job.write_spec(), job.overrides)
    plan = make_plan(spec)
    bundle = open_bundle(spec.model.bundle, precision=spec.model.precision, verify=False)
    engine = _load(spec.model, spec.execution.threads_per_worker)
    notes = _Notes(engine.batch_tokens, engine.packs, engine.facts)
    chunker = Chunker(
        Tokenizer(bundle),
        strategy=spec.chunk.strategy,
        max_tokens=plan.dataset.max_tokens,
        overlap_tokens=spec.chunk.overlap_tokens,
    )
    source = store_for(spec.input.uri)
    for split in plan.splits.values():
        reader = SplitReader(source, split, spec.input, plan.dataset.columns)
        windows = chunker.iter_windows(
            (record for record in reader if isinstance(record, Document)),
            window_bytes=int(spec.execution.window_mib * (1 << 20)),
            window_chunks=max(MIN_WINDOW_CHUNKS, engine.batch_tokens // 4),
        )
        for _ in embed_windows(windows, notes, batch_tokens=spec.execution.batch_tokens):
            pass
    return notes.batches


def forward_seconds(
    batches: list[Tokens], *, model: ModelSpec, processes: int, threads: int
) -> float:
    """Seconds that the processes together take to embed all batches."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(processes)
    results: Any = context.SimpleQueue()
    started: list[BaseProcess] = []
    for share in _shares(batches, processes):
        arguments = (model, threads, share, barrier, results)
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
    weights = [len(batch.ids) for batch in batches]
    loads = [0] * processes
    chosen: list[list[int]] = [[] for _ in range(processes)]
    for at in np.argsort(-np.array(weights), kind="stable").tolist():
        least = loads.index(min(loads))
        loads[least] += weights[at]
        chosen[least].append(at)
    return [[batches[at] for at in sorted(share)] for share in chosen]


def _load(model: ModelSpec, threads: int) -> Engine:
    bundle = open_bundle(model.bundle, precision=model.precision, verify=False)
    return load_engine(bundle, model, threads=threads)


def _embed_all(
    model: ModelSpec, threads: int, share: list[Tokens], barrier: Any, results: Any
) -> None:
    use_one_thread()
    engine = _load(model, threads)
    # First touches are loading, and on a GPU what each shape compiles or captures.
    for _ in engine.embed_each(share if engine.facts.device != "CPU" else share[:1]):
        pass
    barrier.wait(_START_TIMEOUT_S)
    begin = time.perf_counter()
    for _ in engine.embed_each(share):
        pass
    results.put((begin, time.perf_counter()))
