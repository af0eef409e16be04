"""A job on several hosts, each with files of its own: real processes, killed and started again."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import pytest

from embed_job.errors import ExitCode
from embed_job.fleet.finalize import finalize_job
from embed_job.storage.local import LocalStore


def corpus(job: Any) -> None:
    """Large and small files, of several kinds, so that all kinds of splits occur."""
    job.write_corpus(files=7, documents=120)
    (job.input / "deep").mkdir()
    for number in range(40):
        (job.input / f"deep/note-{number:02}.txt").write_text(f"a note of number {number}, kept.")
    rows = "".join(f"c{n},a row of number {n}\n" for n in range(200))
    (job.input / "table.csv").write_text("id,text\n" + rows)


@pytest.fixture
def single(make_job: Any) -> dict[str, Any]:
    """The rows of one undisturbed run on one machine."""
    job = make_job("single")
    corpus(job)
    assert job.run().exit_code is ExitCode.OK
    rows: dict[str, Any] = job.rows()
    assert len(rows) == 7 * 120 + 40 + 200
    return rows


def test_three_hosts_leave_what_one_machine_leaves(fleet: Any, single: dict[str, Any]) -> None:
    corpus(fleet.job)
    ended = fleet.run("first", hosts=3)
    assert [host.code for host in ended] == [0, 0, 0], ended
    assert fleet.job.rows() == single
    assert sum(host.outcome["finalized"] for host in ended) == 1
    assert sum(host.outcome["documents"] for host in ended) == len(single)
    report = fleet.report("first")
    assert report["ok"]
    assert [host["host"] for host in report["hosts"]] == ["algo-1", "algo-2", "algo-3"]
    assert all(host["ended"] and host["machine"]["cores"] for host in report["hosts"])
    assert report["engines"] == [{"engine": "null", "device": "CPU", "instructions": ""}]
    assert all(host["engines"] == report["engines"] for host in report["hosts"])
    assert sum(host["documents"] for host in report["hosts"]) == len(single)
    assert "algo-2" in fleet.key("first", "report.html").read_text()
    assert json.loads(fleet.key("first", "job.json").read_text())["counts"]["documents"][
        "written"
    ] == len(single)


@pytest.mark.parametrize("hosts", [2, 5])
def test_after_a_kill_the_job_goes_on_with_another_number_of_hosts(
    fleet: Any, single: dict[str, Any], hosts: int
) -> None:
    corpus(fleet.job)
    # The real engine, as slow as it gets: the host has most of its share before it.
    fleet.job.spec["model"]["engine"] = "onnx"
    fleet.job.spec["execution"]["batch_tokens"] = 16
    running = fleet.start("first", hosts=3)
    fleet.wait_for(lambda: any('"host": "algo-2"' in found for found in fleet.manifests()))
    os.killpg(running[1].process.pid, signal.SIGKILL)
    ended = fleet.wait(running)
    assert ended[1].code == -signal.SIGKILL
    assert not fleet.key("first", "job.json").exists()
    assert not any(host.outcome.get("finalized") for host in ended)
    before = fleet.manifests()
    assert before
    ended = fleet.run("second", hosts=hosts)
    assert [host.code for host in ended] == [0] * hosts, ended
    rows = fleet.job.rows()
    assert {key: text for key, (text, _) in rows.items()} == {
        key: text for key, (text, _) in single.items()
    }
    assert before <= fleet.manifests(), "what was committed has been made again"


def test_a_job_finished_once_is_found_done_by_any_number_of_hosts(
    fleet: Any, single: dict[str, Any]
) -> None:
    corpus(fleet.job)
    assert [host.code for host in fleet.run("first", hosts=3)] == [0, 0, 0]
    before = fleet.manifests()
    for hosts in (1, 4):
        ended = fleet.run(f"again-{hosts}", hosts=hosts)
        assert [host.code for host in ended] == [0] * hosts, ended
        assert fleet.manifests() == before
        assert sum(host.outcome["documents"] for host in ended) == 0
    assert fleet.job.rows() == single


def test_more_hosts_than_files(fleet: Any) -> None:
    fleet.job.write_corpus(files=2, documents=30)
    ended = fleet.run("first", hosts=4)
    assert [host.code for host in ended] == [0, 0, 0, 0], ended
    assert [host.outcome["planned"] for host in ended] == [1, 1, 0, 0]
    assert len(fleet.job.rows()) == 60


def test_a_file_that_the_listing_does_not_know_is_named(fleet: Any) -> None:
    fleet.job.write_corpus(files=3, documents=10)
    fleet.submit("first", hosts=1)
    stray = fleet.documents("first", 0) / "stray.jsonl"
    stray.write_text('{"id": "s", "text": "came later"}\n')
    (ended,) = fleet.wait(fleet.start_hosts("first", hosts=1))
    assert ended.code == ExitCode.INPUT
    assert "stray.jsonl" in ended.errors


def test_a_file_that_grew_since_is_named(fleet: Any) -> None:
    fleet.job.write_corpus(files=3, documents=10)
    fleet.submit("first", hosts=1)
    path = fleet.documents("first", 0) / "001.jsonl"
    path.unlink()
    path.write_text('{"id": "s", "text": "another"}\n')
    (ended,) = fleet.wait(fleet.start_hosts("first", hosts=1))
    assert ended.code == ExitCode.INPUT
    assert "001.jsonl" in ended.errors


def test_a_listed_file_that_no_host_got_keeps_the_job_open(fleet: Any) -> None:
    fleet.job.write_corpus(files=3, documents=10)
    fleet.submit("first", hosts=2)
    (fleet.documents("first", 1) / "001.jsonl").unlink()
    ended = fleet.wait(fleet.start_hosts("first", hosts=2))
    assert sorted(host.code for host in ended) == [0, ExitCode.INCOMPLETE]
    (told,) = [host for host in ended if host.code]
    assert "001.jsonl" in told.outcome["problems"][0]
    assert not fleet.key("first", "job.json").exists()


def test_the_others_do_not_end_a_job_of_which_one_host_failed(fleet: Any) -> None:
    fleet.job.write_corpus(files=4, documents=30)
    fleet.submit("first", hosts=2)
    (fleet.documents("first", 0) / "stray.jsonl").write_text("not in the listing")
    ended = fleet.wait(fleet.start_hosts("first", hosts=2))
    assert [host.code for host in ended] == [ExitCode.INPUT, 0]
    assert not ended[1].outcome["finalized"]
    verdict, report = fleet.finalize("first")
    assert not report.ok
    assert "rank 0" in verdict.problems[0]
    assert not fleet.key("first", "job.json").exists()


def test_embed_job_finalize_ends_what_a_dead_finalizer_left(
    fleet: Any, single: dict[str, Any]
) -> None:
    corpus(fleet.job)
    fleet.submit("first", hosts=2)
    # Whoever wins the race to end the job has died right after it won.
    fleet.key("first", "finalizing").parent.mkdir(parents=True)
    fleet.key("first", "finalizing").write_text("a host that is gone\n")
    ended = fleet.wait(fleet.start_hosts("first", hosts=2))
    assert [host.code for host in ended] == [0, 0], ended
    assert not any(host.outcome["finalized"] for host in ended)
    assert not fleet.key("first", "job.json").exists()
    for _ in range(2):
        verdict, report = fleet.finalize("first")
        assert not verdict.problems
        assert report.ok
        assert report.counts.documents.written == len(single)
    assert fleet.job.rows() == single
    assert fleet.key("first", "report.json").exists()


def test_a_job_ended_before_removes_nothing_of_a_later_one(fleet: Any) -> None:
    fleet.job.write_corpus(files=3, documents=30)
    assert [host.code for host in fleet.run("first", hosts=2)] == [0, 0]
    fleet.job.write_corpus(files=6, documents=20)
    fleet.submit("second", hosts=2)
    (fleet.documents("second", 0) / "000.jsonl").unlink()
    fleet.wait(fleet.start_hosts("second", hosts=2))
    before = fleet.manifests()
    verdict, _ = finalize_job(
        LocalStore(),
        str(fleet.job.output),
        "first",
        fleet.order("first"),
        fleet.job_folder("first") / "listing.parquet",
    )
    assert not verdict.problems
    assert fleet.manifests() == before


def test_bundles_stand_on_other_numbers_of_hosts_and_only_what_changed_is_made_again(
    fleet: Any,
) -> None:
    notes = [fleet.job.input / f"{number:03}.txt" for number in range(60)]
    for number, path in enumerate(notes):
        path.write_text(f"note of number {number}")
    assert [host.code for host in fleet.run("first", hosts=3)] == [0, 0, 0]
    before = fleet.manifests()
    notes[7].write_text("another note")
    notes[8].unlink()
    ended = fleet.run("second", hosts=2)
    assert [host.code for host in ended] == [0, 0], ended
    rows = fleet.job.rows()
    assert rows.keys() == {path.name for path in notes if path != notes[8]}
    assert rows[notes[7].name][0] == "another note"
    assert before & fleet.manifests(), "no bundle was left as it was"
    embedded = sum(host.outcome["documents"] for host in ended)
    assert 1 <= embedded < 59


def test_another_model_than_the_one_that_was_tried_is_refused(fleet: Any) -> None:
    fleet.job.write_corpus(files=1, documents=5)
    fleet.submit("first", hosts=1, model_fingerprint="0" * 64)
    (ended,) = fleet.wait(fleet.start_hosts("first", hosts=1))
    assert ended.code == ExitCode.BUNDLE
    assert "000000000000" in ended.errors


def test_columns_come_from_the_order(fleet: Any) -> None:
    fleet.job.spec["input"]["fields"] = {"metadata": ["year"]}
    fleet.job.write("a.jsonl", [{"id": "a", "text": "a text", "year": 2001}])
    fleet.job.write("b.jsonl", [{"id": "b", "text": "a text", "year": "MMI"}])
    fleet.submit("first", hosts=2, columns={"year": "string"})
    ended = fleet.wait(fleet.start_hosts("first", hosts=2))
    assert [host.code for host in ended] == [0, 0], ended
    assert fleet.descriptor()["columns"] == {"year": "string"}
    assert len(fleet.job.rows()) == 2


class TestUploadedOutput:
    """delivery: processing_output: every host has an output folder that others don't see."""

    def test_types_that_each_host_would_find_for_itself_are_refused(self, fleet: Any) -> None:
        fleet.compute["delivery"] = "processing_output"
        fleet.job.spec["input"]["fields"] = {"metadata": ["year"]}
        fleet.job.write("a.jsonl", [{"id": "a", "text": "a text", "year": 2001}])
        (ended,) = fleet.run("first", hosts=1)
        assert ended.code == ExitCode.USAGE
        assert "year" in ended.errors

    def test_its_folders_together_are_the_output_and_nothing_else_was_ever_in_them(
        self, fleet: Any, single: dict[str, Any]
    ) -> None:
        corpus(fleet.job)
        fleet.compute["delivery"] = "processing_output"
        with fleet.watching("first", hosts=3) as seen:
            ended = fleet.run("first", hosts=3)
        assert [host.code for host in ended] == [0, 0, 0], ended
        assert not any(host.outcome["finalized"] for host in ended)
        assert seen
        assert not [name for name in seen if name.endswith(".tmp") or "/." in name]
        descriptors = {
            (fleet.upload("first", rank) / "_embed_job/dataset.json").read_bytes()
            for rank in range(3)
        }
        assert len(descriptors) == 1
        fleet.collect("first", hosts=3)
        verdict, _ = fleet.finalize("first")
        assert not verdict.problems
        assert fleet.job.rows() == single
        again = fleet.run("second", hosts=2)
        assert [host.code for host in again] == [0, 0]
        assert sum(host.outcome["documents"] for host in again) == 0
        for rank in range(2):
            assert not list(fleet.upload("second", rank).rglob("*.parquet"))
        fleet.collect("second", hosts=2)
        verdict, _ = fleet.finalize("second")
        assert not verdict.problems
        assert fleet.job.rows() == single
