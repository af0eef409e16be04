"""Ids in several splits, found in little memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from embed_job.commit.commits import Commits
from embed_job.commit.duplicates import find_duplicates
from embed_job.dataset import open_dataset
from embed_job.dataset.verify import verify_output
from embed_job.errors import ExitCode
from embed_job.storage.local import LocalStore


@pytest.mark.parametrize("hashes_in_memory", [1, 7, 1 << 20])
def test_the_same_are_found_however_little_memory_there_is(job: Any, hashes_in_memory: int) -> None:
    for name in "abc":
        shared = [f"all-{n}" for n in range(5)] + [f"ab-{n}" for n in range(4) if name != "c"]
        own = [f"{name}-{n}" for n in range(50)]
        job.write(f"{name}.jsonl", [{"id": x, "text": f"text {x}"} for x in shared + own])
    assert job.run().exit_code is ExitCode.INCOMPLETE
    store, folder = LocalStore(), str(job.output)
    commits = Commits(store, folder)
    descriptor = commits.descriptor()
    assert descriptor is not None
    manifests = list(commits.committed(descriptor.fingerprint).values())
    found = find_duplicates(store, folder, manifests, hashes_in_memory=hashes_in_memory)
    assert found.count == 9
    assert {duplicate.doc_id: len(duplicate.splits) for duplicate in found.listed} == (
        {f"all-{n}": 3 for n in range(5)} | {f"ab-{n}": 2 for n in range(4)}
    )


POLICIES = {"reject": 2, "last_wins": 2, "suffix": 3}
"""What on_duplicate_id may be, and how many ids several files of `repeats` then hold."""


def repeats(job: Any, policy: str, *, files: int) -> None:
    """Ids twice in a file, in several files, and both; 64 files are bundled, 63 are not."""
    for number in range(63):
        ids = [f"own-{number}"]
        ids += ["shared"] if number % 8 == 0 else []
        ids += [f"twice-{number}"] * 2 if number % 10 == 3 else []
        ids += ["both"] * 2 if number in (20, 40) else []
        documents = [{"id": x, "text": f"{n} of {number}"} for n, x in enumerate(ids)]
        job.write(f"{number:02}.jsonl", documents)
    for number in range(63, files):
        job.write(f"{number:02}.jsonl", [{"id": "more", "text": "more"}])
    job.spec["input"] |= {"on_duplicate_id": policy, "max_rejected_fraction": 1}


def rows_of(job: Any) -> list[tuple[str, str]]:
    dataset = open_dataset(LocalStore(), str(job.output))
    batches = dataset.iter_rows(columns=["doc_id", "text"])
    rows = [row for batch in batches for row in batch.to_pylist()]
    return sorted((row["doc_id"], row["text"]) for row in rows if row["doc_id"] != "more")


@pytest.mark.parametrize("policy", POLICIES)
def test_what_becomes_of_repeats_does_not_depend_on_bundling(
    make_job: Callable[[str], Any], policy: str
) -> None:
    outcomes = []
    for files in (63, 64):
        job = make_job(str(files))
        repeats(job, policy, files=files)
        told = job.run()
        assert told.exit_code is ExitCode.INCOMPLETE
        assert told.report.duplicates_across_splits == POLICIES[policy]
        bundled = len(job.parts()) < 63
        assert bundled == (files == 64)
        job.spec["input"]["allow_duplicates_across_splits"] = True
        assert job.run().exit_code is ExitCode.OK
        checks = verify_output(LocalStore(), str(job.output))
        assert checks.ok, checks
        counts = told.report.counts.documents
        outcomes.append(
            (rows_of(job), counts.rejected, counts.skipped, told.report.duplicate_examples)
        )
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("policy", POLICIES)
def test_hosts_tell_of_repeats_what_one_machine_tells(
    fleet: Any, make_job: Callable[[str], Any], policy: str
) -> None:
    single = make_job("single")
    repeats(single, policy, files=64)
    told = single.run()
    repeats(fleet.job, policy, files=64)
    ended = fleet.run("first", hosts=3)
    assert ExitCode.INCOMPLETE in {host.code for host in ended}, ended
    report = fleet.report("first")
    assert report["duplicates_across_splits"] == told.report.duplicates_across_splits
    assert report["duplicates_across_splits"] == POLICIES[policy]
    assert tuple(report["duplicate_examples"]) == told.report.duplicate_examples
    assert len(fleet.job.parts()) < 63
    assert rows_of(fleet.job) == rows_of(single)
