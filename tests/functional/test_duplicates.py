"""Ids in several splits, found in little memory."""

from __future__ import annotations

from typing import Any

import pytest

from embed_job.commit.commits import Commits
from embed_job.commit.duplicates import find_duplicates
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
