"""What a document costs in jobs of growing size, and the memory of workers and parent.

The null model shows all but the forward pass, up to a million documents; the real model shows the
whole. Splits have one size, so that there are as many more of them as there are documents.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.corpus import write_corpus, write_repeated, write_short
from benchmarks.job import Job
from benchmarks.model import model_bundle
from benchmarks.process import Taken, take
from benchmarks.results import Section, Setting, Table, Target, main, median_and_range, say

NULL, MODEL = "null model", "default model"
SPLIT_MIB = {NULL: 0.125, MODEL: 0.02}
"""About 1,300 and 200 short documents: a million make 700 splits, as a corpus of 11 GB does."""
FIXED_DOCUMENTS = 100
SHORT_RUNS = 3
FLAT_COST, FLAT_MEMORY = 0.05, 0.10
MODEL_GOAL_MB = 600


@dataclass(frozen=True, slots=True)
class Series:
    """Runs of one engine. runs: by number of documents, in rounds; of FIXED_DOCUMENTS too, whose
    time stands for what a run costs before its first document."""

    name: str
    runs: Mapping[int, Sequence[Taken]]

    @property
    def sizes(self) -> list[int]:
        return [size for size in self.runs if size != FIXED_DOCUMENTS]

    def cpu_us(self, size: int) -> list[float]:
        """Processor time of a document of each run, less what the small run takes."""
        fixed_s = min(taken.cpu_s for taken in self.runs[FIXED_DOCUMENTS])
        more = size - FIXED_DOCUMENTS
        return [(taken.cpu_s - fixed_s) / more * 1e6 for taken in self.runs[size]]

    def wall_us(self, size: int) -> list[float]:
        fixed_s = min(taken.wall_s for taken in self.runs[FIXED_DOCUMENTS])
        more = size - FIXED_DOCUMENTS
        return [(taken.wall_s - fixed_s) / more * 1e6 for taken in self.runs[size]]

    def fixed(self) -> str:
        runs = self.runs[FIXED_DOCUMENTS]
        cpu_s, wall_s = min(run.cpu_s for run in runs), min(run.wall_s for run in runs)
        return f"{self.name} {cpu_s:.2f} s of processor time, {wall_s:.2f} s to wait"

    def spread(self) -> float:
        """How far the costliest or cheapest size is from the middle of both, as a fraction; of the
        least of each size's runs, as what disturbs a run only ever adds to it."""
        costs = [min(self.cpu_us(size)) for size in self.sizes]
        return (max(costs) - min(costs)) / (max(costs) + min(costs))

    def memory_spread(self) -> float:
        """The same of the largest worker's peak."""
        peaks = [max(taken.worker_bytes for taken in self.runs[size]) for size in self.sizes]
        return (max(peaks) - min(peaks)) / (max(peaks) + min(peaks))

    def rows(self) -> list[tuple[str, ...]]:
        return [
            (
                self.name,
                f"{size:,}",
                f"{max(taken.report['inputs']['splits'] for taken in runs):,}",
                median_and_range(self.cpu_us(size), digits=1),
                median_and_range(self.wall_us(size), digits=1),
                f"{max(taken.worker_bytes for taken in runs) / 1e6:.0f}",
                f"{max(taken.parent_bytes for taken in runs) / 1e6:.0f}",
            )
            for size, runs in self.runs.items()
            if size != FIXED_DOCUMENTS
        ]


def measure(setting: Setting) -> Section:
    """Both series, interleaved; then two peaks that are a limit and no series."""
    bundle = model_bundle(setting.work)
    ci = setting.size == "ci"
    sizes = {
        NULL: [5_000] if ci else [10_000, 100_000, 1_000_000],
        MODEL: [200] if ci else [500, 2_000, 8_000],
    }
    sources = _sources(setting.work, sizes)
    found: dict[str, dict[int, list[Taken]]] = {name: {} for name in sizes}
    for number in range(setting.pick(ci=1, full=3)):
        say(f"round {number + 1}")
        for name, size in _interleaved(sizes):
            taken = _take(setting, name, sources[size], bundle)
            found[name].setdefault(size, []).append(taken)
    series = [Series(name, runs) for name, runs in found.items()]
    peaks = _limits(setting, sources[max(sizes[NULL])], bundle)
    for path in sources.values():
        path.unlink()
    return _section(series, peaks)


def _interleaved(sizes: Mapping[str, Sequence[int]]) -> list[tuple[str, int]]:
    """Every run of a round, the series in turn; short runs several times, as little disturbs
    them much."""
    turns = []
    for name, each in sizes.items():
        short = [FIXED_DOCUMENTS, each[0]] * (SHORT_RUNS if len(each) > 2 else 1)
        turns.append([(name, size) for size in [*short, *each[1:]]])
    mixed = itertools.chain.from_iterable(itertools.zip_longest(*turns))
    return [turn for turn in mixed if turn is not None]


def _sources(work: Path, sizes: Mapping[str, Sequence[int]]) -> dict[int, Path]:
    """A file of short documents for each size."""
    made = {}
    for size in sorted({FIXED_DOCUMENTS, *itertools.chain.from_iterable(sizes.values())}):
        made[size] = work / f"linear-{size}.jsonl"
        write_short(made[size], documents=size)
    return made


def _take(setting: Setting, name: str, source: Path, bundle: Path) -> Taken:
    """Even the smallest file is cut into a split a worker, so that each run loads as often."""
    share_mib = source.stat().st_size / setting.cores / (1 << 20)
    options: dict[str, object] = {
        "execution.workers": setting.cores,
        "input.split_mib": min(SPLIT_MIB[name], share_mib),
    }
    if name == NULL:
        options["model.engine"] = "null"
    job = Job(setting.work, "linear", source, bundle, ("text",), (), options)
    return take(job, parent_peak=True)


def _limits(setting: Setting, large: Path, bundle: Path) -> dict[str, int]:
    """Peak bytes of a worker that has all documents in one split, and of one with the model."""
    say("one split, and full windows with the default model")
    whole: dict[str, object] = {"execution.workers": 1, "input.split_mib": 1024}
    null = whole | {"model.engine": "null"}
    one_split = take(Job(setting.work, "linear", large, bundle, ("text",), (), null))
    corpus, repeated = setting.work / "once.jsonl", setting.work / "repeated.jsonl"
    count = write_corpus(corpus, documents=setting.pick(ci=20, full=200))
    write_repeated(repeated, corpus, times=setting.pick(ci=2_000, full=20_000) // count)
    full = take(Job(setting.work, "linear", repeated, bundle, options=whole))
    return {
        f"null model, {one_split.documents:,} documents in one split": one_split.worker_bytes,
        "default model, full windows": full.worker_bytes,
    }


def _section(series: Sequence[Series], peaks: Mapping[str, int]) -> Section:
    model_mb = peaks["default model, full windows"] / 1e6
    targets = [
        Target(
            f"cost of a document, {one.name}, {min(one.sizes):,} to {max(one.sizes):,} documents",
            "within ± 5 %",
            f"± {one.spread():.1%}",
            one.spread() <= FLAT_COST,
        )
        for one in series
        if len(one.sizes) > 2  # a short run's sizes are too small to tell
    ]
    targets += [
        Target(
            f"memory of a worker, {one.name}",
            "flat, ± 10 %",
            f"± {one.memory_spread():.1%}",
            one.memory_spread() <= FLAT_MEMORY,
        )
        for one in series
    ]
    goal = f"< {MODEL_GOAL_MB} MB"
    met = model_mb < MODEL_GOAL_MB
    targets.append(Target("memory with the default model", goal, f"{model_mb:.0f} MB", met))
    headers = (
        "engine", "documents", "splits", "µs of processor time a document", "µs to wait a document",
        "MB of the largest worker", "MB of the parent",
    )  # fmt: skip
    return Section(
        title="Cost and memory by the number of documents",
        tables=[
            Table(headers, [row for one in series for row in one.rows()]),
            Table(("", "MB"), [(name, f"{peak / 1e6:.0f}") for name, peak in peaks.items()]),
        ],
        targets=targets,
        notes=[
            "Short documents, rounds interleaved; splits of "
            f"{SPLIT_MIB[NULL]} MiB (null model) and {SPLIT_MIB[MODEL]} MiB. Processor time is "
            "that of the parent and all workers. Taken off is what a run of "
            f"{FIXED_DOCUMENTS} documents takes, which loads the same: "
            + "; ".join(one.fixed() for one in series)
            + ", the least of all. Memory is the peak "
            "(VmHWM). The last row's documents repeat, so that windows, vectors and rows are of "
            "full size while the forward pass stays short."
        ],
        data={
            "peak_rss_bytes": dict(peaks),
            **{
                one.name: {
                    str(size): {
                        "cpu_s": [taken.cpu_s for taken in runs],
                        "wall_s": [taken.wall_s for taken in runs],
                        "worker_bytes": [taken.worker_bytes for taken in runs],
                        "parent_bytes": [taken.parent_bytes for taken in runs],
                    }
                    for size, runs in one.runs.items()
                }
                for one in series
            },
        },
    )


if __name__ == "__main__":
    main(measure, __doc__)
