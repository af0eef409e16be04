"""Reading, embedding and writing in three threads give what one thread gives, errors included."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embed_job.admit import Exclusion
from embed_job.errors import ExitCode, InputError
from embed_job.job import Toolbox, embed_split, probe_split
from embed_job.plan import Plan, make_plan
from embed_job.progress.meter import ProgressUpdate
from embed_job.records import Reason, Stage
from embed_job.source import Split
from embed_job.spec import JobSpec
from embed_job.workers.messages import WorkerConfig
from embed_job.workers.toolbox import load_toolbox

WINDOW_MIB = 0.001


def mixed(job: Any) -> Any:
    """Documents, doubles, broken lines and a long text, in windows of a few documents."""
    job.write_corpus(files=1, documents=120)
    path = job.input / "000.jsonl"
    lines = path.read_bytes().splitlines()
    lines[40:40] = [b"no json", lines[3], b'{"id": "empty"}']
    path.write_bytes(b"\n".join(lines) + b"\n")
    job.write("001.jsonl", [{"id": "long", "text": job.prose(30_000)}, {"id": "x", "text": "one"}])
    job.spec["execution"] = {"workers": 1, "window_mib": WINDOW_MIB, "batch_tokens": 64}
    job.spec["input"]["max_rejected_fraction"] = 0.5
    return job


def toolbox(job: Any, *, overlap: bool) -> tuple[Plan, Toolbox]:
    """A worker's tools in this process, and what it might be given."""
    job.spec["execution"]["threads_per_worker"] = 2 if overlap else 1
    plan = make_plan(JobSpec.model_validate(job.spec))
    spool = job.folder / "spool"
    spool.mkdir(exist_ok=True)
    config = WorkerConfig(
        number=0,
        spec=plan.spec,
        dataset=plan.dataset,
        input_uri=plan.place.source_uri,
        spool=str(spool),
        host="",
    )
    tools = load_toolbox(config)
    assert tools.overlap is overlap
    return plan, tools


def embed(split: Split, tools: Toolbox) -> Any:
    return embed_split(split, tools, exclude={}, report=lambda _: None)


def traces(job: Any) -> list[Path]:
    """What an attempt has left behind."""
    found = [*(job.folder / "spool").iterdir(), *job.output.rglob("*.parquet")]
    assert [thread for thread in threading.enumerate() if thread.name == "ahead"] == []
    return found


def test_the_rows_letters_and_counts_are_those_of_one_thread(
    make_job: Callable[[str], Any],
) -> None:
    one, three = mixed(make_job("one")), mixed(make_job("three"))
    three.spec["execution"]["threads_per_worker"] = 2
    results = [one.run(), three.run()]
    assert [result.exit_code for result in results] == [ExitCode.OK] * 2
    assert one.rows() == three.rows()
    told = [
        [(letter["id"], letter["line"], letter["reason"]) for letter in job.letters()]
        for job in (one, three)
    ]
    assert told[0] == told[1]
    assert {reason for _, _, reason in told[0]} >= {"duplicate_id"}
    facts = [result.report for result in results]
    assert facts[0].counts == facts[1].counts


def test_torch_gives_the_vectors_of_onnx(make_job: Callable[[str], Any]) -> None:
    pytest.importorskip("torch")
    rows = []
    for engine in ("onnx", "torch"):
        job = mixed(make_job(engine))
        job.spec["model"]["engine"] = engine
        job.spec["execution"] |= {"batch_tokens": "auto", "threads_per_worker": 2}
        result = job.run()
        assert result.exit_code is ExitCode.OK
        counts = result.report.counts.documents
        assert counts.read == counts.written + counts.rejected + counts.skipped == 125
        rows.append(job.rows())
    onnx, torch = rows
    assert onnx.keys() == torch.keys()
    ours, theirs = (np.array([found[key][1] for key in onnx]) for found in (torch, onnx))
    cosines = (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
    assert cosines.min() >= 0.9999


@pytest.mark.parametrize("overlap", [False, True])
def test_what_fails_while_reading_fails_the_attempt_and_leaves_nothing(
    job: Any, overlap: bool
) -> None:
    plan, tools = toolbox(mixed(job), overlap=overlap)
    split = next(split for split in plan.splits.values() if "000" in split.files[0].name)
    (job.input / "000.jsonl").unlink()
    with pytest.raises(InputError, match="it is gone"):
        embed(split, tools)
    assert traces(job) == []


@pytest.mark.parametrize("overlap", [False, True])
def test_a_file_that_breaks_off_rejects_what_is_behind_it(job: Any, overlap: bool) -> None:
    mixed(job)
    path = job.input / "000.jsonl"
    path.with_suffix(".jsonl.gz").write_bytes(gzip.compress(path.read_bytes())[:-200])
    path.unlink()
    plan, tools = toolbox(job, overlap=overlap)
    manifests = [embed(split, tools) for split in plan.splits.values()]
    counts = [manifest.counts.documents for manifest in manifests]
    assert sum(count.written for count in counts) > 2
    assert all(count.read == count.written + count.rejected + count.skipped for count in counts)
    reasons = [reason for manifest in manifests for reason in manifest.counts.rejected_by_reason]
    assert "unreadable_source" in reasons


@pytest.mark.parametrize("overlap", [False, True])
def test_excluded_documents_are_counted_and_stages_are_timed(job: Any, overlap: bool) -> None:
    plan, tools = toolbox(mixed(job), overlap=overlap)
    split = next(split for split in plan.splits.values() if "000" in split.files[0].name)
    exclude = {0: Exclusion(Reason.KILLS_WORKER, Stage.EMBED, "as a test")}
    manifest = embed_split(split, tools, exclude=exclude, report=lambda _: None)
    assert manifest is not None
    assert manifest.counts.rejected_by_reason["kills_worker"] == 1
    times = manifest.stages_s
    assert min(times.read, times.tokenize, times.embed, times.write, times.wait) > 0
    if not overlap:
        parts = (times.read, times.tokenize, times.embed, times.write, times.wait)
        assert sum(parts) <= manifest.finished_at - manifest.started_at + 0.1


def test_a_probe_is_heard_of_at_each_batch_so_that_a_long_one_does_not_seem_to_hang(
    job: Any,
) -> None:
    plan, tools = toolbox(mixed(job), overlap=False)
    split = next(split for split in plan.splits.values() if "000" in split.files[0].name)
    told: list[ProgressUpdate] = []
    records = probe_split(split, tools, exclude={}, chosen=range(10, 60), report=told.append)
    assert records == 123
    assert len(told) > 3
    assert all(step.tokens and not step.documents for step in told)
