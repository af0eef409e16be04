"""A corpus of which 1 % changed, run again: forward passes, time, and the diff alone.

Twice: the changed documents in every file, and in one file. Null model, so that what is measured is
all but the forward pass; the share of forward passes is that of any model.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from benchmarks.corpus import read_jsonl, write_corpus
from benchmarks.job import Job
from benchmarks.model import model_bundle
from benchmarks.process import Taken, take
from benchmarks.results import ROOT, Section, Setting, Table, Target, main, say

FILES = 20
CHARACTERS = 1000
CHANGED = 0.01
PASSES_GOAL, TIME_GOAL, DIFF_GOAL = 0.03, 0.10, 100_000
EVERYWHERE, ONE_FILE = "in every file", "in one file"


@dataclass(frozen=True, slots=True)
class Refresh:
    """What a diff said of a changed corpus, and what the run over it took."""

    where: str
    diff: dict[str, Any]
    taken: Taken

    @property
    def passes(self) -> int:
        """Texts that went through the model."""
        return int(self.taken.report["resumed"]["chunks_embedded"])

    @property
    def diffed_per_s(self) -> float:
        """Documents that the diff read, by a core's seconds."""
        return float(self.diff["documents"]["read"] / self.diff["cpu_s"])


def write_files(folder: Path, *, documents: int) -> None:
    """Documents of CHARACTERS, all different, in FILES files: paragraphs of documentation strings
    in random order."""
    folder.mkdir(parents=True, exist_ok=True)
    source = folder.with_name("refresh-source.jsonl")
    write_corpus(source, documents=2000)
    paragraphs = [
        " ".join(part.split())
        for record in read_jsonl(source)
        for part in record["body"].split("\n\n")
        if len(part) > 40
    ]
    rng = random.Random(0)  # noqa: S311 - a corpus, no secret
    each = documents // FILES
    for number in range(FILES):
        with (folder / f"{number:02}.jsonl").open("wb") as stream:
            for at in range(number * each, (number + 1) * each):
                stream.write(orjson.dumps(_record(at, rng, paragraphs)) + b"\n")


def _record(number: int, rng: random.Random, paragraphs: Sequence[str]) -> dict[str, object]:
    text = f"{number}"
    while len(text) < CHARACTERS:
        text += f" {rng.choice(paragraphs)[:400]}"
    return {"id": f"doc-{number:07}", "text": text[:CHARACTERS], "year": 1990 + number % 36}


def edit(folder: Path, *, files: range, share: float, mark: str) -> int:
    """Give a share of some files' documents, evenly spread, another beginning; how many."""
    changed = 0
    every = round(1 / share)
    for number in files:
        path = folder / f"{number:02}.jsonl"
        records = [orjson.loads(line) for line in path.open("rb")]
        for record in records[::every]:
            record["text"] = f"{mark} {record['text']}"
            changed += 1
        path.write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in records))
    return changed


def diff_alone(spec_path: str) -> dict[str, Any]:
    """A diff in this process: what it says, and seconds of processor time. cpu_s: of comparing
    alone, from the listing, which hashes local files, to the end."""
    from embed_job.reuse.diff.look import look
    from embed_job.reuse.diff.make import make_diff
    from embed_job.spec.file import load_spec
    from launcher.planning.model import find_model

    spec = load_spec(Path(spec_path), ['model.engine="null"'])
    with tempfile.TemporaryDirectory() as scratch:
        began = time.process_time()
        plan, _ = look(spec)
        alone = make_diff(plan, chunker=None, scratch=Path(scratch) / "alone")
        cpu_s = time.process_time() - began
        model, why_not = find_model(spec)
        if model is None:
            raise RuntimeError(why_not)
        found = make_diff(plan, chunker=model.chunker, scratch=Path(scratch) / "whole")
    assert alone.documents == found.documents
    return {**asdict(found), "cpu_s": cpu_s}


def take_diff(job: Job) -> dict[str, Any]:
    """The diff of a job's input and output, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.refresh", "--diff", str(job.folder / "spec.yaml")]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def measure(setting: Setting) -> Section:
    """One full run, and two refreshes of its output."""
    documents = setting.pick(ci=4_000, full=200_000)
    corpus = setting.work / "refresh-in"
    write_files(corpus, documents=documents)
    job = Job(
        setting.work,
        "refresh",
        corpus,
        model_bundle(setting.work),
        fields=("text",),
        metadata=("year",),
        options={"model.engine": "null", "execution.workers": setting.cores},
    )
    say(f"{documents:,} documents from nothing")
    full = take(job)
    refreshes, wrong = [], []
    for where, files, share in (
        (EVERYWHERE, range(FILES), CHANGED),
        (ONE_FILE, range(1), CHANGED * FILES),
    ):
        changed = edit(corpus, files=files, share=share, mark=where)
        say(f"{changed:,} documents changed {where}")
        found = Refresh(where, take_diff(job), take(job, again=True))
        refreshes.append(found)
        wrong += _wrong(found, changed)
    return _section(full, refreshes, wrong)


def _wrong(found: Refresh, changed: int) -> Iterator[str]:
    """What diff and run disagree about, or would be wrong of both."""
    documents, work = found.diff["documents"], found.diff["work"]
    if documents["text"] != changed or documents["gone"] or documents["added"]:
        yield f"{found.where}: the diff tells {documents['text']:,} of {changed:,} changed texts"
    if work["embedded_chunks"] != found.passes:
        yield f"{found.where}: {work['embedded_chunks']:,} passes foretold, {found.passes:,} made"


def _section(full: Taken, refreshes: Sequence[Refresh], wrong: list[str]) -> Section:
    chunks = int(full.report["counts"]["chunks"]["written"])
    rows = [("from nothing", f"{full.documents:,}", f"{chunks:,}", *_times(full, full), "")]
    rows += [
        (
            f"1 % changed {one.where}",
            f"{one.diff['documents']['read']:,}",
            f"{one.passes:,} ({one.passes / chunks:.1%})",
            *_times(one.taken, full),
            f"{one.diffed_per_s:,.0f}",
        )
        for one in refreshes
    ]
    passes = max(one.passes for one in refreshes) / chunks
    slowest = max(one.taken.wall_s for one in refreshes) / full.wall_s
    diffed = min(one.diffed_per_s for one in refreshes if one.where == EVERYWHERE)
    return Section(
        title=f"A corpus of {full.documents:,} documents of which 1 % changed",
        tables=[
            Table(
                (
                    "run, null model",
                    "documents read",
                    "forward passes",
                    "s to wait",
                    "s of processor time",
                    "documents/s a core of the diff alone",
                ),
                rows,
            )
        ],
        targets=[
            Target("forward passes", "< 3 %", f"{passes:.1%}", passes < PASSES_GOAL),
            Target("time, null model", "< 10 %", f"{slowest:.1%}", slowest < TIME_GOAL),
            Target(
                "the diff alone, documents/s a core",
                f"≥ {DIFF_GOAL:,}",
                f"{diffed:,.0f}",
                diffed >= DIFF_GOAL,
            ),
        ],
        notes=[
            f"{FILES} files of JSONL, documents of {CHARACTERS:,} characters. Times are of the "
            "whole process, start-up included. The diff alone: list, read, hash and compare, the "
            "tables of the ledgers included; the tokens of what is new are counted beside it. What "
            "it foretells is compared with what the run then does."
        ],
        failures=wrong,
        data={
            "full_wall_s": full.wall_s,
            "full_cpu_s": full.cpu_s,
            "refreshes": [
                {
                    "where": one.where,
                    "passes": one.passes,
                    "wall_s": one.taken.wall_s,
                    "cpu_s": one.taken.cpu_s,
                    "diff_cpu_s": one.diff["cpu_s"],
                    "diff_read": one.diff["documents"]["read"],
                }
                for one in refreshes
            ],
        },
    )


def _times(taken: Taken, full: Taken) -> tuple[str, str]:
    if taken is full:
        return f"{taken.wall_s:.1f}", f"{taken.cpu_s:.1f}"
    return (
        f"{taken.wall_s:.1f} ({taken.wall_s / full.wall_s:.1%})",
        f"{taken.cpu_s:.1f} ({taken.cpu_s / full.cpu_s:.1%})",
    )


if __name__ == "__main__":
    if "--diff" in sys.argv:
        print(json.dumps(diff_alone(sys.argv[-1])))
    else:
        main(measure, __doc__)
