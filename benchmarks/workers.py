"""The measurement behind two defaults: one thread a process, and the tokens of a batch."""

from __future__ import annotations

import statistics

from benchmarks.corpus import write_corpus
from benchmarks.job import Job, run_job
from benchmarks.model import model_bundle
from benchmarks.results import Section, Setting, Table, main, median_and_range, say


def measure(setting: Setting) -> Section:
    """Every layout with every batch size, in turn, so that a slow minute hits all alike."""
    corpus = setting.work / "workers.jsonl"
    write_corpus(corpus, documents=setting.pick(ci=40, full=1000))
    bundle = model_bundle(setting.work)
    budgets = [512, 2048] if setting.size == "ci" else [512, 1024, 2048, 4096]
    rounds = setting.pick(ci=1, full=3)
    layouts = [(setting.cores, 1), (1, setting.cores)]
    seconds: dict[tuple[int, int, int], list[float]] = {}
    tokens = 0
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}")
        for workers, threads in layouts:
            for budget in budgets:
                options: dict[str, object] = {
                    "chunk.strategy": "truncate",
                    "execution.workers": workers,
                    "execution.threads_per_worker": threads,
                    "execution.batch_tokens": budget,
                }
                ran = run_job(Job(setting.work, "workers", corpus, bundle, options=options))
                seconds.setdefault((workers, threads, budget), []).append(ran.steady_s)
                tokens = ran.tokens
    best = min(seconds, key=lambda key: statistics.median(seconds[key]))
    rows = [
        (
            f"{workers} × {threads}",
            f"{budget:,}",
            median_and_range([tokens / s for s in took]),
            "best" if (workers, threads, budget) == best else "",
        )
        for (workers, threads, budget), took in seconds.items()
    ]
    return Section(
        title="Processes, threads and batch size",
        tables=[Table(("processes × threads", "tokens a batch", "tokens/s", ""), rows)],
        notes=[f"{tokens:,} tokens, fp32, loading apart, {rounds} interleaved rounds."],
        data={" ".join(map(str, key)): took for key, took in seconds.items()},
    )


if __name__ == "__main__":
    main(measure, __doc__)
