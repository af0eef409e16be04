"""JSONL to Parquet against sentence-transformers on the same cores, documents and token ids."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

from benchmarks.baseline import find_batch_size, run_baseline
from benchmarks.check import Inputs, check_agreement
from benchmarks.corpus import write_adversarial, write_corpus
from benchmarks.forward import forward_seconds, make_batches
from benchmarks.job import Job, cosines, output_vectors, run_job
from benchmarks.model import model_bundle, model_folder
from benchmarks.results import Section, Setting, Table, Target, main, median_and_range, say

BASELINE = "sentence-transformers fp32"
OURS = "embed-job fp32"
INT8 = "embed-job int8 (lossy)"
FORWARD = "forward pass alone, fp32"
MAX_SPREAD = 1.3
CANDIDATES = [4, 8, 16, 32, 64]


@dataclass(slots=True)
class _Times:
    """Seconds by side, one a round. steady: loading apart; whole: with it."""

    steady: dict[str, list[float]] = field(default_factory=dict)
    whole: dict[str, list[float]] = field(default_factory=dict)

    def add(self, side: str, steady_s: float, whole_s: float | None = None) -> None:
        self.steady.setdefault(side, []).append(steady_s)
        if whole_s is not None:
            self.whole.setdefault(side, []).append(whole_s)


def measure(setting: Setting) -> Section:
    """Agreement first, then rounds of every side in turn."""
    corpus, adversarial = setting.work / "corpus.jsonl", setting.work / "adversarial.jsonl"
    documents = write_corpus(corpus, documents=setting.pick(ci=150, full=4400))
    write_adversarial(adversarial, descriptions=setting.pick(ci=5, full=100))
    model, bundle = model_folder(setting.work), model_bundle(setting.work)
    say("checking token ids and cosines")
    inputs = Inputs(setting.work, model, bundle, setting.cores)
    agreement = check_agreement(
        inputs, [corpus, adversarial], long_documents=setting.pick(ci=5, full=40)
    )
    say("looking for the baseline's best batch size")
    rates = find_batch_size(
        corpus,
        model=model,
        threads=setting.cores,
        candidates=CANDIDATES,
        documents=setting.pick(ci=60, full=400),
    )
    best = max(rates, key=rates.__getitem__)
    cut = {"chunk.strategy": "truncate"}
    ours = Job(setting.work, "fp32", corpus, bundle, options=cut)
    lossy = Job(setting.work, "int8", corpus, bundle, options=cut | {"model.precision": "int8"})
    batches = make_batches(Job(setting.work, "forward", corpus, bundle, options=cut))
    times = _Times()
    rounds = 3
    theirs = setting.work / "baseline.parquet"
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}")
        baseline = run_baseline(corpus, theirs, model=model, batch_size=best, threads=setting.cores)
        times.add(BASELINE, baseline.steady_s, baseline.process_s)
        ran = run_job(ours)
        times.add(OURS, ran.steady_s, ran.process_s)
        times.add(
            FORWARD,
            forward_seconds(batches, bundle=bundle, processes=setting.cores, threads=1),
        )
        quick = run_job(lossy)
        times.add(INT8, quick.steady_s, quick.process_s)
    loss = cosines(output_vectors(ours), output_vectors(lossy))
    tokens = ran.tokens
    return Section(
        title="JSONL to Parquet, end to end",
        tables=[_table(times, tokens)],
        targets=_targets(times, agreement.least, agreement.documents),
        notes=[
            f"{documents:,} standard-library documentation strings, {tokens:,} tokens, cut to the "
            f"model's 256; {setting.cores} cores; {rounds} interleaved rounds, median and range. "
            f"The baseline's batch size is {best}, the best of {CANDIDATES}; its torch has "
            f"{setting.cores} threads. Steady state leaves out imports and loading on both sides; "
            "ours still holds planning, checksums, commits and the report. With loading: from the "
            "start of the process to its end.",
            f"Checked before timing: identical token ids, and over {agreement.documents:,} "
            f"documents, adversarial ones included, least cosine {agreement.least:.7f} "
            f"(mean {agreement.mean:.7f}); over {agreement.chunks} chunks of long documents "
            f"{agreement.chunks_least:.7f}.",
            *_unrest(times),
            f"int8 is lossy: cosine against fp32 mean {loss.mean():.4f}, least {loss.min():.4f}.",
        ],
        failures=agreement.failures,
        data={
            "documents": documents,
            "tokens": tokens,
            "batch_size": best,
            "batch_size_search_documents_per_s": rates,
            "steady_s": times.steady,
            "whole_s": times.whole,
            "least_cosine": agreement.least,
            "int8_cosine": {"mean": float(loss.mean()), "least": float(loss.min())},
            "padding_fraction": ran.report["padding_fraction"],
            "stages_s": ran.report["stages_s"],
            "load_s": ran.report["load_s"],
            "workers": ran.report["workers"],
        },
    )


def _table(times: _Times, tokens: int) -> Table:
    reference = statistics.median(times.steady[BASELINE])
    fastest = min(times.steady[BASELINE])
    rows = []
    for side, seconds in times.steady.items():
        whole = times.whole.get(side)
        rows.append(
            (
                side,
                median_and_range([tokens / s for s in seconds]),
                f"{reference / statistics.median(seconds):.2f}",
                f"{fastest / min(seconds):.2f}",
                median_and_range([tokens / s for s in whole]) if whole else "–",
            )
        )
    headers = ("", "tokens/s, steady state", "ratio", "of best rounds", "tokens/s with loading")
    return Table(headers, rows)


def _unrest(times: _Times) -> list[str]:
    """A warning where the rounds of a side differ so much that something else was running."""
    spread = {side: max(seconds) / min(seconds) for side, seconds in times.steady.items()}
    worst = max(spread, key=spread.__getitem__)
    if spread[worst] <= MAX_SPREAD:
        return []
    return [
        f"**The machine was not quiet**: rounds of {worst} differ {spread[worst]:.1f}-fold. "
        "Torch's two threads wait for each other and lose many times more to a neighbour "
        "than processes that do not, so the ratio of medians flatters us. "
        "These figures are not to be published."
    ]


def _targets(times: _Times, least: float, documents: int) -> list[Target]:
    middle = {side: statistics.median(seconds) for side, seconds in times.steady.items()}
    speedup = middle[BASELINE] / middle[OURS]
    share = middle[FORWARD] / middle[OURS]
    return [
        Target(
            f"least cosine over {documents:,} documents",
            "≥ 0.9999",
            f"{least:.7f}",
            least >= 0.9999,
        ),
        Target("speed against the baseline", "≥ 1.6", f"{speedup:.2f}", speedup >= 1.6),
        Target("rate against the forward pass alone", "≥ 0.95", f"{share:.3f}", share >= 0.95),
    ]


if __name__ == "__main__":
    main(measure, __doc__)
