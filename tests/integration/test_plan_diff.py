"""``embed-job plan --diff`` as a person types it, over a real S3 server and over local files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from embed_job.errors import ExitCode
from embed_job.progress import SilentProgress
from embed_job.run import run_job
from embed_job.spec import JobSpec


def put(bucket: str, name: str, numbers: range, **changed: str) -> None:
    """A file of documents; changed: texts by id, with a d in front."""
    lines = [
        json.dumps({"id": f"d{n}", "text": changed.get(f"d{n}", f"text {n} of many")})
        for n in numbers
    ]
    boto3.client("s3").put_object(Bucket=bucket, Key=name, Body="\n".join(lines).encode())


def objects(bucket: str) -> dict[str, tuple[str, str]]:
    """Every object with its content and the time of its last change."""
    found = boto3.client("s3").list_objects_v2(Bucket=bucket)["Contents"]
    return {one["Key"]: (one["ETag"], str(one["LastModified"])) for one in found}


def typed(folder: Path, spec: dict[str, Any], *options: str) -> subprocess.CompletedProcess[str]:
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump(spec), encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-m", "launcher.cli", "plan", str(path), "--diff", *options],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"COLUMNS": "80"},
    )


def run(spec: dict[str, Any], folder: Path) -> None:
    ended = run_job(
        JobSpec.model_validate(spec), progress=SilentProgress(), report_dir=folder / "report"
    )
    assert ended.exit_code == ExitCode.OK


@pytest.fixture
def spec(s3_bucket: str, tiny_bundle: Path, tmp_path: Path) -> dict[str, Any]:
    """Four objects of 50 documents, embedded."""
    for file in range(4):
        put(s3_bucket, f"in/{file}.jsonl", range(file * 50, file * 50 + 50))
    made = {
        "name": "kb",
        "input": {"uri": f"s3://{s3_bucket}/in/"},
        "model": {"bundle": str(tiny_bundle), "engine": "null"},
        "outputs": [{"parquet": {"uri": f"s3://{s3_bucket}/out/"}}],
        "execution": {"workers": 1},
    }
    run(made, tmp_path)
    return made


def test_changes_in_s3_are_told_and_priced_and_nothing_is_written(
    spec: dict[str, Any], s3_bucket: str, tmp_path: Path
) -> None:
    put(s3_bucket, "in/0.jsonl", range(48), d7="something else entirely")
    put(s3_bucket, "in/4.jsonl", range(200, 203))
    spec["compute"] = {"instance_count": 2, "tokens_per_s": 0.01, "price_per_hour_usd": 3.0}
    before = objects(s3_bucket)

    done = typed(tmp_path, spec, "--json")

    assert done.returncode == ExitCode.OK, done.stderr
    assert objects(s3_bucket) == before
    facts = json.loads(done.stdout)
    documents = facts["documents"]
    told = ("kept", "read", "unchanged", "added", "text", "gone")
    assert [documents[name] for name in told] == [150, 51, 47, 3, 1, 2]
    assert (facts["work"]["carried"], facts["work"]["embedded_chunks"]) == (47, 4)
    [machines] = facts["machines"]
    hours = facts["work"]["tokens"] / (0.01 * 2) / 3600
    assert machines["hours"] == pytest.approx(hours)
    assert machines["cost_usd"] == pytest.approx(hours * 2 * 3.0)

    shown = typed(tmp_path, spec)
    assert shown.returncode == ExitCode.OK
    text = " ".join(shown.stdout.split())
    assert "gone 2 (d4" in text
    assert "1.00%, of 2.00% allowed" in text
    assert "4 chunks of 4 documents" in text
    assert "No guard would refuse a run." in text


def test_a_guard_that_would_trip_has_the_run_s_exit_code(
    spec: dict[str, Any], s3_bucket: str, tmp_path: Path
) -> None:
    boto3.client("s3").delete_object(Bucket=s3_bucket, Key="in/3.jsonl")
    done = typed(tmp_path, spec)
    assert done.returncode == ExitCode.INCOMPLETE
    assert "A run would end with: 50 of the 200 documents" in " ".join(done.stdout.split())
    allowed = typed(tmp_path, spec, "--set", "refresh.max_delete_fraction=0.25", "--json")
    assert allowed.returncode == ExitCode.OK
    assert json.loads(allowed.stdout)["ok"] is True


def test_a_local_spec_needs_neither_machines_nor_aws(tiny_bundle: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"id": "a", "text": "one"}\n', encoding="utf-8")
    local = {
        "name": "kb",
        "input": {"uri": str(source)},
        "model": {"bundle": str(tiny_bundle), "engine": "null"},
        "outputs": [{"parquet": {"uri": str(tmp_path / "out")}}],
    }
    done = typed(tmp_path, local, "--json")
    assert done.returncode == ExitCode.OK, done.stderr
    facts = json.loads(done.stdout)
    assert (facts["documents"]["added"], facts["machines"], facts["generation"]) == (1, [], None)
    both = typed(tmp_path, local, "--request")
    assert (both.returncode, both.stdout) == (ExitCode.USAGE, "")
    assert "beside --diff" in both.stderr
    assert not (tmp_path / "out").exists()
    run(local, tmp_path)
    source.write_text('{"id": "a", "text": "two"}\n', encoding="utf-8")
    priced = typed(tmp_path, local, "--report", str(tmp_path / "report"))
    assert "on the machine of the report" in " ".join(priced.stdout.split())
    source.unlink()
    missing = typed(tmp_path, local)
    assert (missing.returncode, "Traceback" in missing.stderr) == (ExitCode.INPUT, False)
