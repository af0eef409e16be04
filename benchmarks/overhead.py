"""What a short document costs beside tokenizer and model: one worker, null model.

The tokenizer's and the engine's own calls are timed inside the run and taken off; all else counts,
chunking and batch planning too. ``--profile`` prints where it goes.
"""

from __future__ import annotations

import cProfile
import dataclasses
import pstats
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.corpus import write_short
from benchmarks.job import Job, run_job
from benchmarks.model import model_bundle
from benchmarks.results import Section, Setting, Table, Target, main, median_and_range
from embed_job.bundle import open_bundle
from embed_job.chunk.chunker import Chunker
from embed_job.job import embed_split
from embed_job.manifest import total
from embed_job.plan import make_plan
from embed_job.spec.file import load_spec
from embed_job.tokenizer import Tokenizer, use_one_thread
from embed_job.workers.messages import WorkerConfig
from embed_job.workers.toolbox import load_toolbox

GOAL_US = 20.0


class _Timed:
    """Something whose methods of some names are timed; everything else is passed through."""

    def __init__(self, inner: Any, names: tuple[str, ...]) -> None:
        self._inner: Any = inner
        self.seconds = 0.0
        for name in names:
            setattr(self, name, self._timed(getattr(inner, name)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def _timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            began = time.perf_counter()
            try:
                return call(*arguments)
            finally:
                self.seconds += time.perf_counter() - began

        return timed


def measure(setting: Setting) -> Section:
    """Rounds in this process, and one run of the program to compare with its report."""
    documents = setting.pick(ci=20_000, full=200_000)
    source = setting.work / "short.jsonl"
    write_short(source, documents=documents)
    job = Job(
        setting.work,
        "overhead",
        source,
        model_bundle(setting.work),
        fields=("text",),
        metadata=(),
        options={"model.engine": "null", "execution.workers": 1},
    )
    use_one_thread()
    ran = run_job(job)
    _round(job)  # imports and first touches
    rounds = [_round(job) for _ in range(3)]
    per_document = [seconds["rest"] / documents * 1e6 for seconds in rounds]
    middle = statistics.median(per_document)
    stages = {name: s / documents * 1e6 for name, s in ran.report["stages_s"].items()}
    return Section(
        title="Everything that is neither tokenizer nor model",
        tables=[
            Table(
                ("one worker, null model", "µs a document"),
                [
                    ("all but the calls of tokenizer and engine", _range(per_document)),
                    *((f"of the report: {name}", f"{us:.1f}") for name, us in stages.items()),
                ],
            )
        ],
        targets=[
            Target("cost of a short document", "≤ 20 µs", f"{middle:.1f} µs", middle <= GOAL_US)
        ],
        notes=[
            f"{documents:,} documents of {ran.tokens / documents:.0f} tokens. The report's stage "
            "'tokenize' holds chunking, 'embed' holds batch planning; both hold the calls that "
            "the first row leaves out."
        ],
        data={"documents": documents, "us_a_document": per_document, "stages_us": stages},
    )


def _range(values: list[float]) -> str:
    return median_and_range(values, digits=1)


def _round(job: Job, profile: cProfile.Profile | None = None) -> dict[str, float]:
    """Seconds of one pass over all splits in this process."""
    spec = load_spec(job.write_spec(), job.overrides)
    plan = make_plan(spec)
    spool = job.folder / "spool"
    spool.mkdir()
    config = WorkerConfig(
        number=0,
        spec=spec,
        dataset=plan.dataset,
        input_uri=spec.input.uri,
        spool=str(spool),
        host="",
    )
    tools = load_toolbox(config)
    tokenizer = _Timed(
        Tokenizer(open_bundle(Path(spec.model.bundle), verify=False)),
        ("encode", "encode_truncated", "spans"),
    )
    engine = _Timed(tools.engine, ("embed",))
    engine.embed_each = partial(map, engine.embed)
    chunker: Any = Chunker
    tools = dataclasses.replace(
        tools,
        engine=engine,
        chunker=chunker(
            tokenizer,
            strategy=spec.chunk.strategy,
            max_tokens=plan.dataset.max_tokens,
            overlap_tokens=spec.chunk.overlap_tokens,
        ),
    )
    began = time.perf_counter()
    if profile:
        profile.enable()
    manifests = [
        embed_split(split, tools, exclude={}, report=lambda _: None)
        for split in plan.splits.values()
    ]
    if profile:
        profile.disable()
    wall_s = time.perf_counter() - began
    counts = total(manifest.counts for manifest in manifests if manifest is not None)
    assert counts.documents.written == counts.documents.read > 0
    rest_s = wall_s - tokenizer.seconds - engine.seconds
    return {"rest": rest_s, "tokenizer": tokenizer.seconds, "engine": engine.seconds}


def _print_profile() -> None:
    from benchmarks.results import WORK

    WORK.mkdir(parents=True, exist_ok=True)
    source = WORK / "short.jsonl"
    write_short(source, documents=20_000)
    options: dict[str, object] = {"model.engine": "null"}
    bundle = model_bundle(WORK)
    job = Job(WORK, "profile", source, bundle, fields=("text",), metadata=(), options=options)
    use_one_thread()
    _round(job)
    profile = cProfile.Profile()
    print(_round(job, profile))
    pstats.Stats(profile).sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    if "--profile" in sys.argv:
        _print_profile()
    else:
        main(measure, __doc__)
