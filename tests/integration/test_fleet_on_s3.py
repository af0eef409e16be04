"""Jobs of several hosts whose input, output and claims are in S3; hosts are processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from embed_job.dataset import open_dataset
from embed_job.fleet.finalize import finalize_job
from embed_job.fleet.order import LISTING_SCHEMA, JobOrder, read_order, write_listing
from embed_job.fleet.records import JobFolder
from embed_job.spec import JobSpec
from embed_job.storage import Store, store_for

HOST = Path(__file__).resolve().parent.parent / "functional" / "fleet_host.py"
DOCUMENTS = 600


class Jobs:
    """Orders of one spec, and their hosts."""

    def __init__(self, folder: Path, bucket: str, bundle: Path) -> None:
        self.folder = folder
        self.input, self.output = f"s3://{bucket}/in", f"s3://{bucket}/out"
        self.store: Store = store_for(self.output)
        self.spec: dict[str, Any] = {
            "name": "on-s3",
            "input": {"uri": self.input, "split_mib": 0.002},
            "model": {"bundle": str(bundle)},
            "outputs": [{"parquet": {"uri": self.output}}],
            "execution": {"workers": 1, "batch_tokens": 16},
        }

    def submit(self, job: str, *, sharing: str, names: Sequence[str] = ()) -> None:
        """names: where the input is no folder, but one object."""
        folder = self.folder / job
        folder.mkdir()
        listed = list(self.store.list(self.input))
        below = names or [file.key[len(self.input) + 1 :] for file in listed]
        found = list(zip(below, listed, strict=True))
        columns = {
            "name": [name for name, _ in found],
            "size": [file.size for _, file in found],
            "etag": [file.etag for _, file in found],
        }
        batch = pa.RecordBatch.from_pydict(columns, schema=LISTING_SCHEMA)
        write_listing(folder / "listing.parquet", [batch])
        order = JobOrder(
            program_version="test",
            spec=JobSpec.model_validate({**self.spec, "compute": {"sharing": sharing}}),
            listed=True,
            files=len(found),
            created_at=time.time(),
        )
        (folder / "order.json").write_text(order.model_dump_json())

    def start(
        self,
        job: str,
        *,
        rank: int,
        hosts: int,
        documents: Path | None = None,
        target: str | None = None,
    ) -> Any:
        folder = self.folder / job
        facts = {
            "job_folder": str(folder),
            "job": job,
            "host": f"algo-{rank + 1}",
            "rank": rank,
            "count": hosts,
            "documents": None if documents is None else str(documents),
            "target": target or self.output,
            "spool": str(folder / f"spool-{rank}"),
            "pace": {"poll_s": 0.1, "max_poll_s": 0.5, "stale_s": 2.0, "factor": 1.0},
            "rhythm": {"beat_s": 0.2, "dead_s": 3.0},
        }
        path = folder / f"host-{rank}.json"
        path.write_text(json.dumps(facts))
        command = [sys.executable, str(HOST), str(path)]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )

    def manifests(self) -> set[str]:
        try:
            return {file.key for file in self.store.list(f"{self.output}/_embed_job/manifests")}
        except FileNotFoundError:
            return set()

    def ids(self) -> list[str]:
        rows = open_dataset(self.store, self.output).iter_rows(columns=["doc_id"])
        return [row["doc_id"] for batch in rows for row in batch.to_pylist()]


@pytest.fixture
def jobs(s3_bucket: str, tiny_bundle: Path, tmp_path: Path) -> Jobs:
    """One object of 600 documents, and two small ones."""
    jobs = Jobs(tmp_path, s3_bucket, tiny_bundle)
    lines = [json.dumps({"id": f"d{n}", "text": f"the text of {n}"}) for n in range(DOCUMENTS)]
    jobs.store.replace(f"{jobs.input}/large.jsonl", "\n".join(lines).encode())
    jobs.store.replace(f"{jobs.input}/deep/a.txt", b"a note")
    jobs.store.replace(f"{jobs.input}/deep/b.txt", b"another note")
    return jobs


def test_a_host_is_killed_and_other_hosts_of_another_way_of_sharing_go_on(jobs: Jobs) -> None:
    jobs.submit("first", sharing="balanced")
    running = [jobs.start("first", rank=rank, hosts=3) for rank in range(3)]
    deadline = time.monotonic() + 100
    while len(jobs.manifests()) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(running[1].pid, signal.SIGKILL)
    ended = [process.communicate(timeout=200) for process in running]
    assert [process.returncode for process in running] == [0, -signal.SIGKILL, 0], ended
    outcomes = [json.loads(out) for out, _ in ended if out]
    assert sum(outcome["finalized"] for outcome in outcomes) == 1
    wanted = sorted([*(f"d{n}" for n in range(DOCUMENTS)), "deep/a.txt", "deep/b.txt"])
    assert sorted(jobs.ids()) == wanted
    before = jobs.manifests()

    jobs.submit("second", sharing="sharded_by_s3_key")
    shares = [["large.jsonl", "deep/a.txt"], ["deep/b.txt"]]
    again = []
    for rank, names in enumerate(shares):
        documents = jobs.folder / f"documents-{rank}"
        for name in names:
            path = documents / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(jobs.store.read(f"{jobs.input}/{name}"))
        again.append(jobs.start("second", rank=rank, hosts=2, documents=documents))
    ended = [process.communicate(timeout=200) for process in again]
    assert [process.returncode for process in again] == [0, 0], ended
    assert sum(json.loads(out)["documents"] for out, _ in ended) == 0
    assert jobs.manifests() == before
    folder = jobs.folder / "second"
    verdict, report = finalize_job(
        jobs.store,
        jobs.output,
        "second",
        read_order(folder),
        folder / "listing.parquet",
    )
    assert not verdict.problems
    assert [host.host for host in report.hosts] == ["algo-1", "algo-2"]


def test_one_object_shared_by_hosts_and_what_was_copied_is_named_by_its_place_in_s3(
    jobs: Jobs,
) -> None:
    jobs.input = f"{jobs.input}/one.jsonl"
    jobs.store.replace(jobs.input, b'{"id": "a", "text": "a text"}\nnot JSON\n')
    jobs.spec["input"] = {"uri": jobs.input, "max_rejected_fraction": 1}
    for number, documents in enumerate([None, jobs.folder / "documents"]):
        job, target = f"job-{number}", f"{jobs.output}-{number}"
        jobs.spec["outputs"] = [{"parquet": {"uri": target}}]
        sharing = "balanced" if documents is None else "sharded_by_s3_key"
        jobs.submit(job, sharing=sharing, names=["one.jsonl"])
        if documents is not None:
            documents.mkdir()
            (documents / "one.jsonl").write_bytes(jobs.store.read(jobs.input))
        host = jobs.start(job, rank=0, hosts=1, documents=documents, target=target)
        out, errors = host.communicate(timeout=200)
        assert host.returncode == 0, errors
        assert json.loads(out)["documents"] == 1
        (letter,) = jobs.store.list(f"{target}/_embed_job/dead-letters")
        assert json.loads(jobs.store.read(letter.key))["key"] == jobs.input


def test_of_hosts_that_race_to_end_a_job_one_wins(s3_bucket: str) -> None:
    output = f"s3://{s3_bucket}/out"
    store = store_for(output)
    with ThreadPoolExecutor(16) as pool:
        won = list(
            pool.map(
                lambda rank: JobFolder(store, output, "job").may_finalize(f"algo-{rank}"), range(16)
            )
        )
    assert sum(won) == 1
