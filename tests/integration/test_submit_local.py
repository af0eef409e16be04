"""Whole jobs on several hosts of this machine: the launcher's request, the container's code."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from embed_job.commit.commits import Commits
from embed_job.dataset import open_dataset
from embed_job.dataset.verify import verify_output
from embed_job.fleet.finalize import finalize_job
from embed_job.fleet.order import LISTING_FILE, JobOrder
from embed_job.progress import SilentProgress
from embed_job.run import run_job
from embed_job.spec import JobSpec
from embed_job.storage import store_for
from launcher.aws.clients import make_clients
from launcher.job.names import new_names
from launcher.job.submit import bring_files
from launcher.local.access import access_of, patient_s3
from launcher.local.described import Described
from launcher.local.docker import DockerRunner
from launcher.local.process import ProcessRunner
from launcher.local.runner import Runner
from launcher.local.service import LocalService, Pace
from launcher.local.tail import Tail
from launcher.planning.plan import make_launch_plan, write_order_files

ROOT = Path(__file__).resolve().parents[2]
IMAGE_URI = "123456789012.dkr.ecr.us-east-1.amazonaws.com/embed-job@sha256:" + "0" * 64
SIZES = (1400, 200, 100, 60, 30, 9, 1)
"""Documents of each object: skewed."""
LEAVE_S = 10
Row = tuple[str, tuple[float, ...]]

WORDS = (
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
)


def sentence(number: int) -> str:
    """A text that no other number has."""
    return " ".join(WORDS[number // 12**place % 12] for place in range(4)) + "."


@pytest.fixture(params=["process", "docker"])
def runner(request: pytest.FixtureRequest, tiny_bundle: Path) -> Runner:
    if request.param == "process":
        return ProcessRunner(bundle=tiny_bundle)
    return request.getfixturevalue("docker_runner")


@pytest.fixture
def docker_runner(image: str, tiny_bundle: Path) -> Runner:
    """The image with another model than its own, so that its hosts are ready at once."""
    return DockerRunner(image=image, bundle=tiny_bundle)


@dataclass(frozen=True, slots=True)
class Corpus:
    """Objects of skewed sizes by name; rows: what one run on one machine makes of them."""

    objects: dict[str, str]
    rows: dict[str, Row]


@pytest.fixture(scope="session")
def corpus(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("undisturbed")
    objects: dict[str, str] = {}
    number = 0
    for file, size in enumerate(SIZES):
        objects[f"{file % 2}/part-{file}.jsonl"] = "".join(
            json.dumps({"id": f"d{n:06}", "text": sentence(n)}) + "\n"
            for n in range(number, number + size)
        )
        number += size
    for name, text in objects.items():
        path = folder / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    spec = spec_of(str(folder / "in"), str(folder / "out"), tiny_bundle)
    run_job(spec, progress=SilentProgress(), report_dir=folder / "report")
    return Corpus(objects, rows_of(str(folder / "out")))


def spec_of(source: str, output: str, bundle: Path, **compute: Any) -> JobSpec:
    return JobSpec.model_validate(
        {
            "name": "fleet",
            # Splits of 50 documents or so: work enough to be stopped in the midst of it.
            "input": {"uri": source, "split_mib": 0.004},
            "model": {"bundle": str(bundle), "engine": "null"},
            "outputs": [{"parquet": {"uri": output, "text": True}}],
            "execution": {"workers": 1},
            "compute": {
                "instance_type": "ml.c7i.xlarge",
                "image_uri": IMAGE_URI,
                "role_arn": "arn:aws:iam::123456789012:role/embed-job",
                "region": "us-east-1",
                "max_runtime_s": 200,
                **compute,
            },
        }
    )


def rows_of(uri: str) -> dict[str, Row]:
    """id → (text, vector) of every row that counts, each id once."""
    rows: dict[str, Row] = {}
    dataset = open_dataset(store_for(uri), uri)
    for batch in dataset.iter_rows(columns=["id", "text", "vector"]):
        for row in batch.to_pylist():
            assert row["id"] not in rows, f"{row['id']} twice"
            rows[row["id"]] = (row["text"], tuple(row["vector"]))
    return rows


class Account:
    """A corpus in S3, and jobs over it."""

    def __init__(self, bucket: str, folder: Path, bundle: Path, corpus: Corpus) -> None:
        self.folder = folder
        self.corpus = corpus
        self.bundle = bundle
        self.clients = make_clients("us-east-1", environment=os.environ)
        self.s3 = patient_s3(self.clients)
        self.bucket = bucket
        self.input = f"s3://{bucket}/in"
        self.output = f"s3://{bucket}/out"
        self.stop = threading.Event()
        self.shown = io.StringIO()
        for name, text in corpus.objects.items():
            self.s3.put_object(Bucket=bucket, Key=f"in/{name}", Body=text)

    def spec(self, *, hosts: int = 3, **compute: Any) -> JobSpec:
        return spec_of(self.input, self.output, self.bundle, instance_count=hosts, **compute)

    def submit(self, spec: JobSpec, runner: Runner, *, unwise: bool = False) -> Described:
        """The job as `embed-job submit --on local` carries it out, its end included.

        unwise: though the plan has errors.
        """
        random_name = random.Random(time.time_ns())
        names = new_names(
            spec.name,
            spec.parquet.uri,
            region="us-east-1",
            now=datetime.now(UTC),
            rng=random_name,
        )
        folder = self.folder / names.job
        folder.mkdir(parents=True)
        plan = make_launch_plan(spec, names, clients=self.clients, folder=folder, on="local")
        assert unwise or not plan.errors
        assert plan.request is not None
        order = write_order_files(plan, folder, created_at=time.time())
        listing = folder / LISTING_FILE
        shutil.copyfile(listing, folder / "kept.parquet")  # bringing it to S3 moves it
        bring_files(self.clients.store, names, folder=folder)
        service = LocalService(
            runner=runner,
            s3=self.s3,
            access=access_of(self.s3, self.clients.session),
            folder=self.folder / "local",
            tail=Tail(self.shown),
            stopping=self.stop.is_set,
            pace=Pace(poll_s=0.05, upload_s=0.2),
        )
        before = self.manifests()
        described = service.carry_out(plan.request)
        if described.completed and spec.compute and spec.compute.delivery == "processing_output":
            problems = self._finalize(names.job, order, folder / "kept.parquet")
            if problems and before and spec.compute.upload_mode == "Continuous":
                # A job that was cut short may have uploaded a manifest and not what it names: the
                # end finds out and withdraws it, and the next job embeds that split anew.
                assert "not whole" in problems[0], problems
                return self.submit(spec, runner)
            assert not problems
        return described

    def _finalize(self, job: str, order: JobOrder, listing: Path) -> tuple[str, ...]:
        verdict, report = finalize_job(self.clients.store, self.output, job, order, listing)
        assert report.ok == (not verdict.problems)
        return verdict.problems

    def start(self, spec: JobSpec, runner: Runner) -> Callable[[], Described]:
        """Submit beside the test; the answer waits for the job's end."""
        ended: list[Described] = []
        thread = threading.Thread(target=lambda: ended.append(self.submit(spec, runner)))
        thread.start()

        def wait() -> Described:
            thread.join(timeout=120)
            assert ended, f"the job did not end\n{self.shown.getvalue()}"
            return ended[0]

        return wait

    def manifests(self) -> dict[str, str]:
        """Committed splits as S3 has them: key to ETag."""
        prefix = "out/_embed_job/manifests/"
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return {entry["Key"]: entry["ETag"] for page in pages for entry in page.get("Contents", [])}

    def wait_for_line(self, text: str) -> None:
        deadline = time.monotonic() + 60
        while text not in self.shown.getvalue():
            assert time.monotonic() < deadline, self.shown.getvalue()
            time.sleep(0.05)

    def kill(self, host: str) -> None:
        """SIGKILL to a host's container or process."""
        lines = self.shown.getvalue().splitlines()
        kind, name = next(line.split()[-2:] for line in lines if line.startswith(f"{host} is "))
        if kind == "container":
            subprocess.run(["docker", "kill", name], check=True, capture_output=True)
        else:
            os.kill(int(name), signal.SIGKILL)

    def check(self, job: str) -> None:
        """The output is whole, sound, and that of one undisturbed run; the job has its report."""
        rows = rows_of(self.output)
        assert len(rows) == sum(SIZES)
        assert rows == self.corpus.rows
        verified = verify_output(self.clients.store, self.output)
        assert verified.ok, [check for check in verified.checks if not check.ok]
        assert Commits(self.clients.store, self.output).job() is not None
        report = json.loads(self.clients.store.read(f"{self.job_key(job)}/report.json"))
        assert report["counts"]["documents"]["read"] == sum(SIZES)
        assert b"<html" in self.clients.store.read(f"{self.job_key(job)}/report.html")[:500]

    def job_key(self, job: str) -> str:
        return f"{self.output}/_embed_job/jobs/{job}"


@pytest.fixture
def account(s3_bucket: str, tmp_path: Path, tiny_bundle: Path, corpus: Corpus) -> Account:
    return Account(s3_bucket, tmp_path, tiny_bundle, corpus)


WAYS = {
    "sharded": {"sharing": "sharded_by_s3_key"},
    "balanced": {"sharing": "balanced"},
    "end-of-job": {"delivery": "processing_output"},
    "continuous": {"delivery": "processing_output", "upload_mode": "Continuous"},
}
CASES = [
    ("process", "sharded", 1),
    ("process", "sharded", 5),
    ("process", "balanced", 1),
    ("process", "balanced", 3),
    ("process", "end-of-job", 3),
    ("process", "continuous", 3),
    ("docker", "sharded", 1),
    ("docker", "sharded", 3),
    ("docker", "sharded", 5),
    ("docker", "balanced", 3),
    ("docker", "end-of-job", 5),
    ("docker", "continuous", 3),
]


@pytest.mark.parametrize(("runner", "way", "hosts"), CASES, indirect=["runner"])
def test_any_number_of_hosts(account: Account, runner: Runner, way: str, hosts: int) -> None:
    described = account.submit(account.spec(hosts=hosts, **WAYS[way]), runner)
    assert described.completed, account.shown.getvalue()
    assert not described.failure_reason
    account.check(described.job)


def test_more_hosts_than_objects(account: Account, docker_runner: Runner) -> None:
    described = account.submit(account.spec(hosts=len(SIZES) + 1), docker_runner, unwise=True)
    assert described.completed, account.shown.getvalue()
    account.check(described.job)


KILLED = [
    ("process", "sharded"),
    ("process", "end-of-job"),
    ("process", "continuous"),
    ("docker", "sharded"),
    ("docker", "balanced"),
    ("docker", "continuous"),
]


@pytest.mark.parametrize(("runner", "way"), KILLED, indirect=["runner"])
def test_a_host_killed_half_way(account: Account, runner: Runner, way: str) -> None:
    """Submitted again on another number of hosts, it ends as if nothing had happened."""
    wait = account.start(account.spec(hosts=3, **WAYS[way]), runner)
    account.wait_for_line("algo-1 | 1 of ")  # it has the largest object, with many splits
    account.kill("algo-1")
    first = wait()
    assert first.status == "Failed", account.shown.getvalue()
    assert "exit code: 137 (algo-1)" in (first.failure_reason or "")
    before = account.manifests()
    assert way == "continuous" or bool(before) == (way != "end-of-job")

    account.shown = io.StringIO()
    second = account.submit(account.spec(hosts=5, **WAYS[way]), runner)
    assert second.completed, account.shown.getvalue()
    account.check(second.job)
    if way in ("sharded", "balanced"):
        after = account.manifests()
        assert {key: after[key] for key in before} == before  # none of it was done twice


STOPPED = [("process", "balanced"), ("docker", "sharded"), ("docker", "continuous")]


@pytest.mark.parametrize(("runner", "way"), STOPPED, indirect=["runner"])
def test_stopped_in_time_and_gone_on_with(account: Account, runner: Runner, way: str) -> None:
    """SIGTERM: every host is gone within ten seconds, and what it has committed counts."""
    wait = account.start(account.spec(hosts=3, **WAYS[way]), runner)
    account.wait_for_line("algo-1 | 1 of ")
    stopped_at = time.monotonic()
    account.stop.set()
    first = wait()
    assert time.monotonic() - stopped_at < LEAVE_S
    assert first.status == "Stopped", account.shown.getvalue()
    assert "killed" not in account.shown.getvalue()
    account.stop.clear()
    second = account.submit(account.spec(hosts=2, **WAYS[way]), runner)
    assert second.completed, account.shown.getvalue()
    account.check(second.job)


def test_network_isolation(account: Account, docker_runner: Runner) -> None:
    """With no network but loopback it still embeds."""
    spec = account.spec(hosts=3, delivery="processing_output", network={"isolation": True})
    described = account.submit(spec, docker_runner)
    assert described.completed, account.shown.getvalue()
    account.check(described.job)


def test_an_image_with_another_model_is_refused(
    account: Account, docker_runner: Runner, default_bundle: Path
) -> None:
    spec = account.spec(hosts=1)
    model = spec.model.model_copy(update={"bundle": default_bundle})
    described = account.submit(spec.model_copy(update={"model": model}), docker_runner)
    assert described.status == "Failed"
    assert "model" in (described.exit_message or ""), account.shown.getvalue()
    assert account.manifests() == {}


def test_as_a_new_user_types_it(tmp_path: Path, tiny_bundle: Path) -> None:
    """`make submit-job SPEC=jobs/example.yaml ON=local`, with the tiny model, without Docker."""
    spec = yaml.safe_load((ROOT / "jobs/example.yaml").read_text())
    spec["model"] = {"bundle": str(tiny_bundle), "engine": "null"}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(spec))
    (tmp_path / "models").mkdir()
    (tmp_path / "models/default").symlink_to(tiny_bundle, target_is_directory=True)
    environment = {name: v for name, v in os.environ.items() if not name.startswith("AWS_")}

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", *command],
            check=False,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )

    program = [sys.executable, "-m", "launcher.cli"]
    done = run(
        *("launcher.local.stand_in", "job.yaml", "--", *program, "submit", "job.yaml"),
        *("--on", "local", "--runner", "process"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results = tmp_path / "out/example"
    report = json.loads((results / "report.json").read_text())
    assert report["ok"]
    assert report["counts"]["documents"]["written"] == 1000
    assert "<html" in (results / "report.html").read_text()[:500]
    assert run("launcher.cli", "verify", "out/example/vectors").returncode == 0
    described = list((tmp_path / "out/local").glob("*/describe.json"))
    assert len(described) == 1
    assert json.loads(described[0].read_text())["ProcessingJobStatus"] == "Completed"


def test_ctrl_c(tmp_path: Path, tiny_bundle: Path) -> None:
    """SIGINT to the terminal's process group stops the job and leaves no host."""
    spec = yaml.safe_load((ROOT / "jobs/example.yaml").read_text())
    spec["input"]["split_mib"] = 0.004
    spec["model"] = {"bundle": str(tiny_bundle), "engine": "null"}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(spec))
    (tmp_path / "models").mkdir()
    (tmp_path / "models/default").symlink_to(tiny_bundle, target_is_directory=True)
    environment = {name: v for name, v in os.environ.items() if not name.startswith("AWS_")}
    python = [sys.executable, "-m"]
    child = subprocess.Popen(
        [
            *(*python, "launcher.local.stand_in", "job.yaml", "--"),
            *(*python, "launcher.cli", "submit", "job.yaml", "--on", "local"),
            *("--runner", "process"),
        ],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert child.stderr is not None
    try:
        pids = []
        for line in child.stderr:
            if " is process " in line:
                pids.append(int(line.split()[-1]))
            if line.startswith("algo-1 | ") and "splits, 0 of them" in line:
                break
        os.killpg(child.pid, signal.SIGINT)
        rest = child.stderr.read()
        assert child.wait(timeout=60) == 130, rest
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.stderr.close()
    assert len(pids) == 3
    listed = subprocess.run(["ps", "-eo", "pgid=,stat="], capture_output=True, check=True).stdout
    groups = (line.split() for line in listed.decode().splitlines())
    assert not {int(group) for group, state in groups if state[0] != "Z"} & set(pids)
    kept = next((tmp_path / "out/local").glob("*/describe.json"))
    assert json.loads(kept.read_text())["ProcessingJobStatus"] == "Stopped"
