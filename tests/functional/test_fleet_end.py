"""The end of a job: it never rolls back a newer one, and counts no split whose files are gone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embed_job.commit.lease import Rhythm
from embed_job.errors import ExitCode
from embed_job.fleet.finalize import finalize_job
from embed_job.storage.local import LocalStore


def run_without_end(fleet: Any, name: str) -> None:
    """A job all of which is committed, but whose finalizing host has died."""
    fleet.key(name).mkdir(parents=True)
    fleet.key(name, "finalizing").write_text("a host that is gone\n")
    assert [host.code for host in fleet.run(name, hosts=1)] == [0]
    assert not fleet.key(name, "job.json").exists()


def files(fleet: Any) -> dict[str, bytes]:
    """All that is in the output but the jobs' own folders and the lease."""
    private = fleet.job.output / "_embed_job"
    return {
        str(path): path.read_bytes()
        for path in fleet.job.output.rglob("*")
        if path.is_file()
        and not path.is_relative_to(private / "jobs")
        and not path.name.startswith(("lease", ".lease"))
    }


@pytest.fixture
def open_job(fleet: Any) -> Any:
    fleet.job.write_corpus(files=2, documents=10)
    run_without_end(fleet, "first")
    return fleet


def test_an_older_job_does_not_roll_back_a_newer_one(open_job: Any) -> None:
    open_job.job.write("new.jsonl", [{"id": "new", "text": "a new text"}])
    assert [host.code for host in open_job.run("second", hosts=1)] == [0]
    before = files(open_job)
    verdict, report = open_job.finalize("first")
    assert "second on algo-1 has taken over" in verdict.problems[0]
    assert not report.ok
    assert files(open_job) == before
    assert not open_job.key("first", "job.json").exists()
    verdict, _ = open_job.finalize("second")
    assert not verdict.problems
    assert files(open_job) == before


def test_nor_does_it_roll_back_a_run_of_one_machine(open_job: Any) -> None:
    open_job.job.write("new.jsonl", [{"id": "new", "text": "a new text"}])
    assert open_job.job.run().exit_code is ExitCode.OK
    before = files(open_job)
    verdict, _ = open_job.finalize("first")
    assert "has taken over" in verdict.problems[0]
    assert files(open_job) == before


def test_a_newer_job_that_has_begun_is_left_alone(open_job: Any) -> None:
    run_without_end(open_job, "second")
    before = files(open_job)
    verdict, _ = open_job.finalize("first")
    assert "second" in verdict.problems[0]
    assert files(open_job) == before


def test_a_job_that_begins_while_another_is_being_ended_stops_its_commit(open_job: Any) -> None:
    """The one that ends has stood still for so long that it was taken for dead."""
    before = files(open_job)

    class Busy(LocalStore):
        """While ids are compared, somebody takes the lease over."""

        def read(self, key: str) -> bytes:
            if "/ids/" in key and first.acquire(blocking=False):
                open_job.take_over("second")
            return super().read(key)

    first = threading.Lock()
    verdict, _ = finalize_job(
        Busy(),
        str(open_job.job.output),
        "first",
        open_job.order("first"),
        open_job.job_folder("first") / "listing.parquet",
        rhythm=Rhythm(beat_s=60, dead_s=0.0),
    )
    (problem,) = verdict.problems
    assert "second" in problem
    assert files(open_job) == before


def test_whoever_died_between_the_commit_and_its_record_is_stood_in_for(open_job: Any) -> None:
    for _ in range(2):
        verdict, _ = open_job.finalize("first")
        assert not verdict.problems
        open_job.key("first", "job.json").unlink()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("pattern", "damage"),
    [
        ("*.parquet", Path.unlink),
        ("*.parquet", cut),
        ("_embed_job/ids/*.npy", Path.unlink),
        ("_embed_job/dead-letters/*.jsonl", Path.unlink),
    ],
)
def test_a_split_without_its_files_does_not_count_and_is_embedded_anew(
    fleet: Any, pattern: str, damage: Callable[[Path], None]
) -> None:
    fleet.job.spec["input"]["max_rejected_fraction"] = 1
    fleet.job.write_corpus(files=2, documents=10)
    (fleet.job.input / "bad.jsonl").write_text("not JSON\n")
    run_without_end(fleet, "first")
    rows, committed = fleet.job.rows(), fleet.manifests()
    victim = sorted(fleet.job.output.glob(pattern))[0]
    damage(victim)
    verdict, report = fleet.finalize("first")
    assert victim.name in verdict.problems[0]
    assert "1 of 3 splits" in verdict.problems[1]
    assert not report.ok
    assert not fleet.key("first", "job.json").exists()
    assert len(committed - fleet.manifests()) == 1
    assert [host.code for host in fleet.run("second", hosts=1)] == [0]
    assert fleet.job.rows() == rows
    assert len(fleet.manifests()) == 3


def test_of_a_job_that_has_ended_nothing_is_removed(fleet: Any) -> None:
    fleet.job.write_corpus(files=2, documents=10)
    assert [host.code for host in fleet.run("first", hosts=1)] == [0]
    victim = sorted(fleet.job.output.glob("*.parquet"))[0]
    victim.unlink()
    before = files(fleet)
    verdict, _ = fleet.finalize("first")
    assert victim.name in verdict.problems[0]
    assert files(fleet) == before


def test_a_run_on_one_machine_finds_what_is_gone_and_the_next_mends_it(job: Any) -> None:
    job.write_corpus(files=2, documents=10)
    assert job.run().exit_code is ExitCode.OK
    rows = job.rows()
    victim = sorted(job.output.glob("*.parquet"))[0]
    victim.unlink()
    found = job.run()
    assert found.exit_code is ExitCode.INCOMPLETE
    assert victim.name in found.report.problems[0]
    assert job.run().exit_code is ExitCode.OK
    assert job.rows() == rows
