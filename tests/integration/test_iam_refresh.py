"""A run over an output that is there, and its diff, need no more than the policies say."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import pytest

from embed_job.cli.program import run_program
from embed_job.spec.file import load_spec
from launcher.cli import app
from launcher.iam import make_policies


def test_taking_over_retiring_and_telling_what_would_change_need_no_more_than_the_policies(
    aws: Any,
    s3_bucket: str,
    cloud_spec: Path,
    iam_rules: ModuleType,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    text = cloud_spec.read_text().replace("model: {", "model: {engine: 'null', ")
    cloud_spec.write_text(f"{text}refresh: {{max_delete_fraction: 0.9}}\n")
    policies = make_policies(load_spec(cloud_spec), region="us-east-1")
    s3 = boto3.client("s3")

    def run() -> None:
        code = run_program(
            app, ["run", str(cloud_spec), "--report", str(tmp_path / "out")], name="embed-job"
        )
        assert code == 0, capfd.readouterr().err

    def change(number: int, *texts: str) -> None:
        lines = [f'{{"id": "{number}-{at}", "text": "{text}"}}\n' for at, text in enumerate(texts)]
        s3.put_object(Bucket=s3_bucket, Key=f"in/docs/{number}.jsonl", Body="".join(lines))

    def diff() -> Any:
        aws.calls.clear()
        capfd.readouterr()
        assert (
            run_program(app, ["plan", str(cloud_spec), "--diff", "--json"], name="embed-job") == 0
        )
        assert iam_rules.refused(aws.calls, policies.launcher) == []
        return json.loads(capfd.readouterr().out)

    run()
    change(0, "Document 0 of file 0.", "another")
    s3.delete_object(Bucket=s3_bucket, Key="in/docs/1.jsonl")
    assert diff()["work"]["carried"] == 1
    aws.calls.clear()
    run()
    assert iam_rules.refused(aws.calls, policies.execution_role) == []
    written = [call.request["key"] for call in aws.calls if call.operation == "PutObject"]
    assert any("/_embed_job/retired/" in key for key in written)


def test_a_diff_that_may_not_read_names_the_statement_that_it_lacks(
    aws: Any, cloud_spec: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    aws.refusals["GetObject"] = [(403, "AccessDenied", "Access Denied")]
    assert run_program(app, ["plan", str(cloud_spec), "--diff"], name="embed-job") == 2
    told = capfd.readouterr().err
    assert "Error s3:GetObject: AWS does not allow it" in told
    assert "ReadOutput" in told
    assert "Traceback" not in told
