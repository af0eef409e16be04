"""What a schedule stores, who may do what for it, and what is refused before it is made."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from embed_job.errors import SpecError
from embed_job.fleet.order import JobOrder
from embed_job.spec import JobSpec
from embed_job.spec.file import load_spec, parse_spec
from launcher.iam import make_policies
from launcher.job.names import MAX_JOB_NAME, is_job_of, name_stem, schedule_name
from launcher.rules.problems import Known
from launcher.rules.validate import find_problems
from launcher.schedule.rule import rule_arguments
from launcher.schedule.service import Found
from launcher.schedule.stored import Stored, check_size, digest_of, filled, make_stored

ROOT = Path(__file__).resolve().parents[2]
TIMED, UUID = "d32c5kddcf5bb8c3", "01234567-89ab-cdef-0123-456789abcdef"
KNOWN = Known(region="eu-west-1", account="123456789012")


def nightly(*overrides: str) -> JobSpec:
    return load_spec(ROOT / "jobs" / "nightly.yaml", overrides)


def stored(*overrides: str, model: str | None = "f" * 64) -> Stored:
    return make_stored(nightly(*overrides), region="eu-west-1", model=model)


@pytest.mark.parametrize(
    "name", ["kb", "K", "a" * 26, "a" * 27, "Articles-of-the-whole-company-2026"]
)
@pytest.mark.parametrize("execution", [TIMED, UUID, "20261121-030000-ab12"])
def test_names_of_executions_fit_and_are_known_as_the_spec_s(name: str, execution: str) -> None:
    made = stored(f"name={name}")
    request = filled(made.input, execution)
    job = request["ProcessingJobName"]
    assert len(job) <= MAX_JOB_NAME
    assert is_job_of(name, job)
    assert not is_job_of(f"{name}-2"[-26:], job)
    assert "<" not in orjson.dumps(request).decode()
    assert len(schedule_name(name)) <= 64
    [allowed] = make_policies(nightly(f"name={name}")).scheduler_role["Statement"][0]["Resource"]  # type: ignore[index]
    assert allowed.endswith("-*")
    assert f"processing-job/{job}".startswith(allowed.rpartition(":")[2][:-1])


@pytest.mark.parametrize(
    "job", ["kb-nightlybackup", "kb-2-d32c5kddcf5bb8c3", "kb-x", "kb-20261121"]
)
def test_other_names_are_not(job: str) -> None:
    assert not is_job_of("kb", job)


def test_files_are_named_by_what_they_hold_and_not_by_when_they_are_used() -> None:
    first = stored()
    assert stored("schedule.cron=30 4 * * *", "schedule.notify_arn=null").names == first.names
    assert stored("chunk.overlap_tokens=8").names.prefix != first.names.prefix
    assert stored(model="0" * 64).names.prefix != first.names.prefix
    assert all(key.startswith(first.names.prefix) for key in first.files)
    [order] = [
        JobOrder.model_validate_json(d) for k, d in first.files.items() if k.endswith(".json")
    ]
    assert (order.listed, order.created_at, order.spec.schedule) == (False, 0, None)
    assert order.awaits_listing
    # A new time is no new request.
    assert digest_of(stored("schedule.cron=30 4 * * *").input) == digest_of(first.input)


def test_a_request_that_is_too_large_is_refused_by_the_part_that_makes_it_so() -> None:
    request = stored().request
    check_size(request)
    request["Environment"] = {f"V{number}": "ä" * 256 for number in range(600)}
    with pytest.raises(SpecError) as refused:
        check_size(request)
    assert "Environment" in str(refused.value)
    assert "256 KiB" in str(refused.value)


def test_the_largest_spec_fits() -> None:
    """Every limit of the service reached at once stays below what is stored."""
    environment = {f"V{number:02}{'x' * 253}": "y" * 256 for number in range(90)}
    tags = {f"T{number:02}{'x' * 125}": "y" * 256 for number in range(45)}
    check_size(
        stored(
            f"compute.environment={json.dumps(environment)}", f"compute.tags={json.dumps(tags)}"
        ).request
    )


def test_an_update_says_again_what_the_service_would_forget() -> None:
    arguments = stored().arguments(state="ENABLED")
    held = Found(arguments | {"Arn": "arn:…", "CreationDate": 0, "KmsKeyArn": None})
    kept = held.kept() | {"State": "DISABLED"}
    assert kept == arguments | {"State": "DISABLED"}


def test_a_rule_is_about_jobs_of_the_spec_alone() -> None:
    pattern = json.loads(rule_arguments("Kb")["EventPattern"])
    assert pattern["source"] == ["aws.sagemaker"]
    assert pattern["detail"]["ProcessingJobName"] == [{"prefix": f"{name_stem('Kb')}-"}]


def test_the_policies_in_docs_are_those_of_the_example() -> None:
    """Made anew by: embed-job iam jobs/nightly.yaml --out docs/iam/schedule"""
    policies = make_policies(nightly()).documents()
    folder = ROOT / "docs" / "iam" / "schedule"
    found = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
    assert found == policies


def test_the_scheduler_s_role_is_for_this_account_and_this_spec() -> None:
    policies = make_policies(nightly())
    assert policies.scheduler_role_trust is not None
    [trust] = policies.scheduler_role_trust["Statement"]
    assert trust["Principal"] == {"Service": "scheduler.amazonaws.com"}
    assert trust["Condition"]["StringEquals"] == {"aws:SourceAccount": "123456789012"}
    assert trust["Condition"]["ArnLike"] == {
        "aws:SourceArn": "arn:aws:scheduler:eu-west-1:123456789012:schedule-group/default"
    }
    assert policies.scheduler_role is not None
    role = {item["Sid"]: item for item in policies.scheduler_role["Statement"]}
    assert role["CreateJobs"]["Resource"] == [
        "arn:aws:sagemaker:eu-west-1:123456789012:processing-job/kb-nightly-*"
    ]
    assert role["HandOverTheRole"]["Condition"]["StringEquals"] == {
        "iam:PassedToService": "sagemaker.amazonaws.com"
    }
    assert role["LeaveWord"]["Resource"] == ["arn:aws:sqs:eu-west-1:123456789012:embed-job-lost"]
    assert policies.notify is not None
    [told] = policies.notify["Statement"]
    assert told["Action"] == ["sns:Publish"]
    assert "Condition" not in told  # EventBridge's documentation: topics take none of it
    queue = "arn:aws:sqs:eu-west-1:123456789012:told"
    of_a_queue = make_policies(nightly(f"schedule.notify_arn={queue}")).notify
    assert of_a_queue is not None
    [told] = of_a_queue["Statement"]
    assert told["Action"] == ["sqs:SendMessage"]
    assert told["Condition"] == {
        "ArnEquals": {
            "aws:SourceArn": "arn:aws:events:eu-west-1:123456789012:rule/embed-job-kb-nightly"
        }
    }


def test_a_spec_without_a_schedule_has_no_policy_for_one() -> None:
    policies = make_policies(nightly("schedule=null")).documents()
    assert not {"schedule", "scheduler-role", "scheduler-role-trust", "notify"} & policies.keys()
    silent = make_policies(nightly("schedule.notify_arn=null", "schedule.dead_letter_arn=null"))
    assert silent.notify is None
    assert "sqs" not in json.dumps(silent.scheduler_role)


def problems(*overrides: str, known: Known = KNOWN) -> dict[str, str]:
    return {
        problem.where: f"{problem.severity}: {problem.what}"
        for problem in find_problems(nightly(*overrides), known)
        if problem.where.startswith(("schedule", "compute.sharing", "compute.delivery"))
    }


def test_the_example_has_no_problem() -> None:
    assert problems() == {}


@pytest.mark.parametrize(
    ("override", "where", "what"),
    [
        ("schedule.cron=0 3 1 * 1", "schedule.cron", "error: day of the month"),
        ("schedule.cron=*/30 * * * *", "schedule.cron", "warning: fires every 30 minutes"),
        ("schedule.timezone=Mars/Base", "schedule.timezone", "error: 'Mars/Base'"),
        ("schedule.flexible_window_min=1440", "schedule.flexible_window_min", "warning: 1440"),
        ("compute.sharing=sharded_by_s3_key", "compute.sharing", "error: a schedule's hosts"),
        ("schedule.dead_letter_arn=null", "schedule.dead_letter_arn", "warning: is unset"),
        ("schedule.notify_arn=null", "schedule.notify_arn", "warning: is unset"),
        (
            "schedule.notify_arn=arn:aws:sns:us-east-1:123456789012:x",
            "schedule.notify_arn",
            "error: lies in us-east-1",
        ),
        (
            "schedule.role_arn=arn:aws:iam::210987654321:role/x",
            "schedule.role_arn",
            "error: belongs to account 210987654321",
        ),
    ],
)
def test_rules(override: str, where: str, what: str) -> None:
    if override.startswith("schedule.cron="):
        key, _, value = override.partition("=")
        override = f"{key}={json.dumps(value)}"
    found = problems(override)
    assert list(found) == [where]
    assert found[where].startswith(what)


def test_every_minute_is_too_often_and_within_the_window() -> None:
    assert problems('schedule.cron="* * * * *"') == {
        "schedule.cron": "warning: fires every 1 minute",
        "schedule.flexible_window_min": "warning: 15 minutes reach to the next run",
    }


def test_nothing_is_said_of_a_schedule_on_this_machine() -> None:
    known = replace(KNOWN, on="local")
    assert problems("schedule.timezone=Mars/Base", known=known) == {}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("role_arn", "embed-job"),
        ("dead_letter_arn", "arn:aws:sns:eu-west-1:123456789012:topic"),
        ("dead_letter_arn", "arn:aws:sqs:eu-west-1:123456789012:lost.fifo"),
        ("notify_arn", "https://sqs.eu-west-1.amazonaws.com/123456789012/told"),
        ("flexible_window_min", "1441"),
        ("timezone", "x" * 51),
    ],
)
def test_what_is_no_address_is_refused_with_its_line(key: str, value: str) -> None:
    text = (ROOT / "jobs" / "nightly.yaml").read_text()
    lines = [line for line in text.splitlines() if not line.startswith(f"  {key}:")]
    at = lines.index("schedule:")
    lines.insert(at + 1, f"  {key}: {json.dumps(value)}")
    if key == "role_arn":  # compute has one of that name too
        lines.insert(at, "  role_arn: arn:aws:iam::123456789012:role/embed-job")
        at += 1
    with pytest.raises(SpecError) as refused:
        parse_spec("\n".join(lines), name="nightly.yaml")
    assert f"nightly.yaml:{at + 2}: 'schedule.{key}'" in str(refused.value)


def test_what_a_stored_request_is_made_of() -> None:
    made: dict[str, Any] = stored().request
    assert {item["InputName"] for item in made["ProcessingInputs"]} == {"job", "code"}
    assert made["ProcessingResources"]["ClusterConfig"]["InstanceCount"] == 1
