"""The local service against SageMaker's contract: what a host is given, and what is made of it."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest

from embed_job.errors import SpecError, UserError
from launcher.local.access import access_of
from launcher.local.described import Described
from launcher.local.docker import DockerRunner
from launcher.local.process import ProcessRunner
from launcher.local.runner import DEFAULT_IMAGE, HostTask, Runner, choose_runner
from launcher.local.service import LocalService, Pace
from launcher.local.tail import Tail

PROBE = Path(__file__).with_name("local_probe.py")
ROLE = "arn:aws:iam::123456789012:role/embed-job"
IMAGE_URI = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/embed-job@sha256:" + "0" * 64
PROCESSING = "/opt/ml/processing"
FAST = Pace(poll_s=0.05, upload_s=0.2, grace_s=3)


@pytest.fixture(params=["process", "docker"])
def runner(request: pytest.FixtureRequest, tiny_bundle: Path) -> Runner:
    if request.param == "process":
        return ProcessRunner(bundle=tiny_bundle)
    return DockerRunner(image=request.getfixturevalue("image"))


@pytest.fixture
def process_runner(tiny_bundle: Path) -> Runner:
    return ProcessRunner(bundle=tiny_bundle)


class Bench:
    """A bucket with the probe as code, requests for it, and what came of them."""

    def __init__(self, bucket: str, folder: Path) -> None:
        self.session = boto3.Session()
        self.s3 = self.session.client("s3")
        self.bucket = bucket
        self.folder = folder
        self.stop = threading.Event()
        self.shown = io.StringIO()
        self.s3.upload_file(str(PROBE), bucket, "code/probe.py")

    def put(self, key: str, body: str = "x") -> None:
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=body.encode())

    def request(
        self, what: str = "", *, hosts: int = 1, mode: str = "EndOfJob", **changes: Any
    ) -> dict[str, Any]:
        return {
            "ProcessingJobName": f"job-{uuid.uuid4().hex[:12]}",
            "ProcessingResources": {
                "ClusterConfig": {
                    "InstanceCount": hosts,
                    "InstanceType": "ml.c7i.xlarge",
                    "VolumeSizeInGB": 1,
                }
            },
            "AppSpecification": {
                "ImageUri": IMAGE_URI,
                "ContainerEntrypoint": ["python3", f"{PROCESSING}/input/code/probe.py"],
            },
            "ProcessingInputs": [self.channel("code")],
            "ProcessingOutputConfig": {
                "Outputs": [
                    {
                        "OutputName": "out",
                        "S3Output": {
                            "S3Uri": f"s3://{self.bucket}/out",
                            "LocalPath": f"{PROCESSING}/output/out",
                            "S3UploadMode": mode,
                        },
                    }
                ]
            },
            "Environment": {"WHAT": what, "AWS_REGION": "eu-west-1"},
            "RoleArn": ROLE,
            "StoppingCondition": {"MaxRuntimeInSeconds": 100},
            "Tags": [{"Key": "team", "Value": "search"}],
            **changes,
        }

    def channel(self, name: str, prefix: str = "", *, sharded: bool = False) -> dict[str, Any]:
        return {
            "InputName": name,
            "S3Input": {
                "S3Uri": f"s3://{self.bucket}/{prefix or f'{name}/'}",
                "LocalPath": f"{PROCESSING}/input/{name}",
                "S3DataType": "S3Prefix",
                "S3InputMode": "File",
                "S3DataDistributionType": "ShardedByS3Key" if sharded else "FullyReplicated",
            },
        }

    def carry_out(self, request: dict[str, Any], runner: Runner, *, seed: int = 0) -> Described:
        service = LocalService(
            runner=runner,
            s3=self.s3,
            access=access_of(self.s3, self.session),
            folder=self.folder,
            tail=Tail(self.shown),
            stopping=self.stop.is_set,
            pace=FAST,
            seed=seed,
        )
        return service.carry_out(request)

    def start(self, request: dict[str, Any], runner: Runner) -> Callable[[], Described]:
        """Carry a request out beside the test; the answer waits for its end."""
        ended: list[Described] = []
        thread = threading.Thread(target=lambda: ended.append(self.carry_out(request, runner)))
        thread.start()

        def wait() -> Described:
            thread.join(timeout=60)
            assert ended, "the job did not end"
            return ended[0]

        return wait

    def wait_for_line(self, text: str) -> None:
        deadline = time.monotonic() + 30
        while text not in self.shown.getvalue():
            assert time.monotonic() < deadline, f"no {text!r} in {self.shown.getvalue()!r}"
            time.sleep(0.05)

    def keys(self, prefix: str = "out/") -> set[str]:
        found = self.s3.list_objects_v2(Bucket=self.bucket, Prefix=prefix).get("Contents", [])
        return {entry["Key"] for entry in found}

    def seen(self, host: str) -> dict[str, Any]:
        answer = self.s3.get_object(Bucket=self.bucket, Key=f"out/seen-{host}.json")
        seen: dict[str, Any] = json.loads(answer["Body"].read())
        return seen


@pytest.fixture
def bench(s3_bucket: str, tmp_path: Path) -> Bench:
    return Bench(s3_bucket, tmp_path / "local")


def test_what_a_host_is_given(bench: Bench, runner: Runner) -> None:
    for number in range(7):
        bench.put(f"docs/sub/{number}.txt", f"text {number}")
    bench.put("lists/a.txt", "all of it")
    inputs = [
        bench.channel("code"),
        bench.channel("docs", sharded=True),
        bench.channel("lists"),
    ]
    request = bench.request(hosts=3, ProcessingInputs=inputs)
    request["AppSpecification"]["ContainerArguments"] = ["--flag", "a word"]
    described = bench.carry_out(request, runner)
    assert described.completed, bench.shown.getvalue()

    seen = {host: bench.seen(host) for host in ("algo-1", "algo-2", "algo-3")}
    shards = [set(found["inputs"]["docs"]) for found in seen.values()]
    assert sorted(map(len, shards)) == [2, 2, 3]
    assert set().union(*shards) == {f"sub/{number}.txt" for number in range(7)}
    for host, found in seen.items():
        assert found["inputs"]["lists"] == {"a.txt": "all of it"}
        assert found["config"]["resourceconfig.json"] == {
            "current_host": host,
            "hosts": ["algo-1", "algo-2", "algo-3"],
        }
        assert found["arguments"] == ["--flag", "a word"]
        assert found["output_is_there"]
    config = seen["algo-2"]["config"]["processingjobconfig.json"]
    name = request["ProcessingJobName"]
    assert config["ProcessingJobArn"] == (
        f"arn:aws:sagemaker:eu-west-1:123456789012:processing-job/{name}"
    )
    assert config["ProcessingJobName"] == name
    assert config["ProcessingInputs"] == inputs
    assert config["Environment"] == request["Environment"]
    assert config["ProcessingOutputConfig"]["KmsKeyId"] is None
    assert config["ProcessingResources"]["ClusterConfig"]["VolumeKmsKeyId"] is None
    assert "Tags" not in config


def test_environment_and_nothing_else(
    bench: Bench, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_LAUNCHER", "x")
    assert bench.carry_out(bench.request(), runner).completed
    environment = bench.seen("algo-1")["environment"]
    assert environment["WHAT"] == ""
    assert environment["AWS_REGION"] == "eu-west-1"
    assert "AWS_DEFAULT_REGION" not in environment  # no region is injected
    assert "SECRET_OF_THE_LAUNCHER" not in environment
    assert environment["AWS_ENDPOINT_URL"] == os.environ["AWS_ENDPOINT_URL"]
    assert environment["AWS_ACCESS_KEY_ID"] == "testing"


def test_describe_is_kept(bench: Bench, runner: Runner) -> None:
    request = bench.request()
    before = time.time()
    described = bench.carry_out(request, runner)
    folder = bench.folder / request["ProcessingJobName"]
    kept = json.loads((folder / "describe.json").read_text())
    assert kept == described.as_answer()
    assert kept["ProcessingJobStatus"] == "Completed"
    assert kept["AppSpecification"] == request["AppSpecification"]
    assert "FailureReason" not in kept
    assert described.started_at is not None
    assert described.ended_at is not None
    assert before <= described.created_at <= described.started_at <= described.ended_at
    assert json.loads((folder / "request.json").read_text()) == request
    log = (folder / "logs/algo-1.log").read_text()
    assert log.splitlines() == [
        "this is algo-1",
        '{"event": "started", "host": "algo-1", "splits": 3}',
    ]
    assert "algo-1 | started splits=3" in bench.shown.getvalue()
    # Documents are gone from this machine, and a file of theirs with them.
    assert {path.name for path in folder.iterdir()} == {"describe.json", "request.json", "logs"}


def test_fewer_objects_than_hosts(bench: Bench, runner: Runner) -> None:
    bench.put("docs/only.txt")
    inputs = [bench.channel("code"), bench.channel("docs", sharded=True)]
    described = bench.carry_out(bench.request(hosts=3, ProcessingInputs=inputs), runner)
    assert described.completed
    shards = [bench.seen(f"algo-{n}")["inputs"]["docs"] for n in (1, 2, 3)]
    assert sorted(map(len, shards)) == [0, 0, 1]


def test_shares_depend_on_the_seed_alone(bench: Bench, process_runner: Runner) -> None:
    for number in range(12):
        bench.put(f"docs/{number:02}.txt")
    inputs = [bench.channel("code"), bench.channel("docs", sharded=True)]

    def shares(seed: int) -> list[list[str]]:
        request = bench.request(hosts=2, ProcessingInputs=inputs)
        assert bench.carry_out(request, process_runner, seed=seed).completed
        return [sorted(bench.seen(f"algo-{n}")["inputs"]["docs"]) for n in (1, 2)]

    assert shares(1) == shares(1)
    assert shares(1) != shares(2)


def test_a_prefix_is_no_folder(bench: Bench, process_runner: Runner) -> None:
    """As on S3: without a slash at its end a prefix also matches its siblings."""
    for key in ("kb/a.txt", "kb/b/c.txt", "kb-old/d.txt", "kb/"):
        bench.put(key)
    inputs = [bench.channel("code"), bench.channel("docs", "kb")]
    assert bench.carry_out(bench.request(ProcessingInputs=inputs), process_runner).completed
    assert set(bench.seen("algo-1")["inputs"]["docs"]) == {"a.txt", "b/c.txt", "kb-old/d.txt"}


def test_one_object_as_a_prefix(bench: Bench, process_runner: Runner) -> None:
    bench.put("deep/down/a.txt")
    inputs = [bench.channel("code"), bench.channel("docs", "deep/down/a.txt")]
    assert bench.carry_out(bench.request(ProcessingInputs=inputs), process_runner).completed
    assert set(bench.seen("algo-1")["inputs"]["docs"]) == {"a.txt"}


def test_no_objects_fail_the_job(bench: Bench, process_runner: Runner) -> None:
    inputs = [bench.channel("code"), bench.channel("docs", sharded=True)]
    described = bench.carry_out(bench.request(ProcessingInputs=inputs), process_runner)
    assert described.status == "Failed"
    assert "No S3 objects found" in (described.failure_reason or "")
    assert f"s3://{bench.bucket}/docs/" in (described.failure_reason or "")
    assert described.started_at is None


def test_a_missing_bucket_fails_the_job(bench: Bench, process_runner: Runner) -> None:
    docs = bench.channel("docs")
    docs["S3Input"]["S3Uri"] = "s3://no-such-bucket-here/docs/"
    request = bench.request(ProcessingInputs=[bench.channel("code"), docs])
    described = bench.carry_out(request, process_runner)
    assert described.status == "Failed"
    assert "no-such-bucket-here" in (described.failure_reason or "")


def test_an_object_cannot_leave_its_folder(bench: Bench, process_runner: Runner) -> None:
    bench.put("docs/../../../evil.txt")
    request = bench.request(ProcessingInputs=[bench.channel("code"), bench.channel("docs")])
    described = bench.carry_out(request, process_runner)
    assert described.status == "Failed"
    assert "evil.txt" in (described.failure_reason or "")
    assert not list(bench.folder.rglob("evil.txt"))


def test_messages_are_joined_and_cut(bench: Bench, runner: Runner) -> None:
    described = bench.carry_out(bench.request("message", hosts=2), runner)
    message = described.exit_message or ""
    assert described.completed
    assert message.startswith("algo-1: éé")
    assert "algo-2: éé" in message
    # 2 × 608 bytes were written; the cut falls within a letter, which is left out.
    assert 1023 <= len(message.encode()) <= 1024


def test_a_host_that_fails_fails_the_job(bench: Bench, runner: Runner) -> None:
    request = bench.request("fail@algo-2,leave@algo-1,stay@algo-1", hosts=2)
    described = bench.carry_out(request, runner)
    assert described.status == "Failed"
    assert "exit code: 3 (algo-2)" in (described.failure_reason or "")
    assert described.exit_message == "told to leave "
    assert bench.keys() == set()  # EndOfJob, and this was no good end


def test_a_killed_host_fails_the_job(bench: Bench, process_runner: Runner) -> None:
    wait = bench.start(bench.request("stay,leave", hosts=2), process_runner)
    bench.wait_for_line("algo-2 | staying")
    line = next(line for line in bench.shown.getvalue().splitlines() if "algo-2 is" in line)
    os.kill(int(line.split()[-1]), 9)
    described = wait()
    assert described.status == "Failed"
    assert "exit code: 137 (algo-2)" in (described.failure_reason or "")


def test_a_deaf_host_is_killed(bench: Bench, runner: Runner) -> None:
    request = bench.request("deaf,stay", hosts=2)
    wait = bench.start(request, runner)
    bench.wait_for_line("algo-2 | staying")
    bench.stop.set()
    assert wait().status == "Stopped"
    assert "Still there after 3 s, killed: algo-1, algo-2" in bench.shown.getvalue()
    assert no_traces(request["ProcessingJobName"])


def test_stopping(bench: Bench, runner: Runner) -> None:
    request = bench.request("leave,stay", hosts=2)
    wait = bench.start(request, runner)
    bench.wait_for_line("algo-1 | staying")
    bench.wait_for_line("algo-2 | staying")
    bench.stop.set()
    described = wait()
    assert described.status == "Stopped"
    assert described.failure_reason is None
    assert described.exit_message == "told to leave told to leave "
    assert no_traces(request["ProcessingJobName"])


def no_traces(job: str) -> bool:
    """Whether no container and no process of a job is left."""
    if shutil.which("docker"):
        command = ["docker", "ps", "-aq", "--filter", f"label=embed-job.job={job}"]
        if subprocess.run(command, capture_output=True, check=False).stdout:
            return False
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    return job not in running.stdout


def test_the_time_limit(bench: Bench, runner: Runner) -> None:
    request = bench.request("leave,stay", StoppingCondition={"MaxRuntimeInSeconds": 2})
    began = time.monotonic()
    described = bench.carry_out(request, runner)
    assert described.status == "Stopped"
    assert time.monotonic() - began < 20


def test_continuous_uploads_come_while_it_runs(bench: Bench, runner: Runner) -> None:
    wait = bench.start(bench.request("leave,stay,link", mode="Continuous"), runner)
    deadline = time.monotonic() + 30
    while not bench.keys():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    bench.stop.set()
    assert wait().status == "Stopped"
    assert bench.keys() == {"out/seen-algo-1.json"}


def test_continuous_uploads_are_whole_at_the_end(bench: Bench, process_runner: Runner) -> None:
    assert bench.carry_out(bench.request(hosts=2, mode="Continuous"), process_runner).completed
    assert bench.keys() == {"out/seen-algo-1.json", "out/seen-algo-2.json"}


def test_links_are_not_followed(bench: Bench, runner: Runner) -> None:
    described = bench.carry_out(bench.request("link"), runner)
    assert described.completed
    assert described.exit_message is None
    assert bench.keys() == {"out/seen-algo-1.json"}


def test_an_output_that_cannot_be_uploaded_fails_the_job(
    bench: Bench, process_runner: Runner
) -> None:
    for mode in ("EndOfJob", "Continuous"):
        request = bench.request(mode=mode)
        target = request["ProcessingOutputConfig"]["Outputs"][0]["S3Output"]
        target["S3Uri"] = "s3://no-such-bucket-here/out"
        described = bench.carry_out(request, process_runner)
        assert described.status == "Failed"
        assert "no-such-bucket-here" in (described.failure_reason or "")


def test_network_isolation(bench: Bench, runner: Runner) -> None:
    isolated = bench.request(NetworkConfig={"EnableNetworkIsolation": True})
    assert bench.carry_out(isolated, runner).completed
    seen = bench.seen("algo-1")
    assert not {name for name in seen["environment"] if name.startswith("AWS_")} - {"AWS_REGION"}
    if isinstance(runner, DockerRunner):
        assert seen["network"] == []


def test_a_name_is_used_once(bench: Bench, process_runner: Runner) -> None:
    request = bench.request()
    assert bench.carry_out(request, process_runner).completed
    with pytest.raises(UserError, match="used once"):
        bench.carry_out(request, process_runner)


def test_preferences_of_instances(bench: Bench, process_runner: Runner) -> None:
    request = bench.request()
    request["ProcessingResources"]["ClusterConfig"] = {
        "InstancePreferences": [
            {"InstanceType": "ml.c7i.xlarge", "InstanceCount": 2},
            {"InstanceType": "ml.c6i.xlarge", "InstanceCount": 5},
        ],
        "VolumeSizeInGB": 1,
    }
    assert bench.carry_out(request, process_runner).completed
    assert bench.keys() == {"out/seen-algo-1.json", "out/seen-algo-2.json"}


@pytest.mark.parametrize(
    "change",
    [{"S3InputMode": "Pipe"}, {"S3DataType": "ManifestFile"}, {"S3CompressionType": "Gzip"}],
)
def test_what_is_not_done_here_is_refused(
    bench: Bench, process_runner: Runner, change: dict[str, str]
) -> None:
    docs = bench.channel("docs")
    docs["S3Input"] |= change
    request = bench.request(ProcessingInputs=[bench.channel("code"), docs])
    with pytest.raises(SpecError, match=next(iter(change))):
        bench.carry_out(request, process_runner)
    assert not bench.folder.exists()


class OneFails:
    """A runner whose second host can't be started."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def start(self, task: HostTask) -> Any:
        if task.rank == 1:
            raise OSError("no more hosts")
        return self._runner.start(task)


def test_no_host_is_left_where_another_cannot_start(bench: Bench, process_runner: Runner) -> None:
    request = bench.request("stay", hosts=2)
    with pytest.raises(OSError, match="no more hosts"):
        bench.carry_out(request, OneFails(process_runner))
    folder = bench.folder / request["ProcessingJobName"]
    kept = json.loads((folder / "describe.json").read_text())
    assert kept["ProcessingJobStatus"] == "Failed"
    assert no_traces(request["ProcessingJobName"])


def test_docker_that_is_not_there(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    notes: list[str] = []
    with pytest.raises(UserError, match="Docker is not installed"):
        choose_runner("docker", image=DEFAULT_IMAGE, bundle=None, note=notes.append)
    chosen = choose_runner("auto", image=DEFAULT_IMAGE, bundle=tiny_bundle, note=notes.append)
    assert isinstance(chosen, ProcessRunner)
    assert notes == ["Each host is a process with its own root: Docker is not installed."]


def test_an_image_that_is_not_there(image: str) -> None:
    with pytest.raises(UserError, match="make image"):
        choose_runner("docker", image=f"{image}-not", bundle=None, note=print)
