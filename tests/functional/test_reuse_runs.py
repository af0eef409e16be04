"""Whole runs that take over what earlier ones have embedded: processes, hosts, kills."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from embed_job.dataset.verify import verify_output
from embed_job.errors import ExitCode
from embed_job.storage import store_for
from tests.functional.conftest import Fleet, Job, sentence


def documents(numbers: range) -> list[dict[str, Any]]:
    return [{"id": f"d{n:06}", "text": sentence(n)} for n in numbers]


def change_one_of_each(job: Job, files: int, each: int) -> None:
    """Files of so many documents, of which the second has changed."""
    for file in range(files):
        corpus = documents(range(file * each, file * each + each))
        corpus[1]["text"] = sentence(5000 + file)
        job.write(f"{file:03}.jsonl", corpus)


def test_a_text_that_comes_back_is_known_from_a_retired_split(job: Job) -> None:
    job.spec["execution"] = {"workers": 1}
    before = documents(range(30))
    job.write("a.jsonl", before)
    assert job.run().report.ok
    job.write("a.jsonl", [*before[:29], {"id": "d000029", "text": sentence(999)}])
    second = job.run().report.resumed
    assert (second.documents_carried, second.documents_embedded) == (29, 1)
    assert second.chunks_embedded == 1
    job.write("a.jsonl", [*before, {"id": "new", "text": before[0]["text"]}])
    third = job.run().report
    assert third.ok
    assert (third.resumed.documents_carried, third.resumed.chunks_reused) == (30, 1)
    assert third.resumed.chunks_embedded == 0
    assert verify_output(store_for(str(job.output)), str(job.output)).ok
    assert list((job.output / "_embed_job" / "spool").iterdir()) == []


def test_a_run_killed_while_it_takes_over_goes_on(job: Job) -> None:
    job.write_corpus(files=16, documents=40)
    assert job.run().report.ok
    change_one_of_each(job, files=16, each=40)
    manifests = job.output / "_embed_job" / "manifests"
    before = len(list(manifests.iterdir()))
    process = job.start()
    while len(list(manifests.iterdir())) < before + 2 and process.poll() is None:
        pass
    process.kill()
    process.communicate(timeout=60)
    result = job.run()
    assert result.exit_code is ExitCode.OK, result.report.problems
    rows = job.rows()
    assert len(rows) == 640
    assert rows["d000001"][0] == sentence(5000)
    assert verify_output(store_for(str(job.output)), str(job.output)).ok
    assert list((job.output / "_embed_job" / "spool").iterdir()) == []


@pytest.mark.parametrize("sharing", ["sharded_by_s3_key", "balanced"])
def test_every_host_takes_over_what_any_has_embedded(
    make_job: Callable[[str], Job], sharing: str
) -> None:
    fleet = Fleet(make_job("fleet"))
    fleet.compute["sharing"] = sharing
    job = fleet.job
    job.write_corpus(files=4, documents=20)
    assert [host.code for host in fleet.run("first", hosts=2)] == [0, 0]
    change_one_of_each(job, files=4, each=20)
    # What one host had falls to the other.
    (job.input / "000.jsonl").rename(job.input / "004.jsonl")
    ended = fleet.run("second", hosts=2)
    assert [host.code for host in ended] == [0, 0], ended
    resumed = fleet.report("second")["resumed"]
    assert resumed["documents_carried"] == 76
    assert resumed["chunks_embedded"] == 4
    assert len(job.rows()) == 80
