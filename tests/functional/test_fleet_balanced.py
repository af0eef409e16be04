"""Hosts that take splits of one plan: the slow are relieved, the dead one's claims taken over."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from embed_job.errors import ExitCode


@pytest.fixture
def balanced(fleet: Any) -> Any:
    fleet.compute["sharing"] = "balanced"
    return fleet


def slow(fleet: Any) -> None:
    """One file of many splits, each some tenths of a second of a real model's work."""
    fleet.job.write_corpus(files=1, documents=1600)
    fleet.job.spec["model"]["engine"] = "onnx"
    fleet.job.spec["input"]["split_mib"] = 0.004
    fleet.job.spec["execution"] = {"workers": 1, "batch_tokens": 16}


def test_one_huge_object_is_shared_by_all_hosts(balanced: Any) -> None:
    slow(balanced)
    ended = balanced.run("first", hosts=3)
    assert [host.code for host in ended] == [0, 0, 0], ended
    documents = [host.outcome["documents"] for host in ended]
    assert sum(documents) == 1600, "a split was embedded twice, though nobody was slow"
    assert min(documents) > 0
    assert sum(host.outcome["finalized"] for host in ended) == 1
    assert len(balanced.job.rows()) == 1600
    assert balanced.report("first")["ok"]


def test_a_host_that_stands_still_is_relieved_and_finds_the_job_done(balanced: Any) -> None:
    slow(balanced)
    running = balanced.start("first", hosts=3)
    balanced.wait_for_commits(4)
    os.killpg(running[0].process.pid, signal.SIGSTOP)
    others = balanced.wait(running[1:])
    assert [host.code for host in others] == [0, 0], others
    assert sum(host.outcome["finalized"] for host in others) == 1
    rows = balanced.job.rows()
    assert len(rows) == 1600
    before = balanced.manifests()
    os.killpg(running[0].process.pid, signal.SIGCONT)
    (late,) = balanced.wait(running[:1])
    assert late.code == 0, late.errors
    assert not late.outcome["finalized"]
    assert balanced.manifests() == before
    assert balanced.job.rows() == rows


def test_a_dead_hosts_claims_are_taken_over(balanced: Any) -> None:
    slow(balanced)
    running = balanced.start("first", hosts=2)
    balanced.wait_for(lambda: any('"host": "algo-1"' in found for found in balanced.manifests()))
    os.killpg(running[0].process.pid, signal.SIGKILL)
    (other,) = balanced.wait(running[1:])
    assert other.code == 0, other.errors
    assert other.outcome["finalized"]
    assert len(balanced.job.rows()) == 1600
    report = balanced.report("first")
    assert [(host["host"], host["ended"]) for host in report["hosts"]] == [
        ("algo-2", True),
        ("algo-1", False),
    ]
    assert list(balanced.key("first", "claims").glob("*.002"))


def test_a_signal_drains_and_the_job_goes_on_with_other_hosts(balanced: Any) -> None:
    slow(balanced)
    running = balanced.start("first", hosts=2)
    balanced.wait_for_commits(4)
    for host in running:
        os.killpg(host.process.pid, signal.SIGTERM)
    ended = balanced.wait(running)
    assert [host.code for host in ended] == [ExitCode.TERMINATED] * 2, ended
    verdict, _ = balanced.finalize("first")
    assert "not committed" in verdict.problems[0]
    before = balanced.manifests()
    balanced.compute["sharing"] = "sharded_by_s3_key"
    ended = balanced.run("second", hosts=1)
    assert [host.code for host in ended] == [0], ended
    assert before <= balanced.manifests()
    assert len(balanced.job.rows()) == 1600


def test_hosts_that_start_late_agree_on_the_bundles(balanced: Any) -> None:
    for number in range(300):
        (balanced.job.input / f"{number:03}.txt").write_text(f"note {number} " * (number % 40))
    balanced.submit("first", hosts=2)
    (first,) = balanced.wait([balanced.start_host("first", rank=0, hosts=2)])
    assert first.code == 0, first.errors
    before = balanced.manifests()
    (second,) = balanced.wait([balanced.start_host("first", rank=1, hosts=2)])
    assert second.code == 0, second.errors
    assert second.outcome["planned"] == first.outcome["planned"]
    assert balanced.manifests() == before


def test_claims_that_cannot_be_made_end_the_host(balanced: Any) -> None:
    balanced.job.write_corpus(files=3, documents=20)
    balanced.submit("first", hosts=1)
    balanced.key("first").mkdir(parents=True)
    balanced.key("first", "claims").write_text("a file where the claims should be")
    (ended,) = balanced.wait(balanced.start_hosts("first", hosts=1))
    assert ended.code not in (0, None)
    assert "claims" in ended.errors
    assert not balanced.key("first", "job.json").exists()


def test_a_listed_file_that_is_gone_is_named(balanced: Any) -> None:
    balanced.job.write_corpus(files=3, documents=20)
    balanced.submit("first", hosts=1)
    # What was listed is gone: whoever reads it meets a mistake that only a user can mend.
    (balanced.job.input / "001.jsonl").unlink()
    (ended,) = balanced.wait(balanced.start_hosts("first", hosts=1))
    assert ended.code == ExitCode.INPUT
    assert "001.jsonl" in ended.errors
    assert not balanced.key("first", "job.json").exists()


def test_a_dead_finalizer_is_stood_in_for(balanced: Any) -> None:
    balanced.job.write_corpus(files=3, documents=20)
    balanced.submit("first", hosts=2)
    balanced.key("first", "finalizing").parent.mkdir(parents=True)
    balanced.key("first", "finalizing").write_text("a host that is gone\n")
    ended = balanced.wait(balanced.start_hosts("first", hosts=2))
    assert [host.code for host in ended] == [0, 0], ended
    assert not balanced.key("first", "job.json").exists()
    verdict, report = balanced.finalize("first")
    assert not verdict.problems
    assert report.counts.documents.written == 60
