"""JSONL to Parquet on GPUs, against peers on the same device; ``make bench-gpu``.

Where there is no GPU a short run does all of it on the CPU in fp32, so that it stays in order, and
a full run says "not measured".
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.contest import Ours, Score, Side, Theirs, hold
from benchmarks.corpus import write_corpus
from benchmarks.device import Device, this_device
from benchmarks.forward import forward_seconds, make_batches
from benchmarks.forward_gpu import HEADERS as FORWARD_HEADERS
from benchmarks.forward_gpu import Forwards, measure_forwards
from benchmarks.job import Job, Vectors, read_vectors
from benchmarks.large_corpus import write_large
from benchmarks.model import model_bundle
from benchmarks.peers.programs import BASELINE, ON_GPU, Machine, run_program
from benchmarks.peers.trial import parts_of, sample_of, try_program
from benchmarks.random_encoder import BGE_BASE, MINILM, TINY
from benchmarks.results import Section, Setting, Table, Target, main, median_and_range, say
from benchmarks.verdict import HEADERS
from embed_job.engine.torch import has_gpu
from embed_job.spec import ModelSpec

COMMAND = "make bench-gpu"
NOT_MEASURED = f"not measured (no GPU at hand): `{COMMAND}`"
OURS, FORWARD = "embed-job", "our forward pass alone"
GOALS = {
    "tokens/s, JSONL to Parquet": "≥ 8,000,000",
    "documents/s, JSONL to Parquet": "≥ 85,000",
    "speed against sentence-transformers at its best": "≥ 20",
    "rate against the forward pass alone": "≥ 0.95",
    "least cosine against sentence-transformers in fp32": "≥ 0.9999",
    "bge-base-class model: share of its matrix-product rate": "≥ 0.60",
}


@dataclass(frozen=True, slots=True)
class Found:
    """All that was measured on one device."""

    device: Device
    documents: int
    scores: Sequence[Score]
    forwards: Sequence[float]
    alone: Forwards

    @property
    def ours(self) -> Ours:
        side = self.scores[0].side
        assert isinstance(side, Ours)
        return side

    @property
    def reference(self) -> Score:
        """sentence-transformers at its best batch size."""
        return next(score for score in self.scores if score.side.name == BASELINE.name)


def measure(setting: Setting) -> Section:
    """All of it, or its empty table."""
    if not has_gpu() and setting.size == "full":
        return _unmeasured()
    device = this_device()
    corpus = setting.work / "large.jsonl"
    if setting.size == "ci":
        documents = write_corpus(corpus, documents=16)
    else:
        documents = write_large(corpus, documents=64_000)
    bundle = model_bundle(setting.work)
    spec = ModelSpec(bundle=bundle, engine="torch", precision=device.precision)
    cores = setting.cores
    machine = Machine(setting.work, cores, device.kind, device.precision, dev=setting.size == "ci")
    options: dict[str, object] = {
        "chunk.strategy": "truncate",
        "model.engine": "torch",
        "model.precision": device.precision,
    }
    batches = make_batches(Job(setting.work, "gpu-forward", corpus, bundle, options=options))
    forwards: list[float] = []

    def alone() -> None:
        forwards.append(forward_seconds(batches, model=spec, processes=1, threads=cores))

    sides: list[Side] = [
        Ours(
            f"{OURS} {device.precision}", Job(setting.work, "gpu", corpus, bundle, options=options)
        )
    ]
    sample = sample_of(setting.work, corpus, bundle, documents=setting.pick(ci=4, full=8_000))
    for program in ON_GPU:
        trial = try_program(program, sample, machine, quick=setting.size == "ci")
        sides.append(Theirs(trial, corpus, machine))
    scores = hold(
        sides,
        rounds=setting.pick(ci=1, full=3),
        reference=_reference(setting, corpus, machine),
        after_each=alone,
    )
    alone_on_random = measure_forwards(setting, device)
    return _section(Found(device, documents, scores, forwards, alone_on_random))


def _reference(setting: Setting, corpus: Path, machine: Machine) -> Vectors:
    """sentence-transformers in fp32, on the same device."""
    say("the reference, in fp32")
    exact = Machine(setting.work, machine.cores, machine.device, "fp32", machine.dev)
    out = setting.work / "gpu-reference.parquet"
    run_program(BASELINE, corpus, out, exact, ["--batch-size", str(setting.pick(ci=8, full=256))])
    return read_vectors(parts_of(out))


def _unmeasured() -> Section:
    names = [f"{OURS} fp16", FORWARD, *(program.name for program in ON_GPU)]
    models = [MINILM.name, BGE_BASE.name]
    return Section(
        title="JSONL to Parquet on a GPU",
        tables=[
            Table(HEADERS, [(name, "–", NOT_MEASURED, "–", "–", "–") for name in names]),
            Table(FORWARD_HEADERS, [(name, "–", NOT_MEASURED, "–", "–") for name in models]),
        ],
        targets=[Target(what, goal, NOT_MEASURED, None) for what, goal in GOALS.items()],
    )


def _section(found: Found) -> Section:
    tokens, reference_s = found.ours.tokens, found.reference.steady_s
    rows = [score.row(tokens=tokens, reference_s=reference_s) for score in found.scores]
    alone = median_and_range([tokens / s for s in found.forwards])
    ratio = f"{reference_s / statistics.median(found.forwards):.2f}"
    rows.insert(1, (FORWARD, "the same batches, one process", alone, ratio, "–", "–"))
    return Section(
        title="JSONL to Parquet on a GPU",
        tables=[Table(HEADERS, rows), found.alone.table()],
        targets=_targets(found),
        notes=[
            f"On {found.device}. {found.documents:,} documentation strings of what is installed, "
            f"{tokens:,} tokens, cut to the model's 256; {len(found.forwards)} interleaved rounds. "
            "The least cosine is that of each side's output to sentence-transformers in fp32 on "
            "the same device. fastembed and the ONNX back end of "
            "sentence-transformers are not in this table: their ONNX Runtime for GPUs is another "
            "package than the one for CPUs."
        ],
        failures=found.alone.failures,
        data={
            "device": str(found.device),
            "documents": found.documents,
            "tokens": tokens,
            "steady_s": {s.side.name: [lap.steady_s for lap in s.laps] for s in found.scores},
            "whole_s": {s.side.name: [lap.whole_s for lap in s.laps] for s in found.scores},
            "least_cosine": {s.side.name: s.least for s in found.scores if not s.why_not},
            "cannot_run": {s.side.name: s.why_not for s in found.scores if s.why_not},
            "forward_s": list(found.forwards),
            "alone": {", ".join(key): asdict(rates) for key, rates in found.alone.rates.items()},
            "product_flops_a_s": found.alone.product_flops_a_s,
        },
    )


def _targets(found: Found) -> list[Target]:
    ours = found.scores[0]
    tokens_s, documents_s = found.ours.tokens / ours.steady_s, found.documents / ours.steady_s
    speedup = found.reference.steady_s / ours.steady_s
    pipeline = statistics.median(found.forwards) / ours.steady_s
    share = found.alone.share(BGE_BASE if found.device.kind == "cuda" else TINY)
    figures = [
        (f"{tokens_s:,.0f}", tokens_s >= 8e6),
        (f"{documents_s:,.0f}", documents_s >= 85_000),
        (f"{speedup:.1f}", speedup >= 20),
        (f"{pipeline:.3f}", pipeline >= 0.95),
        (f"{ours.least:.7f}", ours.least >= 0.9999),
        (f"{share:.2f}", share >= 0.60),
    ]
    # What a CPU does, where there is no GPU, neither meets nor misses a GPU's goal.
    return [
        Target(what, goal, measured, met if found.device.kind == "cuda" else None)
        for (what, goal), (measured, met) in zip(GOALS.items(), figures, strict=True)
    ]


if __name__ == "__main__":
    main(measure, __doc__)
