"""submit, status, logs and stop, as a user types them, against a moto server."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
import pytest

from embed_job.cli.program import run_program
from embed_job.commit.commits import Commits
from embed_job.manifest import Counts, SplitCounts, SplitManifest, SplitSource, StageTimes
from embed_job.storage import store_for
from launcher.cli import app

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Cli:
    """Exit code, standard output and standard error of a command line."""

    def call(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = run_program(app, [str(argument) for argument in arguments], name="embed-job")
        return code, *capfd.readouterr()

    return call


def make_job(name: str, bucket: str, *, log: list[str] | None = None) -> str:
    """A job of cloud_spec as SageMaker would hold it, and its log."""
    prefix = f"s3://{bucket}/out/vectors/_embed_job/jobs/{name}/"
    boto3.client("sagemaker").create_processing_job(
        ProcessingJobName=name,
        ProcessingResources={
            "ClusterConfig": {
                "InstanceType": "ml.c7i.xlarge",
                "InstanceCount": 3,
                "VolumeSizeInGB": 30,
            }
        },
        AppSpecification={"ImageUri": "image"},
        RoleArn="arn:aws:iam::123456789012:role/embed-job",
        ProcessingInputs=[
            {
                "InputName": "job",
                "S3Input": {
                    "S3Uri": f"{prefix}input/",
                    "LocalPath": "/opt/ml/processing/input/job",
                    "S3DataType": "S3Prefix",
                    "S3InputMode": "File",
                },
            }
        ],
    )
    if log is not None:
        write_log(name, log)
    return name


def write_log(job: str, lines: list[str]) -> None:
    client = boto3.client("logs")
    group, stream = "/aws/sagemaker/ProcessingJobs", f"{job}/algo-1-1700000000"
    for make, names in (
        (client.create_log_group, {"logGroupName": group}),
        (client.create_log_stream, {"logGroupName": group, "logStreamName": stream}),
    ):
        with suppress(client.exceptions.ResourceAlreadyExistsException):
            make(**names)
    now = int(time.time() * 1000)
    client.put_log_events(
        logGroupName=group,
        logStreamName=stream,
        logEvents=[{"timestamp": now + at, "message": line} for at, line in enumerate(lines)],
    )


def test_submit_sends_what_plan_shows_and_calls_what_plan_lists(
    aws: Any, cloud_spec: Path, cli: Cli
) -> None:
    code, out, _ = cli("plan", cloud_spec, "--json")
    assert code == 0
    planned = json.loads(out)["request"]
    listed = [call for call in json.loads(out)["calls"] if call["when"] != "wait"]
    aws.calls.clear()

    # In a process of its own, so that what it does is all that is seen.
    found = subprocess.run(
        [sys.executable, "-m", "launcher.cli", "submit", str(cloud_spec), "--yes", "--json"],
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )

    assert found.returncode == 0, found.stderr
    facts = json.loads(found.stdout)
    [sent] = [call.request for call in aws.calls if call.operation == "CreateProcessingJob"]
    assert sent["ProcessingJobName"] == facts["job"]
    old = planned["ProcessingJobName"]
    assert sent == json.loads(json.dumps(planned).replace(old, facts["job"]))
    assert facts["console"].endswith(f"region=us-east-1#/processing-jobs/{facts['job']}")
    assert f"embed-job logs {facts['job']} --follow" in found.stderr
    for call in aws.calls:
        assert any(is_listed(call, item, old, facts["job"]) for item in listed), call
    assert "outside" not in {call.service for call in aws.calls}


def is_listed(call: Any, item: dict[str, Any], planned: str, job: str) -> bool:
    """Whether a call that was made is one that the plan lists."""
    names = {"ListObjectsV2": "ListBucket", "HeadObject": "GetObject"}
    if item["action"] != f"{call.service}:{names.get(call.operation, call.operation)}":
        return False
    if call.service != "s3":
        return True
    asked = call.request
    place = f"s3://{asked['bucket']}/{asked['key']}{asked['query'].get('prefix', '')}"
    resource = item["resource"].replace(planned, job)
    if resource.endswith("*"):
        return place.startswith(resource[:-1])
    return place.rstrip("/") == resource.rstrip("/")


def test_a_second_run_is_refused_while_one_is_running(
    aws: Any, s3_bucket: str, cloud_spec: Path, cli: Cli
) -> None:
    running = f"{s3_bucket}-20260101-000000-abcd"
    aws.jobs[running] = ["InProgress"]
    code, _, err = cli("submit", cloud_spec, "--yes")
    assert code == 2
    assert f"its job {running} is running" in err
    assert f"embed-job stop {running}" in err
    assert {call.operation for call in aws.calls} == {"ListProcessingJobs"}


def test_a_job_of_a_sibling_is_no_second_run(
    aws: Any, s3_bucket: str, cloud_spec: Path, cli: Cli
) -> None:
    aws.jobs[f"{s3_bucket}-2-20260101-000000-abcd"] = ["InProgress"]
    code, _, err = cli("submit", cloud_spec, "--yes")
    assert code == 0, err


@pytest.mark.parametrize(("answer", "code"), [(b"n\n", 130), (b"\x04", 130), (b"y\n", 0)])
def test_on_a_terminal_the_cost_is_agreed_to_first(
    aws: Any, cloud_spec: Path, answer: bytes, code: int
) -> None:
    ours, terminal = pty.openpty()
    program = subprocess.Popen(
        [sys.executable, "-m", "launcher.cli", "submit", str(cloud_spec)],
        stdin=terminal,
        stderr=subprocess.PIPE,
    )
    os.close(terminal)
    os.write(ours, answer)
    _, err = program.communicate(timeout=120)
    os.close(ours)
    assert program.returncode == code, err
    assert b"at most $15.42 (time limit 24.0 h)" in err
    assert b"Submit? [y/N]" in err
    assert ("CreateProcessingJob" in aws.made("sagemaker")) == (code == 0)


def test_errors_of_the_plan_stop_it(aws: Any, cloud_spec: Path, cli: Cli) -> None:
    code, _, err = cli(
        "submit", cloud_spec, "--yes", "--set", "compute.role_arn=embed-job", "--set",
        "compute.max_cost_usd=0.000001",
    )  # fmt: skip
    assert code == 2
    assert "compute.role_arn" in err
    assert "Nothing was submitted" in err
    assert "CreateProcessingJob" not in aws.made("sagemaker")
    assert "PutObject" not in aws.made("s3")


def test_waiting_ends_well_where_the_job_does(aws: Any, cloud_spec: Path, cli: Cli) -> None:
    code, out, err = cli("submit", cloud_spec, "--yes", "--wait", "--json")
    assert code == 0, err
    facts = json.loads(out)
    assert facts["status"] == "Completed"
    assert facts["report"] == f"{facts['prefix']}report.html"
    assert f"{facts['job']}: Completed" in err


def test_a_missing_permission_names_the_statement_that_grants_it(
    aws: Any, s3_bucket: str, cloud_spec: Path, cli: Cli
) -> None:
    user = "arn:aws:iam::123456789012:user/me"
    job = "arn:aws:sagemaker:us-east-1:123456789012:processing-job/x"
    for action, granted in (
        ("sagemaker:CreateProcessingJob", f"processing-job/{s3_bucket}-*"),
        ("iam:PassRole", "role/embed-job"),
        ("sagemaker:AddTags", f"processing-job/{s3_bucket}-*"),
    ):
        message = f"User: {user} is not authorized to perform: {action} on resource: {job}"
        aws.refusals["CreateProcessingJob"] = [(400, "AccessDeniedException", message)]
        code, _, err = cli("submit", cloud_spec, "--yes")
        assert code == 2
        assert f"Error {action}: AWS does not allow it" in err
        statement = json.loads(err[err.index("{\n") :])
        assert action in statement["Action"]
        assert statement["Resource"][0].endswith(granted)


def test_a_refused_upload_names_its_statement_too(aws: Any, cloud_spec: Path, cli: Cli) -> None:
    aws.refusals["PutObject"] = [(403, "AccessDenied", "Access Denied")]
    code, _, err = cli("submit", cloud_spec, "--yes")
    assert code == 2
    statement = json.loads(err[err.index("{\n") :])
    assert statement["Sid"] == "BringJob"
    assert "CreateProcessingJob" not in aws.made("sagemaker")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("ExpiredTokenException", "credentials are expired or wrong"),
        ("UnrecognizedClientException", "credentials are expired or wrong"),
        ("ResourceLimitExceeded", "a quota of the account is reached"),
        ("ValidationException", "AWS refused the request"),
    ],
)
def test_what_the_service_refuses_is_one_message(
    aws: Any, cloud_spec: Path, cli: Cli, code: str, said: str
) -> None:
    aws.refusals["CreateProcessingJob"] = [(400, code, "as injected")]
    exit_code, out, err = cli("submit", cloud_spec, "--yes")
    assert exit_code == 2
    assert out == ""
    assert said in err
    assert "Traceback" not in err


def test_without_credentials_it_says_so(
    aws: Any, cloud_spec: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    code, _, err = cli("submit", cloud_spec, "--yes")
    assert code == 2
    assert "no credentials" in err
    assert "AWS_PROFILE" in err


def test_a_throttled_question_is_asked_again(aws: Any, s3_bucket: str, cli: Cli) -> None:
    job = make_job(f"{s3_bucket}-20260101-000000-aaaa", s3_bucket)
    throttled = (400, "ThrottlingException", "Rate exceeded")
    aws.refusals["DescribeProcessingJob"] = [throttled, (0, "", "")]
    code, out, _ = cli("status", job, "--json")
    assert code == 0
    assert json.loads(out)["status"] == "Completed"
    assert aws.made("sagemaker").count("DescribeProcessingJob") == 2


def test_status_adds_up_the_manifests(aws: Any, s3_bucket: str, cloud_spec: Path, cli: Cli) -> None:
    older = make_job(f"{s3_bucket}-20260101-000000-aaaa", s3_bucket)
    time.sleep(0.01)
    newer = make_job(f"{s3_bucket}-20260102-000000-bbbb", s3_bucket)
    output = f"s3://{s3_bucket}/out/vectors/"
    for number in range(3):
        Commits(store_for(output), output).commit(manifest(number))
    aws.jobs[newer] = ["InProgress"]
    aws.facts[newer] = {
        "ProcessingResources": {
            "ClusterConfig": {"InstanceType": "ml.c7i.xlarge", "InstanceCount": 3}
        }
    }
    code, out, err = cli("status", cloud_spec, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["name"] == newer != older
    assert found["status"] == "InProgress"
    assert found["instances"] == "3 × ml.c7i.xlarge"
    progress = found["progress"]
    assert (progress["splits"], progress["documents"], progress["rejected"]) == (3, 27, 3)
    code, out, _ = cli("status", newer)
    assert "3 splits committed" in out


def manifest(number: int) -> SplitManifest:
    documents = Counts(read=10, written=9, rejected=1)
    return SplitManifest(
        split=f"{number:064x}",
        attempt="0" * 12,
        fingerprint="f" * 64,
        source=SplitSource(files=(("0.jsonl", "etag:0"),), start=0, end=10, bytes=10),
        counts=SplitCounts(documents=documents),
        parts=(),
        ids=None,
        dead_letters=None,
        worker=0,
        host="algo-1",
        started_at=0,
        finished_at=1,
        stages_s=StageTimes(),
        peak_rss_bytes=1,
    )


LOG = [
    '{"time": "2026-01-01T00:00:00.000+00:00", "level": "info", "job": "x", "host": "algo-1", '
    '"event": "split_committed", "splits": 1}',
    '{"_aws": {"Timestamp": 1}, "event": "metrics", "documents": 9}',
    "plain text",
]


def test_logs_are_readable_and_without_metrics(aws: Any, s3_bucket: str, cli: Cli) -> None:
    job = make_job(f"{s3_bucket}-20260101-000000-aaaa", s3_bucket, log=LOG)
    code, out, _ = cli("logs", job)
    assert code == 0
    lines = out.splitlines()
    assert [line.partition(" | ")[2] for line in lines] == [
        "split committed splits=1",
        "plain text",
    ]
    assert all(" algo-1 | " in line for line in lines)
    code, out, _ = cli("logs", job, "--json")
    assert [json.loads(line)["host"] for line in out.splitlines()] == ["algo-1"] * 3


def test_following_a_job_that_failed_tells_why(aws: Any, s3_bucket: str, cli: Cli) -> None:
    job = make_job(f"{s3_bucket}-20260101-000000-aaaa", s3_bucket, log=LOG)
    aws.jobs[job] = ["Failed"]
    aws.facts[job] = {"ExitMessage": "algo-2: the disk is full", "FailureReason": "AlgorithmError"}
    code, out, err = cli("logs", job, "--follow")
    assert code == 6
    assert out == ""
    assert "split committed splits=1" in err
    assert "ended as Failed, which is no success" in err
    assert "algo-2: the disk is full" in err


def test_stop_stops_what_runs_and_says_what_does_not(aws: Any, s3_bucket: str, cli: Cli) -> None:
    job = make_job(f"{s3_bucket}-20260101-000000-aaaa", s3_bucket)
    aws.jobs[job] = ["InProgress"]
    code, _, err = cli("stop", job)
    assert code == 0
    assert "told to stop" in err
    assert aws.jobs[job] == ["Stopping", "Stopped"]
    aws.jobs[job] = ["Stopped"]
    code, _, err = cli("stop", job)
    assert code == 0
    assert "has ended already, as Stopped" in err
    assert aws.made("sagemaker").count("StopProcessingJob") == 1


def test_an_unknown_job_and_a_spec_without_jobs(aws: Any, cloud_spec: Path, cli: Cli) -> None:
    code, _, err = cli("status", "cloud-20260101-000000-zzzz")
    assert code == 2
    assert "there is no such thing" in err
    code, _, err = cli("status", cloud_spec)
    assert code == 2
    assert "has no job in this account and region yet" in err


def test_doctor_tells_what_it_may_not_see(aws: Any, cloud_spec: Path, cli: Cli) -> None:
    aws.refusals["GetRole"] = [(403, "AccessDenied", "not authorized to perform: iam:GetRole")]
    aws.refusals["DescribeImages"] = [(400, "AccessDeniedException", "no")]
    code, out, err = cli("doctor", cloud_spec, "--json")
    checks = {check["name"]: check for check in json.loads(out)}
    assert code == 0, err
    assert checks["credentials"]["state"] == "ok"
    assert checks["role"]["state"] == "unknown"
    assert "iam:GetRole" in checks["role"]["hint"]
    assert checks["image"]["state"] == "unknown"
    assert checks["input"]["state"] == "ok"
    assert checks["output"]["state"] == "ok"


def test_doctor_finds_what_is_missing(aws: Any, cloud_spec: Path, cli: Cli) -> None:
    code, out, _ = cli("doctor", cloud_spec, "--json", "--set", "input.uri=s3://no-such-bucket/x/")
    checks = {check["name"]: check for check in json.loads(out)}
    assert code == 6
    assert checks["role"]["state"] == "missing"
    assert checks["image"]["state"] == "missing"
    assert checks["input"]["state"] == "missing"
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "ec2.amazonaws.com"},
                "Action": "sts:AssumeRole",
            }
        ],
    }
    iam = boto3.client("iam")
    iam.create_role(RoleName="embed-job", AssumeRolePolicyDocument=json.dumps(trust))
    try:
        _, out, err = cli("doctor", cloud_spec, "--json")
        assert out, err
    finally:
        iam.delete_role(RoleName="embed-job")
    checks = {check["name"]: check for check in json.loads(out)}
    assert checks["role"]["state"] == "ok"
    assert checks["role's trust"]["state"] == "missing"


@pytest.mark.parametrize(
    ("target", "machine", "state"),
    [
        ("cpu", "ml.g5.xlarge", "missing"),
        ("gpu", "ml.g5.xlarge", "ok"),
        ("cpu", "ml.c7i.xlarge", "ok"),
    ],
)
def test_doctor_asks_ecr_which_image_a_digest_is(
    aws: Any, cloud_spec: Path, cli: Cli, target: str, machine: str, state: str
) -> None:
    ecr = boto3.client("ecr")
    name = f"embed-job-{target}-{machine.replace('.', '-')}"
    place = ecr.create_repository(repositoryName=name)["repository"]["repositoryUri"]
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    config = {"mediaType": "c", "size": 1, "digest": f"sha256:{'1' * 64}"}
    manifest = {"schemaVersion": 2, "mediaType": kind, "config": config, "layers": []}
    put = ecr.put_image(
        repositoryName=name,
        imageManifest=json.dumps(manifest),
        imageManifestMediaType=kind,
        imageTag=f"0.1.0-{target}-0123456789ab",
    )
    image = f"{place}@{put['image']['imageId']['imageDigest']}"
    edits = [f"compute.image_uri={image}", f"compute.instance_type={machine}"]
    options = [word for edit in edits for word in ("--set", edit)]
    _, out, _ = cli("doctor", cloud_spec, "--json", *options)
    (check,) = (check for check in json.loads(out) if check["name"] == "image")
    assert check["state"] == state
    assert ("is a CPU image, and ml.g5.xlarge has a GPU" in check["detail"]) is (state != "ok")


def test_doctor_asks_nothing_more_without_credentials(aws: Any, cloud_spec: Path, cli: Cli) -> None:
    aws.refusals["GetCallerIdentity"] = [(403, "InvalidClientTokenId", "no such token")]
    code, out, _ = cli("doctor", cloud_spec, "--json")
    assert code == 6
    assert json.loads(out)[-1]["name"] == "credentials"
    assert {call.service for call in aws.calls} == {"sts"}


def test_doctor_compares_whom_sagemaker_may_act_for(aws: Any, cloud_spec: Path, cli: Cli) -> None:
    iam = boto3.client("iam")
    states = []
    for region in ("us-east-1", "eu-central-1"):
        arn = f"arn:aws:sagemaker:{region}:123456789012:processing-job/*"
        trust = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"Service": "sagemaker.amazonaws.com"},
                    "Action": "sts:AssumeRole",
                    "Condition": {
                        "StringEquals": {"aws:SourceAccount": "123456789012"},
                        "ArnLike": {"aws:SourceArn": arn},
                    },
                }
            ],
        }
        iam.create_role(RoleName="embed-job", AssumeRolePolicyDocument=json.dumps(trust))
        try:
            _, out, err = cli("doctor", cloud_spec, "--json", "--region", "us-east-1")
            assert out, err
        finally:
            iam.delete_role(RoleName="embed-job")
        checks = {check["name"]: check for check in json.loads(out)}
        states.append(checks["role's trust"]["state"])
        detail = checks["role's trust"]["detail"]
    assert states == ["ok", "missing"]
    assert "aws:SourceArn is arn:aws:sagemaker:eu-central-1" in detail


def test_a_bucket_in_another_region_is_refused_by_what_s3_says_of_it(
    aws: Any, s3_bucket: str, cloud_spec: Path, cli: Cli
) -> None:
    aws.bucket_regions[s3_bucket] = "ap-south-1"
    _, out, err = cli("plan", cloud_spec, "--json")
    assert out, err
    found = {
        problem["where"]
        for problem in json.loads(out)["problems"]
        if "ap-south-1" in problem["what"]
    }
    assert found == {"input.uri", "outputs.0.parquet.uri"}


def test_help_is_quick_and_loads_no_client() -> None:
    code = (
        "import sys; from launcher.cli import app; import typer; typer.main.get_command(app); "
        "print(sorted({'boto3', 'botocore', 'sagemaker', 'onnxruntime', 'pydantic', 'pyarrow', "
        "'opensearchpy'} & set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=os.environ
    )
    assert found.stdout.strip() == "[]"
