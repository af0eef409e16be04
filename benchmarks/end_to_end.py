"""JSONL to Parquet against every peer on the same cores and documents, and against the bound."""

from __future__ import annotations

from pathlib import Path

from benchmarks.bound import Rate, product_rates, shapes_of
from benchmarks.check import Inputs, check_agreement
from benchmarks.contest import Ours, Side, Theirs, hold
from benchmarks.corpus import write_adversarial, write_corpus
from benchmarks.forward import forward_seconds, make_batches
from benchmarks.job import Job
from benchmarks.model import model_bundle, model_folder, onnx_folders
from benchmarks.peers.programs import ON_CPU, Machine
from benchmarks.peers.trial import sample_of, try_program
from benchmarks.results import Section, Setting, main, say
from benchmarks.verdict import INT8, ONNX, OURS, Found, section_of
from embed_job.spec import ModelSpec


def measure(setting: Setting) -> Section:
    """Agreement first, then a trial of each peer, then rounds of every side in turn."""
    corpus, adversarial = setting.work / "corpus.jsonl", setting.work / "adversarial.jsonl"
    documents = write_corpus(corpus, documents=setting.pick(ci=16, full=1500))
    write_adversarial(adversarial, descriptions=setting.pick(ci=1, full=60))
    model, bundle = model_folder(setting.work), model_bundle(setting.work)
    quick = setting.size == "ci"
    machine = Machine(setting.work, setting.cores, dev=quick)
    if not quick:
        onnx_folders(setting.work)
    say("checking token ids and cosines")
    agreement = check_agreement(
        Inputs(setting.work, bundle, machine),
        [corpus, adversarial],
        long_documents=setting.pick(ci=1, full=20),
    )
    sample = sample_of(setting.work, corpus, bundle, documents=setting.pick(ci=4, full=100))
    trials = [try_program(program, sample, machine, quick=quick) for program in ON_CPU]
    sides: list[Side] = [*_ours(setting.work, corpus, bundle)]
    sides += [Theirs(trial, corpus, machine) for trial in trials]
    shapes = shapes_of(model)
    forwards: list[float] = []
    bounds: list[Rate] = []

    def alone() -> None:
        """What no peer has: the forward pass by itself, and the bound of the cores."""
        forwards.append(_forward(setting, corpus, bundle))
        bounds.append(product_rates(shapes, cores=setting.cores, quick=quick)[0])

    scores = hold(sides, rounds=setting.pick(ci=1, full=3), after_each=alone)
    first = sides[0]
    assert isinstance(first, Ours)
    return section_of(
        Found(setting, documents, first.tokens, agreement, trials, scores, forwards, bounds, shapes)
    )


def _ours(work: Path, corpus: Path, bundle: Path) -> list[Ours]:
    cut: dict[str, object] = {"chunk.strategy": "truncate"}
    given: dict[str, dict[str, object]] = {
        OURS: {},
        ONNX: {"model.engine": "onnx"},
        INT8: {"model.precision": "int8"},
    }
    return [
        Ours(name, Job(work, f"side-{at}", corpus, bundle, options=cut | options))
        for at, (name, options) in enumerate(given.items())
    ]


def _forward(setting: Setting, corpus: Path, bundle: Path) -> float:
    job = Job(setting.work, "forward", corpus, bundle, options={"chunk.strategy": "truncate"})
    return forward_seconds(
        make_batches(job), model=ModelSpec(bundle=bundle), processes=setting.cores, threads=1
    )


if __name__ == "__main__":
    main(measure, __doc__)
