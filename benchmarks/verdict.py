"""What the comparison on CPUs comes to: its table, targets and notes."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.bound import Rate, Shapes
from benchmarks.check import Agreement
from benchmarks.contest import TRAILS, Ours, Score, Theirs
from benchmarks.peers.programs import ON_CPU, CannotRunError, answers
from benchmarks.peers.trial import Trial
from benchmarks.results import Section, Setting, Table, Target, median_and_range

OURS, ONNX, INT8 = "embed-job fp32", "embed-job fp32, engine onnx", "embed-job int8 (lossy)"
FORWARD = "our forward pass alone, fp32"
BOUND = "bound: the model's matrix products alone, fp32"
MAX_SPREAD = 1.3
HEADERS = (
    "",
    "given",
    "tokens/s, steady state",
    "ratio",
    "tokens/s with start and loading",
    "least cosine",
)


@dataclass(frozen=True, slots=True)
class Found:
    """All that was measured. forwards, bounds: a round each. tokens: of the corpus."""

    setting: Setting
    documents: int
    tokens: int
    agreement: Agreement
    trials: Sequence[Trial]
    scores: Sequence[Score]
    forwards: Sequence[float]
    bounds: Sequence[Rate]
    shapes: Shapes

    def score(self, name: str) -> Score:
        return next(score for score in self.scores if score.side.name == name)

    @property
    def peers(self) -> list[Score]:
        """Those that ran, the fastest first."""
        ran = [s for s in self.scores if isinstance(s.side, Theirs) and not s.why_not]
        return sorted(ran, key=lambda score: score.steady_s)

    @property
    def reference(self) -> Score:
        """sentence-transformers at its best: the fastest of its rows that keeps to the vectors."""
        return next(
            score
            for score in self.peers
            if score.side.name.startswith("sentence-transformers") and score.least >= 0.9999
        )

    @property
    def bound(self) -> Rate:
        """The median round's best product rate."""
        return sorted(self.bounds, key=lambda rate: rate.flops_a_s)[len(self.bounds) // 2]

    def tokens_of(self, rate: Rate) -> float:
        """Tokens/s of a model that did nothing but its products, at that rate."""
        return rate.flops_a_s / self.shapes.flops_a_token


def section_of(found: Found) -> Section:
    """The published section."""
    share = found.tokens / found.score(OURS).steady_s / found.tokens_of(found.bound)
    return Section(
        title="JSONL to Parquet, end to end",
        tables=[_table(found)],
        targets=_targets(found, share=share),
        notes=_notes(found),
        failures=[*found.agreement.failures, *_broken(found.setting)],
        data={
            "documents": found.documents,
            "tokens": found.tokens,
            "steady_s": {s.side.name: [lap.steady_s for lap in s.laps] for s in found.scores},
            "whole_s": {s.side.name: [lap.whole_s for lap in s.laps] for s in found.scores},
            "cosine": {
                s.side.name: {"least": s.least, "mean": s.mean}
                for s in found.scores
                if not s.why_not
            },
            "cannot_run": {s.side.name: s.why_not for s in found.scores if s.why_not},
            "forward_s": list(found.forwards),
            "bound_flops_a_s": [rate.flops_a_s for rate in found.bounds],
            "flops_a_token": found.shapes.flops_a_token,
            "trials": {
                t.program.name: {
                    "documents_a_s": t.ran.rates,
                    "versions": t.ran.versions,
                    "least_cosine": t.least,
                    "other_ids": t.other_ids,
                }
                for t in found.trials
                if t.ran
            },
        },
    )


def _table(found: Found) -> Table:
    reference_s = found.reference.steady_s
    ours = [s for s in found.scores if isinstance(s.side, Ours)]
    failed = [s for s in found.scores if s.why_not]
    rows = [
        score.row(tokens=found.tokens, reference_s=reference_s)
        for score in [*ours, *found.peers, *failed]
    ]
    forward = (
        FORWARD,
        "the same batches and processes",
        median_and_range([found.tokens / s for s in found.forwards]),
        f"{reference_s / statistics.median(found.forwards):.2f}",
        "–",
        "–",
    )
    rates = [found.tokens_of(rate) for rate in found.bounds]
    bound = (
        BOUND,
        str(found.bound),
        median_and_range(rates),
        f"{statistics.median(rates) * reference_s / found.tokens:.2f}",
        "–",
        "–",
    )
    return Table(HEADERS, [*rows, forward, bound])


def _targets(found: Found, *, share: float) -> list[Target]:
    ours, int8 = found.score(OURS), found.score(INT8)
    fastest = found.peers[0]
    speedup = found.reference.steady_s / ours.steady_s
    ahead = fastest.steady_s / ours.steady_s
    pipeline = statistics.median(found.forwards) / ours.steady_s
    lossy = ours.steady_s / int8.steady_s
    least = found.agreement.least
    return [
        Target(
            f"least cosine over {found.agreement.documents:,} documents",
            "≥ 0.9999",
            f"{least:.7f}",
            least >= 0.9999,
        ),
        Target(
            f"speed against {found.reference.side.name}",
            "≥ 1.8",
            f"{speedup:.2f}",
            speedup >= 1.8,
        ),
        Target(
            f"speed against the fastest peer ({fastest.side.name})",
            "> 1",
            f"{ahead:.2f}",
            ahead > 1,
        ),
        Target("share of the fp32 matrix-product bound", "≥ 0.80", f"{share:.2f}", share >= 0.80),
        Target(
            "rate against the forward pass alone", "≥ 0.95", f"{pipeline:.3f}", pipeline >= 0.95
        ),
        Target("int8 against our fp32", "≥ 1.4", f"{lossy:.2f}", lossy >= 1.4),
    ]


def _notes(found: Found) -> list[str]:
    agreement, setting = found.agreement, found.setting
    int8 = found.score(INT8)
    return [
        f"{found.documents:,} standard-library documentation strings, {found.tokens:,} tokens, cut "
        f"to the model's 256; {setting.cores} cores; {len(found.forwards)} interleaved rounds, "
        "median and range; ratio to sentence-transformers at its best. A peer that took "
        f"{TRAILS} times as long as the fastest peer in the first round was run once. Every side "
        "reads the same JSONL and writes Parquet. Steady state leaves out imports, loading and "
        "compiling; ours still holds planning, checksums, commits and the report. The least cosine "
        "is that of each side's output to ours in fp32.",
        f"Checked before timing: token ids identical to those of sentence-transformers, and over "
        f"{agreement.documents:,} documents, adversarial ones included, least cosine "
        f"{agreement.least:.7f} (mean {agreement.mean:.7f}); over {agreement.chunks} chunks of "
        f"long documents {agreement.chunks_least:.7f}. {_trials(found.trials)}",
        f"int8 is lossy: cosine against fp32 mean {int8.mean:.4f}, least {int8.least:.4f}.",
        *_unrest(found.scores),
    ]


def _trials(trials: Sequence[Trial]) -> str:
    """What the peers' trials showed, and their versions."""
    ran = [trial for trial in trials if trial.ran]
    other = [f"{t.program.name}: other token ids in {t.other_ids}" for t in ran if t.other_ids]
    versions = sorted(
        {f"{name} {version}" for t in ran if t.ran for name, version in t.ran.versions.items()}
    )
    same = "of a sample each peer's token ids are ours" if not other else "; ".join(other)
    return f"Of the peers: {same}. Versions: {', '.join(versions)}."


def _unrest(scores: Sequence[Score]) -> list[str]:
    """A warning where the rounds of a side differ so much that something else was running."""
    spread = {
        score.side.name: max(lap.steady_s for lap in score.laps)
        / min(lap.steady_s for lap in score.laps)
        for score in scores
        if not score.why_not
    }
    worst = max(spread, key=spread.__getitem__)
    if spread[worst] <= MAX_SPREAD:
        return []
    return [
        f"**The machine was not quiet**: rounds of {worst} differ {spread[worst]:.1f}-fold. "
        "Threads that wait for each other lose many times more to a neighbour than processes that "
        "do not, so the ratio of medians flatters us. These figures are not to be published."
    ]


def _broken(setting: Setting) -> list[str]:
    """Programs that a short run leaves out, and that do not even answer --help."""
    if setting.size != "ci":
        return []
    left_out = {program.module: program for program in ON_CPU if not program.in_dev}
    broken = []
    for program in left_out.values():
        try:
            answers(program)
        except CannotRunError as error:
            broken.append(f"{program.name}: {error}")
    return broken
