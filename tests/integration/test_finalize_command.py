"""Where SageMaker uploads the vectors, no host can end the job: submit and finalize do it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import pytest

from embed_job.cli.program import run_program
from launcher.cli import app


def test_an_uploaded_output_is_committed_from_here(
    aws: Any,
    s3_bucket: str,
    cloud_spec: Path,
    default_bundle: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "models").symlink_to(default_bundle.parent)
    found = subprocess.run(
        [
            sys.executable, "-m", "launcher.cli", "submit", str(cloud_spec), "--on", "local",
            "--runner", "process", "--json", "--set", "compute.delivery=processing_output",
            "--set", f"model.bundle={default_bundle}", "--set", "compute.instance_count=2",
        ],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    facts = json.loads(found.stdout)
    assert facts["status"] == "Completed"
    assert facts["problems"] == []
    output = f"s3://{s3_bucket}/out/vectors/"
    assert run_program(app, ["verify", output], name="embed-job") == 0

    # The same again by the job's name, as after a launcher that went away.
    request = {
        "ProcessingJobName": facts["job"],
        "ProcessingResources": {
            "ClusterConfig": {
                "InstanceType": "ml.c7i.xlarge",
                "InstanceCount": 2,
                "VolumeSizeInGB": 30,
            }
        },
        "AppSpecification": {"ImageUri": "image"},
        "RoleArn": "arn:aws:iam::123456789012:role/embed-job",
        "ProcessingInputs": [
            {
                "InputName": "job",
                "S3Input": {
                    "S3Uri": f"{facts['prefix']}input/",
                    "LocalPath": "/opt/ml/processing/input/job",
                    "S3DataType": "S3Prefix",
                    "S3InputMode": "File",
                },
            }
        ],
    }
    boto3.client("sagemaker").create_processing_job(**request)
    capfd.readouterr()
    code = run_program(app, ["finalize", facts["job"], "--json"], name="embed-job")
    out, err = capfd.readouterr()
    assert code == 0, err
    again = json.loads(out)
    assert again["ok"]
    assert again["documents"]["written"] == 100
    assert "index" not in again

    # With an index in the spec, that is ended too; the job's own end does not wait for it.
    text = cloud_spec.read_text()
    index = "  - opensearch: {url: 'http://127.0.0.1:9', index: kb}\n"
    cloud_spec.write_text(text.replace("compute:\n", f"{index}compute:\n"))
    code = run_program(app, ["finalize", str(cloud_spec), "--json"], name="embed-job")
    out, err = capfd.readouterr()
    assert code == 4, err
    ended = json.loads(out)
    assert ended["job"] == facts["job"]
    assert ended["documents"]["written"] == 100
    assert ended["index"] == {"name": "kb", "finished": False}
    (problem,) = ended["problems"]
    assert "the connection was refused" in problem
    code = run_program(app, ["finalize", str(cloud_spec), "--index", "--json"], name="embed-job")
    out, err = capfd.readouterr()
    assert code == 4, err
    assert set(json.loads(out)) == {"ok", "problems", "index"}


def test_nothing_is_ended_while_a_job_of_the_spec_runs(
    aws: Any, s3_bucket: str, cloud_spec: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    capfd.readouterr()
    assert run_program(app, ["submit", str(cloud_spec), "--yes", "--json"], name="embed-job") == 0
    job = json.loads(capfd.readouterr().out)["job"]
    aws.jobs[job] = ["InProgress"] * 10
    assert run_program(app, ["finalize", job], name="embed-job") != 0
    assert f"{job} is running" in capfd.readouterr().err
    written = boto3.client("s3").list_objects_v2(Bucket=s3_bucket, Prefix="out/")["Contents"]
    assert all("/input/" in found["Key"] or "/code/" in found["Key"] for found in written)
