"""Jobs of several hosts that want one output: one works, the others leave it to that one."""

from __future__ import annotations

import os
import signal
from typing import Any

import orjson
import pytest

from embed_job.commit.commits import Commits
from embed_job.commit.lease import Holder, Lease, Rhythm
from embed_job.errors import ExitCode
from embed_job.storage.local import LocalStore


@pytest.fixture
def balanced(fleet: Any) -> Any:
    """One file of many splits, each some tenths of a second of a real model's work."""
    fleet.compute["sharing"] = "balanced"
    fleet.job.write_corpus(files=1, documents=800)
    fleet.job.spec["model"]["engine"] = "onnx"
    fleet.job.spec["input"]["split_mib"] = 0.004
    fleet.job.spec["execution"] = {"workers": 1, "batch_tokens": 16}
    return fleet


def committed(fleet: Any) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads((fleet.job.output / "_embed_job/job.json").read_bytes())
    return found


@pytest.mark.parametrize("hosts", [1, 2])
def test_a_job_that_finds_another_at_work_does_nothing_and_is_no_failure(
    balanced: Any, hosts: int
) -> None:
    output = balanced.job.output
    holder = Holder("first", "algo-1", alone=False)
    lease = Lease(Commits(LocalStore(), str(output)), holder, rhythm=Rhythm(**balanced.rhythm))
    lease.take()
    with lease:
        left = balanced.run("second", hosts=hosts)
        assert lease.holds()
        lease.release()
    assert [host.code for host in left] == [0] * hosts, left
    assert [host.outcome["left_to"] for host in left] == ["first"] * hosts
    assert sorted(path.name for path in balanced.key("second").iterdir()) == ["admission.json"]
    assert list(output.glob("*.parquet")) == []
    verdict, _ = balanced.finalize("second")
    assert "has left its work to first" in verdict.problems[0]
    (third,) = balanced.run("third", hosts=1)
    assert (third.code, third.outcome["documents"], third.outcome["left_to"]) == (0, 800, "")
    assert committed(balanced)["generation"] == 2


def test_a_job_that_stood_still_commits_and_removes_nothing_of_the_next(balanced: Any) -> None:
    first = balanced.start("first", hosts=2)
    balanced.wait_for_commits(2)
    for host in first:
        os.killpg(host.process.pid, signal.SIGSTOP)
    balanced.job.write("new.jsonl", [{"id": "new", "text": "a new text"}])
    (second,) = balanced.run("second", hosts=1)
    assert second.code == 0, second.errors
    assert second.outcome["finalized"]
    before, rows = committed(balanced), balanced.job.rows()
    for host in first:
        os.killpg(host.process.pid, signal.SIGCONT)
    late = balanced.wait(first)
    assert [host.code for host in late] == [ExitCode.INCOMPLETE] * 2, late
    assert all("second has taken over" in host.outcome["problems"][0] for host in late)
    assert committed(balanced) == before
    assert balanced.job.rows() == rows
    assert len(rows) == 801
    assert not balanced.key("first", "job.json").exists()


def test_the_job_after_one_that_was_killed_takes_over(balanced: Any) -> None:
    first = balanced.start("first", hosts=2)
    balanced.wait_for_commits(2)
    for host in first:
        os.killpg(host.process.pid, signal.SIGKILL)
    balanced.wait(first)
    second = balanced.run("second", hosts=2)
    assert [host.code for host in second] == [0, 0], second
    assert committed(balanced)["generation"] == 2
    assert len(balanced.job.rows()) == 800
    verdict, _ = balanced.finalize("first")
    assert "second" in verdict.problems[0]


def test_a_host_that_comes_after_the_end_has_nothing_to_do(balanced: Any) -> None:
    balanced.submit("first", hosts=2)
    (one,) = balanced.wait([balanced.start_host("first", rank=0, hosts=2)])
    assert one.code == ExitCode.OK, one.errors
    assert one.outcome["finalized"]
    before = committed(balanced)
    (late,) = balanced.wait([balanced.start_host("first", rank=1, hosts=2)])
    assert late.code == ExitCode.OK, late.errors
    assert not late.outcome["finalized"]
    assert committed(balanced) == before
    (second,) = balanced.run("second", hosts=1)
    assert second.code == ExitCode.OK
    (latest,) = balanced.wait([balanced.start_host("first", rank=1, hosts=2)])
    assert latest.code == ExitCode.OK, latest.errors
    assert latest.outcome["left_to"] == "second"
