"""A job to run for real: a generated corpus, the tiny bundle, worker processes, local files."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest
import yaml

from embed_job.commit.commits import Commits
from embed_job.commit.finalize import Verdict
from embed_job.commit.lease import Holder, Lease, LeaseRecord, Rhythm
from embed_job.dataset import open_dataset
from embed_job.fleet.finalize import finalize_job
from embed_job.fleet.order import LISTING_SCHEMA, JobOrder, read_order, write_listing
from embed_job.progress import SilentProgress
from embed_job.report.model import Report
from embed_job.run import RunResult, run_job
from embed_job.spec import JobSpec
from embed_job.storage import store_for
from embed_job.storage.local import LocalStore

WORDS = [
    "river",
    "stone",
    "light",
    "paper",
    "engine",
    "garden",
    "winter",
    "signal",
    "copper",
    "thread",
    "window",
    "harbour",
]


def sentence(number: int) -> str:
    """A text that no other number has."""
    digits = [number // len(WORDS) ** place % len(WORDS) for place in range(4)]
    return f"{' '.join(WORDS[digit] for digit in digits)}."


class Job:
    """A corpus folder, a spec that may be changed, and what came of running it."""

    def __init__(self, folder: Path, bundle: Path) -> None:
        self.folder = folder
        self.input = folder / "in"
        self.output = folder / "out"
        self.input.mkdir()
        self.spec: dict[str, Any] = {
            "name": "test",
            "input": {"uri": str(self.input)},
            "model": {"bundle": str(bundle), "engine": "null"},
            "outputs": [{"parquet": {"uri": str(self.output), "text": True}}],
            "execution": {"workers": 2},
        }

    def write(self, name: str, documents: list[dict[str, Any]]) -> Path:
        """A JSONL file of the corpus."""
        path = self.input / name
        path.write_bytes(b"".join(orjson.dumps(document) + b"\n" for document in documents))
        return path

    def write_corpus(self, files: int, documents: int) -> None:
        """Files of so many documents each."""
        for file in range(files):
            numbers = range(file * documents, (file + 1) * documents)
            self.write(
                f"{file:03}.jsonl", [{"id": f"d{n:06}", "text": sentence(n)} for n in numbers]
            )

    def prose(self, size_bytes: int) -> str:
        """A text of at least so many bytes; each of its long words is one unknown token."""
        line = " ".join([*["\u0436" * 101] * 5, "stone."])
        return "\n".join([line] * (size_bytes // len(line.encode()) + 1))

    def run(self, *, rhythm: Rhythm | None = None) -> RunResult:
        return run_job(
            JobSpec.model_validate(self.spec),
            progress=SilentProgress(),
            report_dir=self.folder / "report",
            rhythm=rhythm,
        )

    def allow_deletions(self) -> None:
        """Let the next runs delete whatever the input no longer holds."""
        self.spec["refresh"] = {"max_delete_fraction": 1}

    def spec_file(self) -> Path:
        path = self.folder / "job.yaml"
        path.write_text(yaml.safe_dump(self.spec))
        return path

    def start(self) -> subprocess.Popen[str]:
        """The same run as a process of its own, in a process group of its own."""
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "launcher.cli", "run", str(self.spec_file())),
                *("--report", str(self.folder / "report")),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "COLUMNS": "200"},
        )

    def rows(self) -> dict[str, tuple[Any, ...]]:
        """id → (text, vector) of every row that counts, each id once."""
        dataset = open_dataset(store_for(str(self.output)), str(self.output))
        rows: dict[str, tuple[Any, ...]] = {}
        for batch in dataset.iter_rows(columns=["id", "text", "vector"]):
            for row in batch.to_pylist():
                assert row["id"] not in rows, f"{row['id']} twice"
                rows[row["id"]] = (row["text"], tuple(row["vector"]))
        return rows

    def report(self) -> dict[str, Any]:
        """The last run's report.json."""
        report: dict[str, Any] = orjson.loads((self.folder / "report/report.json").read_bytes())
        return report

    def letters(self) -> list[dict[str, Any]]:
        """Every dead letter."""
        found = sorted((self.output / "_embed_job" / "dead-letters").glob("*.jsonl"))
        return [orjson.loads(line) for path in found for line in path.read_bytes().splitlines()]

    def parts(self) -> dict[str, int]:
        """Names and inodes of the Parquet files."""
        return {path.name: path.stat().st_ino for path in self.output.glob("*.parquet")}


@pytest.fixture
def job(tmp_path: Path, tiny_bundle: Path) -> Job:
    return Job(tmp_path, tiny_bundle)


@pytest.fixture
def make_job(tmp_path: Path, tiny_bundle: Path) -> Callable[[str], Job]:
    def make(name: str) -> Job:
        folder = tmp_path / name
        folder.mkdir()
        return Job(folder, tiny_bundle)

    return make


@dataclass(frozen=True, slots=True)
class Running:
    """A host's process, and where its output and its log go."""

    process: subprocess.Popen[bytes]
    outcome: Path
    log: Path


@dataclass(frozen=True, slots=True)
class Ended:
    """A host that came to its end. outcome: what it printed; empty where it died."""

    code: int
    outcome: dict[str, Any]
    errors: str


class Fleet:
    """Jobs on several hosts, as the launcher submits them and the service shares the input out."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.compute: dict[str, Any] = {"sharing": "sharded_by_s3_key"}
        self.pace = {"poll_s": 0.05, "max_poll_s": 0.5, "stale_s": 2.0, "factor": 1.0}
        self.rhythm = {"beat_s": 0.2, "dead_s": 3.0}
        job.spec["execution"] = {"workers": 1}

    def folder(self, name: str) -> Path:
        return self.job.folder / "jobs" / name

    def job_folder(self, name: str) -> Path:
        return self.folder(name) / "job"

    def documents(self, name: str, rank: int) -> Path:
        return self.folder(name) / f"documents-{rank}"

    def upload(self, name: str, rank: int) -> Path:
        return self.folder(name) / f"vectors-{rank}"

    def key(self, name: str, *names: str) -> Path:
        """A file of a job in the output."""
        return Path(self.job.output, "_embed_job", "jobs", name, *names)

    def order(self, name: str) -> JobOrder:
        return read_order(self.job_folder(name))

    def report(self, name: str) -> dict[str, Any]:
        report: dict[str, Any] = orjson.loads(self.key(name, "report.json").read_bytes())
        return report

    def descriptor(self) -> dict[str, Any]:
        path = self.job.output / "_embed_job/dataset.json"
        descriptor: dict[str, Any] = orjson.loads(path.read_bytes())
        return descriptor

    def manifests(self) -> set[str]:
        """Names and contents of what is committed."""
        found = (self.job.output / "_embed_job/manifests").glob("*.json")
        return {f"{path.name} {path.read_text()}" for path in found}

    def submit(self, name: str, *, hosts: int, **order: Any) -> None:
        """Write order and listing, and share the input out by count of files."""
        folder = self.job_folder(name)
        folder.mkdir(parents=True)
        files = sorted(
            (path.relative_to(self.job.input).as_posix(), path)
            for path in self.job.input.rglob("*")
            if path.is_file()
        )
        columns = {
            "name": [name for name, _ in files],
            "size": [path.stat().st_size for _, path in files],
            "etag": [hashlib.md5(path.read_bytes()).hexdigest() for _, path in files],  # noqa: S324
        }
        batch = pa.RecordBatch.from_pydict(columns, schema=LISTING_SCHEMA)
        write_listing(folder / "listing.parquet", [batch])
        made = JobOrder(
            program_version="test",
            spec=JobSpec.model_validate({**self.job.spec, "compute": self.compute}),
            listed=True,
            files=len(files),
            bytes=sum(columns["size"]),
            created_at=time.time(),
            **order,
        )
        (folder / "order.json").write_text(made.model_dump_json())
        for rank in range(hosts):
            self.documents(name, rank).mkdir()
        for number, (below, path) in enumerate(files):
            copy = self.documents(name, number % hosts) / below
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)

    def start_hosts(self, name: str, *, hosts: int) -> list[Running]:
        return [self.start_host(name, rank=rank, hosts=hosts) for rank in range(hosts)]

    def start_host(self, name: str, *, rank: int, hosts: int) -> Running:
        """A process, in a process group of its own."""
        balanced = self.compute["sharing"] == "balanced"
        uploaded = self.compute.get("delivery") == "processing_output"
        earlier = self.job.output / "_embed_job/manifests"
        facts = {
            "job_folder": str(self.job_folder(name)),
            "job": name,
            "host": f"algo-{rank + 1}",
            "rank": rank,
            "count": hosts,
            "documents": None if balanced else str(self.documents(name, rank)),
            "target": str(self.upload(name, rank) if uploaded else self.job.output),
            "spool": str(self.folder(name) / f"spool-{rank}"),
            "earlier": str(earlier) if uploaded and earlier.exists() else None,
            "pace": self.pace,
            "rhythm": self.rhythm,
        }
        path = self.folder(name) / f"host-{rank}.json"
        path.write_bytes(orjson.dumps(facts))
        outcome, log = path.with_suffix(".out"), path.with_suffix(".err")
        with outcome.open("wb") as output, log.open("wb") as errors:
            script = Path(__file__).with_name("fleet_host.py")
            process = subprocess.Popen(
                [sys.executable, str(script), str(path)],
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )
        return Running(process, outcome, log)

    def start(self, name: str, *, hosts: int) -> list[Running]:
        self.submit(name, hosts=hosts)
        return self.start_hosts(name, hosts=hosts)

    def wait(self, running: list[Running]) -> list[Ended]:
        ended = []
        for host in running:
            code = host.process.wait(timeout=120)
            outcome = host.outcome.read_bytes()
            ended.append(
                Ended(code, orjson.loads(outcome) if outcome else {}, host.log.read_text())
            )
        return ended

    def run(self, name: str, *, hosts: int) -> list[Ended]:
        return self.wait(self.start(name, hosts=hosts))

    def wait_for(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, "nothing happened"
            time.sleep(0.005)

    def wait_for_commits(self, count: int) -> None:
        self.wait_for(lambda: len(self.manifests()) >= count)

    def finalize(self, name: str) -> tuple[Verdict, Report]:
        """As ``embed-job finalize`` does."""
        folder = self.job_folder(name)
        return finalize_job(
            store_for(str(self.job.output)),
            str(self.job.output),
            name,
            read_order(folder),
            folder / "listing.parquet",
            rhythm=Rhythm(**self.rhythm),
        )

    def take_over(self, name: str) -> Lease:
        """Take the lease for another run, as if whoever holds it had been dead for long."""
        commits = Commits(LocalStore(), str(self.job.output))
        path = self.job.output / "_embed_job/lease.json"
        held = LeaseRecord.model_validate_json(path.read_bytes())
        path.write_text(held.model_copy(update={"free": True}).model_dump_json())
        lease = Lease(commits, Holder(name, "elsewhere", alone=False), rhythm=Rhythm())
        lease.take()
        return lease

    def collect(self, name: str, *, hosts: int) -> None:
        """Upload the hosts' output folders, as the service does."""
        for rank in range(hosts):
            shutil.copytree(self.upload(name, rank), self.job.output, dirs_exist_ok=True)

    @contextmanager
    def watching(self, name: str, *, hosts: int) -> Iterator[set[str]]:
        """Inside, names of all that is ever seen in the hosts' output folders are gathered."""
        seen: set[str] = set()
        done = threading.Event()

        def look() -> None:
            while not done.is_set():
                for rank in range(hosts):
                    for folder, _, files in os.walk(self.upload(name, rank)):
                        seen.update(f"{folder}/{file}" for file in files)

        thread = threading.Thread(target=look)
        thread.start()
        try:
            yield seen
        finally:
            done.set()
            thread.join()


@pytest.fixture
def fleet(make_job: Callable[[str], Job]) -> Fleet:
    return Fleet(make_job("fleet"))
