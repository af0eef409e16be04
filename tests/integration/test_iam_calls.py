"""What the launcher calls is what the policies that it prints allow, and no more is in them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import pytest

from embed_job.cli.program import run_program
from embed_job.spec.file import load_spec
from launcher.cli import app
from launcher.iam import make_policies

ACCOUNT, REGION = "123456789012", "us-east-1"


def test_all_that_is_called_is_allowed_and_all_that_is_allowed_is_called(
    aws: Any, cloud_spec: Path, iam_rules: ModuleType, capfd: pytest.CaptureFixture[str]
) -> None:
    text = cloud_spec.read_text().replace("  price_per_hour_usd: 0.2142\n", "")
    cloud_spec.write_text(text.replace("  max_cost_usd: 50\n", ""))
    policies = make_policies(load_spec(cloud_spec), region=REGION)
    aws.calls.clear()

    def run(*arguments: str) -> str:
        capfd.readouterr()
        code = run_program(app, list(arguments), name="embed-job")
        out, err = capfd.readouterr()
        assert code == 0, err
        return out

    job = json.loads(run("submit", str(cloud_spec), "--yes", "--json"))["job"]
    write_log(job)
    run("status", str(cloud_spec))
    run("logs", job)
    run("logs", job, "--follow")
    aws.jobs[job] = ["InProgress"]
    run("stop", job)

    assert iam_rules.refused(aws.calls, policies.launcher) == []
    assert iam_rules.unused(aws.calls, policies.launcher) == set()


def test_hosts_need_no_more_than_the_role_and_finalize_no_more_than_its_policy(
    aws: Any,
    s3_bucket: str,
    cloud_spec: Path,
    default_bundle: Path,
    tmp_path: Path,
    iam_rules: ModuleType,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "models").symlink_to(default_bundle.parent)
    settings = [
        "compute.sharing=balanced",
        "compute.instance_count=2",
        f"model.bundle={default_bundle}",
    ]
    policies = make_policies(load_spec(cloud_spec, settings), region=REGION)
    options = [option for setting in settings for option in ("--set", setting)]
    found = subprocess.run(
        [
            sys.executable, "-m", "launcher.cli", "submit", str(cloud_spec), "--on", "local",
            "--runner", "process", "--json", *options,
        ],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    job = json.loads(found.stdout)["job"]

    # What the launcher does itself ends with a look at the listing that it has uploaded.
    last = max(
        number
        for number, call in enumerate(aws.calls)
        if call.operation == "HeadObject" and call.request["key"].endswith("input/listing.parquet")
    )
    assert iam_rules.refused(aws.calls[: last + 1], policies.launcher) == []
    of_hosts = aws.calls[last + 1 :]
    assert {call.service for call in of_hosts} == {"s3"}
    assert iam_rules.refused(of_hosts, policies.execution_role) == []

    client = boto3.client("s3")
    for name in ("job.json", f"jobs/{job}/job.json"):
        client.delete_object(Bucket=s3_bucket, Key=f"out/vectors/_embed_job/{name}")
    orphan = f"out/vectors/part-{'0' * 16}-{'0' * 12}-000.parquet"
    client.put_object(Bucket=s3_bucket, Key=orphan, Body=b"left by a worker that died")
    make_job(job, s3_bucket)
    aws.calls.clear()
    assert run_program(app, ["finalize", job, "--json"], name="embed-job") == 0
    assert json.loads(capfd.readouterr().out)["swept"] == 1
    assert iam_rules.refused(aws.calls, policies.launcher, policies.finalize) == []
    assert iam_rules.unused(aws.calls, policies.finalize) == set()


def make_job(name: str, bucket: str) -> None:
    """A job as SageMaker would hold it, whose order lies in the output."""
    order = f"s3://{bucket}/out/vectors/_embed_job/jobs/{name}/input/"
    cluster = {"InstanceType": "ml.c7i.xlarge", "InstanceCount": 2, "VolumeSizeInGB": 30}
    request: dict[str, Any] = {
        "ProcessingJobName": name,
        "ProcessingResources": {"ClusterConfig": cluster},
        "AppSpecification": {"ImageUri": "image"},
        "RoleArn": f"arn:aws:iam::{ACCOUNT}:role/embed-job",
        "ProcessingInputs": [
            {
                "InputName": "job",
                "S3Input": {
                    "S3Uri": order,
                    "LocalPath": "/opt/ml/processing/input/job",
                    "S3DataType": "S3Prefix",
                    "S3InputMode": "File",
                },
            }
        ],
    }
    boto3.client("sagemaker").create_processing_job(**request)


def write_log(job: str) -> None:
    client = boto3.client("logs")
    group, stream = "/aws/sagemaker/ProcessingJobs", f"{job}/algo-1-1700000000"
    groups = client.describe_log_groups(logGroupNamePrefix=group)["logGroups"]
    if not groups:
        client.create_log_group(logGroupName=group)
    client.create_log_stream(logGroupName=group, logStreamName=stream)
    event = {"timestamp": int(time.time() * 1000), "message": "hello"}
    client.put_log_events(logGroupName=group, logStreamName=stream, logEvents=[event])
