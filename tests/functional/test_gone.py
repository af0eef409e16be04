"""Deletions: never more than was allowed, and never because a listing was cut short."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from embed_job.commit.gone import find_gone
from embed_job.errors import ExitCode
from embed_job.manifest import SplitManifest


def counted(job: Any) -> dict[str, bytes]:
    """What readers go by: the job, the manifests that it names, the rows."""
    private = job.output / "_embed_job"
    paths = [private / "job.json", *job.output.glob("*.parquet"), *(private / "retired").rglob("*")]
    return {str(path): path.read_bytes() for path in paths if path.is_file()}


def documents(*numbers: int) -> list[dict[str, str]]:
    return [{"id": f"d{n:06}", "text": f"the text of {n}"} for n in numbers]


def test_too_many_gone_fail_the_run_and_allowing_them_embeds_nothing_again(job: Any) -> None:
    job.write("a.jsonl", documents(*range(50)))
    job.write("b.jsonl", documents(*range(50, 100)))
    assert job.run().exit_code is ExitCode.OK
    before = counted(job)
    job.write("b.jsonl", documents(*range(53, 100)))
    refused = job.run()
    assert refused.exit_code is ExitCode.INCOMPLETE
    (problem,) = refused.report.problems
    assert "3 of the 100 documents of the last generation" in problem
    assert "(3.0%), such as 'd000050', 'd000051', 'd000052'" in problem
    assert "--set refresh.max_delete_fraction=0.03 (now 0.02)" in problem
    assert before.items() <= counted(job).items()
    job.spec["refresh"] = {"max_delete_fraction": 0.03}
    allowed = job.run()
    assert allowed.exit_code is ExitCode.OK
    assert allowed.report.resumed.splits_embedded == 0
    assert sorted(job.rows()) == [f"d{n:06}" for n in [*range(50), *range(53, 100)]]


def test_what_moved_is_not_gone_and_a_few_may_go(job: Any) -> None:
    job.write("a.jsonl", documents(*range(50)))
    job.write("b.jsonl", documents(*range(50, 100)))
    assert job.run().exit_code is ExitCode.OK
    (job.input / "b.jsonl").unlink()
    job.write("a.jsonl", documents(*range(49)))
    job.write("c.jsonl", documents(*range(50, 99), 200, 201))
    assert job.run().exit_code is ExitCode.OK
    assert len(job.rows()) == 100


def test_an_id_that_another_file_still_holds_is_not_gone(job: Any) -> None:
    job.spec["input"]["allow_duplicates_across_splits"] = True
    job.write("a.jsonl", documents(*range(20)))
    job.write("b.jsonl", documents(*range(20)))
    assert job.run().exit_code is ExitCode.OK
    (job.input / "b.jsonl").unlink()
    assert job.run().exit_code is ExitCode.OK
    assert len(job.rows()) == 20


def test_documents_that_are_refused_now_are_gone_too(job: Any) -> None:
    job.spec["input"]["max_rejected_fraction"] = 1
    job.write("a.jsonl", documents(*range(20)))
    assert job.run().exit_code is ExitCode.OK
    (job.input / "a.jsonl").write_text("not JSON\n" * 20)
    refused = job.run()
    assert "20 of the 20 documents" in refused.report.problems[0]
    assert len(job.rows()) == 20


@pytest.mark.parametrize("fraction", [0.02, 1.0])
def test_a_listing_that_lacks_what_is_there_fails_whatever_may_go(
    fleet: Any, fraction: float
) -> None:
    fleet.job.spec["refresh"] = {"max_delete_fraction": fraction}
    fleet.job.write_corpus(files=4, documents=10)
    assert [host.code for host in fleet.run("first", hosts=1)] == [0]
    before, rows = counted(fleet.job), fleet.job.rows()
    away = fleet.job.folder / "away.jsonl"
    (fleet.job.input / "002.jsonl").rename(away)
    fleet.submit("second", hosts=1)
    away.rename(fleet.job.input / "002.jsonl")
    (host,) = fleet.wait(fleet.start_hosts("second", hosts=1))
    assert host.code == ExitCode.INCOMPLETE
    (problem,) = host.outcome["problems"]
    assert problem.startswith("the listing of the input is not complete: 1 files")
    assert "002.jsonl can still be read" in problem
    assert counted(fleet.job) == before
    assert fleet.job.rows() == rows
    (again,) = fleet.run("third", hosts=1)
    assert again.code == 0
    assert again.outcome["documents"] == 0
    assert fleet.job.rows() == rows


def test_a_run_of_one_machine_sees_it_too(job: Any) -> None:
    """A file that comes back after the input was listed was never gone."""
    job.spec["refresh"] = {"max_delete_fraction": 1}
    job.write_corpus(files=4, documents=10)
    assert job.run().exit_code is ExitCode.OK
    before = counted(job)
    away = job.folder / "away.jsonl"
    (job.input / "003.jsonl").rename(away)
    job.write("new.jsonl", documents(900))
    process = job.start()
    lease = job.output / "_embed_job/lease.json"
    deadline_s = time.monotonic() + 60
    while b'"generation": 2' not in lease.read_bytes():
        assert time.monotonic() < deadline_s, "nothing happened"
        time.sleep(0.005)
    away.rename(job.input / "003.jsonl")
    output, errors = process.communicate(timeout=120)
    assert process.returncode == ExitCode.INCOMPLETE, errors
    assert "003.jsonl can still be read" in " ".join((output + errors).split())
    assert before.items() <= counted(job).items()


def test_the_share_that_is_named_is_enough(job: Any) -> None:
    """57 of 100 are more than 0.57 × 100, where floats are multiplied."""
    job.write("a.jsonl", documents(*range(100)))
    assert job.run().exit_code is ExitCode.OK
    job.write("a.jsonl", documents(*range(57, 100)))
    assert "--set refresh.max_delete_fraction=0.57 " in job.run().report.problems[0]
    job.spec["refresh"] = {"max_delete_fraction": 0.57}
    assert job.run().exit_code is ExitCode.OK


def test_a_file_that_became_a_folder_is_not_there(job: Any) -> None:
    job.spec["refresh"] = {"max_delete_fraction": 0}
    job.write_corpus(files=2, documents=10)
    assert job.run().exit_code is ExitCode.OK
    path = job.input / "001.jsonl"
    path.rename(job.folder / "away.jsonl")
    path.mkdir()
    (job.folder / "away.jsonl").rename(path / "part-0.jsonl")
    result = job.run()
    assert result.exit_code is ExitCode.OK, result.report.problems
    assert len(job.rows()) == 20


def test_where_ids_are_lost_nobody_can_tell_and_the_user_decides(job: Any) -> None:
    job.write("a.jsonl", documents(*range(10)))
    job.write("b.jsonl", documents(*range(10, 20)))
    assert job.run().exit_code is ExitCode.OK
    before = counted(job)
    job.write("b.jsonl", documents(*range(10, 21)))
    manifests = (job.output / "_embed_job/manifests").iterdir()
    found = [SplitManifest.model_validate_json(path.read_bytes()) for path in manifests]
    (ids,) = (manifest.ids for manifest in found if manifest.source.files[0][0] == "b.jsonl")
    (job.output / str(ids)).unlink()
    refused = job.run()
    assert refused.exit_code is ExitCode.INCOMPLETE
    (problem,) = refused.report.problems
    assert "of the last generation is lost" in problem
    assert before.items() <= counted(job).items()
    job.spec["refresh"] = {"max_delete_fraction": 1}
    assert job.run().exit_code is ExitCode.OK
    assert len(job.rows()) == 21


def test_gone_by_hashes_in_bounded_memory() -> None:
    drawn = np.random.default_rng(7).permutation(400_000).astype(np.uint64)
    spread = drawn * np.uint64(0x9E3779B97F4A7C15)
    before, gone = np.array_split(spread, 40), set(spread[:1500].tolist())
    after = np.array_split(spread[1500:], 7)
    for hashes_in_memory in (1 << 22, 20_000):
        found = find_gone(before, after, hashes=800_000, hashes_in_memory=hashes_in_memory)
        assert found.count == 1500
        assert len(found.sample) == 1000
        assert set(found.sample.tolist()) <= gone
    assert find_gone([], after, hashes=0).count == 0
