"""schedule create, show, pause, resume, run-now and delete, as a user types them, against a moto
server; what it would send to a job, carried out on this machine."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import botocore.session
import pytest
from botocore.validate import ParamValidator

from embed_job.cli.program import run_program
from embed_job.commit.commits import Commits
from embed_job.commit.lease import Holder, Lease, Rhythm
from embed_job.dataset import open_dataset
from embed_job.spec.file import load_spec
from embed_job.storage import store_for
from launcher.aws.clients import make_clients
from launcher.cli import app
from launcher.iam import make_policies
from launcher.local.access import access_of, patient_s3
from launcher.local.described import Described
from launcher.local.process import ProcessRunner
from launcher.local.service import LocalService, Pace
from launcher.local.tail import Tail
from launcher.schedule.stored import filled

Cli = Callable[..., tuple[int, str, str]]
EXECUTION = "d32c5kddcf5bb8c3"
SCHEDULER_ROLE = "arn:aws:iam::123456789012:role/embed-job-scheduler"
LOST = "arn:aws:sqs:us-east-1:123456789012:lost"
TOPIC = "arn:aws:sns:us-east-1:123456789012:told"
ELSEWHERE = "arn:aws:sns:us-west-2:123456789012:told"


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Cli:
    """Exit code, standard output and standard error of a command line."""

    def call(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = run_program(app, [str(argument) for argument in arguments], name="embed-job")
        return code, *capfd.readouterr()

    return call


@pytest.fixture
def nightly(cloud_spec: Path) -> Path:
    """cloud_spec with a schedule."""
    text = cloud_spec.read_text().replace("instance_count: 3", "instance_count: 2")
    text = text.replace("model: {", "model: {engine: null, ".replace("null", "'null'"))
    text += f"""\
  sharing: balanced
execution: {{workers: 1}}
schedule:
  cron: "0 3 * * 1-5"
  timezone: Europe/Berlin
  flexible_window_min: 15
  role_arn: {SCHEDULER_ROLE}
  dead_letter_arn: {LOST}
  notify_arn: {TOPIC}
"""
    cloud_spec.write_text(text)
    return cloud_spec


def stored(name: str) -> dict[str, Any]:
    found: dict[str, Any] = boto3.client("scheduler").get_schedule(Name=f"embed-job-{name}")
    return found


def faults_of(service: str, operation: str, arguments: Any) -> list[str]:
    """What botocore's model of a service has against arguments: types, keys, lengths, patterns."""
    shape = botocore.session.get_session().get_service_model(service)
    shape = shape.operation_model(operation).input_shape
    report = ParamValidator().validate(arguments, shape).generate_report()
    return [*filter(None, [report]), *_unlike(shape, arguments)]


def _unlike(shape: Any, value: Any) -> Iterator[str]:
    """What a pattern, an enumeration or a greatest length refuses; the validator lets it pass."""
    if shape.type_name == "structure":
        for name, inside in value.items():
            yield from _unlike(shape.members[name], inside)
    elif shape.type_name == "list":
        for inside in value:
            yield from _unlike(shape.member, inside)
    elif shape.type_name == "string":
        pattern = shape.metadata.get("pattern", "").replace(r"\p{L}\p{Z}\p{N}", r"\w\s")
        if pattern and not re.fullmatch(pattern, value):
            yield f"{shape.name}: {value} is not like {pattern}"
        if shape.enum and value not in shape.enum:
            yield f"{shape.name}: {value} is none of {shape.enum}"
        if len(value) > shape.metadata.get("max", len(value)):
            yield f"{shape.name}: {len(value)} characters"


def test_what_is_stored_is_what_plan_prints_and_what_the_services_take(
    aws: Any, s3_bucket: str, nightly: Path, cli: Cli
) -> None:
    code, out, err = cli("plan", nightly, "--request")
    assert code == 0, err
    planned = json.loads(out)
    aws.calls.clear()
    code, out, err = cli("schedule", "create", nightly, "--json")
    assert code == 0, err
    facts = json.loads(out)
    assert facts["created"]
    assert facts["expression"] == "cron(0 3 ? * MON,TUE,WED,THU,FRI *)"
    assert len(facts["next"]) == 1

    sent = {call.operation: call.request for call in aws.calls}
    assert faults_of("scheduler", "CreateSchedule", sent["CreateSchedule"]) == []
    assert faults_of("events", "PutRule", sent["PutRule"]) == []
    assert faults_of("events", "PutTargets", sent["PutTargets"]) == []
    held = stored(s3_bucket)
    assert held["Target"]["Arn"] == "arn:aws:scheduler:::aws-sdk:sagemaker:createProcessingJob"
    assert held["Target"]["RetryPolicy"] == {"MaximumRetryAttempts": 0}
    assert held["Target"]["DeadLetterConfig"] == {"Arn": LOST}
    assert held["FlexibleTimeWindow"] == {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 15}
    assert held["ScheduleExpressionTimezone"] == "Europe/Berlin"

    for execution in (EXECUTION, "01234567-89ab-cdef-0123-456789abcdef"):
        request = filled(held["Target"]["Input"], execution)
        assert faults_of("sagemaker", "CreateProcessingJob", request) == []
        assert request["ProcessingJobName"] == f"{s3_bucket}-{execution}"
        old, new = (f["ProcessingInputs"][0]["S3Input"]["S3Uri"] for f in (planned, request))
        moved = json.dumps(planned).replace(old.removesuffix("input/"), new.removesuffix("input/"))
        assert (
            json.loads(moved.replace(planned["ProcessingJobName"], f"{s3_bucket}-{execution}"))
            == request
        )

    pattern = json.loads(sent["PutRule"]["EventPattern"])
    assert pattern["detail"]["ProcessingJobName"] == [{"prefix": f"{s3_bucket}-"}]
    assert pattern["detail"]["ProcessingJobStatus"] == ["Failed", "Stopped"]
    [target] = boto3.client("events").list_targets_by_rule(Rule=f"embed-job-{s3_bucket}")["Targets"]
    assert target["Arn"] == TOPIC
    names = set(re.findall(r"<(\w+)>", target["InputTransformer"]["InputTemplate"]))
    assert names == target["InputTransformer"]["InputPathsMap"].keys()
    lines = [json.loads(line) for line in target["InputTransformer"]["InputTemplate"].splitlines()]
    assert lines[0] == f"embed-job {s3_bucket}: <job> ended as <status> at <at>."


def test_each_of_it_twice_is_as_once(aws: Any, s3_bucket: str, nightly: Path, cli: Cli) -> None:
    def said(*arguments: object) -> Any:
        code, out, err = cli("schedule", *arguments, "--json")
        assert code == 0, err
        return json.loads(out)

    first = said("create", nightly)
    again = said("create", nightly)
    assert (first["created"], again["created"]) == (True, False)
    assert again["prefix"] == first["prefix"]
    assert [said("pause", nightly)["changed"] for _ in range(2)] == [True, False]
    assert stored(s3_bucket)["State"] == "DISABLED"
    assert stored(s3_bucket)["Target"]["Input"]
    # A paused one is brought to the spec and stays paused.
    changed = said("create", nightly, "--rate", "12 hours")
    assert (changed["expression"], changed["state"]) == ("rate(12 hours)", "DISABLED")
    assert changed["prefix"] == first["prefix"]
    assert said("show", nightly)["next"] == []
    assert [said("resume", nightly)["changed"] for _ in range(2)] == [True, False]
    assert stored(s3_bucket)["State"] == "ENABLED"
    assert stored(s3_bucket)["ScheduleExpression"] == "rate(12 hours)"
    assert len(said("show", nightly)["next"]) == 3
    # Without anybody to tell, the rule goes.
    said("create", nightly, "--set", "schedule.notify_arn=null")
    events = boto3.client("events")
    with pytest.raises(events.exceptions.ResourceNotFoundException):
        events.describe_rule(Name=f"embed-job-{s3_bucket}")
    said("create", nightly)
    assert [said("delete", nightly)["deleted"] for _ in range(2)] == [True, False]
    with pytest.raises(events.exceptions.ResourceNotFoundException):
        events.describe_rule(Name=f"embed-job-{s3_bucket}")
    assert said("show", nightly)["exists"] is False
    for command in ("pause", "resume", "run-now"):
        code, _, err = cli("schedule", command, nightly)
        assert code == 2
        assert "has no schedule" in err
        assert "Traceback" not in err


def test_show_tells_what_differs_from_the_spec_and_how_jobs_ended(
    aws: Any, s3_bucket: str, nightly: Path, cli: Cli
) -> None:
    assert cli("schedule", "create", nightly)[0] == 0

    def shown(*options: object) -> Any:
        code, out, err = cli("schedule", "show", nightly, "--json", *options)
        assert code == 0, err
        return json.loads(out)

    facts = shown()
    assert facts["drift"] == []
    assert facts["digest"] == facts["digest_of_spec"]
    assert facts["notified"] == [TOPIC]
    other = shown(
        *("--set", "compute.instance_count=3", "--set", "chunk.overlap_tokens=8"),
        *("--set", "schedule.timezone=UTC", "--set", "schedule.notify_arn=null"),
    )
    assert other["digest"] == facts["digest"] != other["digest_of_spec"]
    told = "\n".join(other["drift"])
    for part in ("timezone: Europe/Berlin, the spec says UTC", "another ProcessingResources",
                 "spec: another chunk", "spec: another compute", "bad ends"):  # fmt: skip
        assert part in told
    # Another model in the folder of this machine is drift; no model at all is not.
    gone = shown("--set", "model.bundle=nowhere")
    assert gone["drift"] == ["spec: another model"]

    name = f"{s3_bucket}-{EXECUTION}"
    request = filled(stored(s3_bucket)["Target"]["Input"], EXECUTION)
    boto3.client("sagemaker").create_processing_job(**request)
    [job] = shown()["jobs"]
    assert (job["job"], job["status"]) == (name, "Completed")
    code, out, _ = cli("schedule", "show", nightly)
    assert code == 0
    assert "enabled" in out
    assert name in out
    # The job's own folder, not the schedule's, is where a status looks for its progress.
    status = json.loads(cli("status", nightly, "--json")[1])
    assert status["prefix"] == f"s3://{s3_bucket}/out/vectors/_embed_job/jobs/{name}/"


def test_retries_are_drift_and_what_the_service_adds_to_none_of_them_is_not(
    aws: Any, s3_bucket: str, nightly: Path, cli: Cli
) -> None:
    assert cli("schedule", "create", nightly)[0] == 0
    scheduler, held = boto3.client("scheduler"), stored(s3_bucket)
    names = ("Name", "ScheduleExpression", "ScheduleExpressionTimezone", "FlexibleTimeWindow")
    for attempts, drift in ((0, []), (185, ["retries: were switched on, so that"])):
        policy = {"MaximumEventAgeInSeconds": 86400, "MaximumRetryAttempts": attempts}
        target = held["Target"] | {"RetryPolicy": policy}
        scheduler.update_schedule(**{name: held[name] for name in names}, Target=target)
        found = json.loads(cli("schedule", "show", nightly, "--json")[1])["drift"]
        assert [clause[:34] for clause in found] == drift


def test_a_rate_begins_at_once_and_a_role_that_can_not_be_taken_is_told(
    aws: Any, nightly: Path, cli: Cli
) -> None:
    said = "The execution role you provide must allow AWS EventBridge Scheduler to assume the role."
    aws.refusals["CreateSchedule"] = [(400, "ValidationException", said)]
    code, _, err = cli("schedule", "create", nightly, "--rate", "1 day")
    assert code == 2
    assert "can't take schedule.role_arn" in err
    assert "trust policy" in err
    aws.refusals.clear()
    code, _, err = cli("schedule", "create", nightly, "--rate", "1 day")
    assert code == 0
    assert "first   at once" in err
    assert "first" not in cli("schedule", "create", nightly, "--rate", "2 days")[2]


def test_a_schedule_of_somebody_else_is_left_alone(
    aws: Any, s3_bucket: str, nightly: Path, cli: Cli
) -> None:
    boto3.client("scheduler").create_schedule(
        Name=f"embed-job-{s3_bucket}",
        ScheduleExpression="rate(1 day)",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={
            "Arn": "arn:aws:lambda:us-east-1:123456789012:function:f",
            "RoleArn": SCHEDULER_ROLE,
        },
    )
    for command in ("create", "pause", "delete", "show"):
        code, _, err = cli("schedule", command, nightly)
        assert code == 2, err
        assert "not made from this spec" in err
    assert stored(s3_bucket)["ScheduleExpression"] == "rate(1 day)"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--cron", "0 3 1 * 1"], "either-or"),
        (["--cron", "0 3 30 2 *"], "never fires"),
        (["--cron", "cron(0 3 * * ? 2020)"], "never fires"),
        (["--rate", "2 weeks"], "is no rate"),
        (["--cron", "0 3 * * *", "--rate", "1 day"], "Give either"),
        (["--set", "schedule.timezone=Europe/Berli"], "is no time zone"),
        (["--set", "compute.sharing=sharded_by_s3_key"], "Set balanced"),
        (["--set", "compute.delivery=processing_output"], "nobody finalizes"),
        (["--set", "schedule.role_arn=null"], "schedule.role_arn"),
        (["--set", f"schedule.notify_arn={ELSEWHERE}"], "same region"),
        (["--set", f"schedule.dead_letter_arn={LOST}.fifo"], "dead_letter_arn"),
        (["--set", "schedule=null"], "is missing from the spec"),
        (["--set", "input.uri=s3://{bucket}/nothing/"], "nothing under this prefix"),
    ],
)  # fmt: skip
def test_what_can_not_work_is_refused_before_anything_is_written(
    aws: Any, s3_bucket: str, nightly: Path, cli: Cli, options: list[str], said: str
) -> None:
    options = [option.replace("{bucket}", s3_bucket) for option in options]
    code, _, err = cli("schedule", "create", nightly, *options)
    assert code in (2, 3)
    assert said in " ".join(err.split())
    assert "Traceback" not in err
    written = {"PutObject", "CreateSchedule", "UpdateSchedule", "PutRule", "PutTargets"}
    assert not written & {call.operation for call in aws.calls}


def test_what_aws_refuses_comes_with_the_statement_that_grants_it(
    aws: Any, nightly: Path, cli: Cli
) -> None:
    for operation in ("CreateSchedule", "PutRule"):
        aws.refusals.clear()
        aws.refusals[operation] = [(403, "AccessDeniedException", "no")]
        code, _, err = cli("schedule", "create", nightly)
        assert code == 2
        service = "scheduler" if operation == "CreateSchedule" else "events"
        assert f'"{service}:{operation}"' in err
        assert "Traceback" not in err


def test_run_now_sends_the_stored_request_unless_a_job_is_running(
    aws: Any, s3_bucket: str, nightly: Path, cli: Cli
) -> None:
    assert cli("schedule", "create", nightly)[0] == 0
    request = filled(stored(s3_bucket)["Target"]["Input"], "X")
    aws.calls.clear()
    code, out, err = cli("schedule", "run-now", nightly, "--json", "--set", "compute.volume_gb=7")
    assert code == 0, err
    job = json.loads(out)["job"]
    [sent] = [call.request for call in aws.calls if call.operation == "CreateProcessingJob"]
    assert sent == request | {"ProcessingJobName": job}
    aws.jobs[f"{s3_bucket}-{EXECUTION}"] = ["InProgress"]
    code, _, err = cli("schedule", "run-now", nightly)
    assert code == 2
    assert f"its job {s3_bucket}-{EXECUTION} is running" in err


class Nights:
    """What EventBridge Scheduler would do, done here: the stored request of an execution."""

    def __init__(self, bucket: str, folder: Path, bundle: Path) -> None:
        self.bucket = bucket
        self.s3 = boto3.client("s3")
        self.output = f"s3://{bucket}/out/vectors/"
        clients = make_clients("us-east-1", environment=os.environ)
        self.log = folder / "nights.log"
        s3 = patient_s3(clients)
        self.service = LocalService(
            runner=ProcessRunner(bundle=bundle),
            s3=s3,
            access=access_of(s3, clients.session),
            folder=folder / "local",
            tail=Tail(self.log.open("w")),
            stopping=lambda: False,
            pace=Pace(poll_s=0.05),
        )

    def fires(self, execution: str) -> Described:
        return self.service.carry_out(filled(stored(self.bucket)["Target"]["Input"], execution))

    def put(self, name: str, texts: dict[str, str]) -> None:
        lines = [json.dumps({"id": key, "text": text}) + "\n" for key, text in texts.items()]
        self.s3.put_object(Bucket=self.bucket, Key=f"in/docs/{name}", Body="".join(lines))

    def ids(self) -> set[str]:
        dataset = open_dataset(store_for(self.output), self.output)
        batches = dataset.iter_rows(columns=["doc_id"])
        return {row for batch in batches for row in batch["doc_id"].to_pylist()}

    def keys(self, below: str) -> set[str]:
        found = self.s3.list_objects_v2(Bucket=self.bucket, Prefix=f"out/vectors/{below}")
        return {entry["Key"].removeprefix("out/vectors/") for entry in found.get("Contents", [])}

    def read(self, key: str) -> Any:
        body = self.s3.get_object(Bucket=self.bucket, Key=f"out/vectors/{key}")["Body"]
        return json.loads(body.read())


@pytest.fixture
def nights(aws: Any, s3_bucket: str, nightly: Path, tmp_path: Path, tiny_bundle: Path) -> Nights:
    return Nights(s3_bucket, tmp_path, tiny_bundle)


def test_each_night_reads_the_corpus_as_it_is_then(
    nights: Nights, nightly: Path, cli: Cli, s3_bucket: str
) -> None:
    """Created once; nobody submits anything any more."""
    assert cli("schedule", "create", nightly, "--set", "refresh.max_delete_fraction=0.5")[0] == 0
    request = stored(s3_bucket)["Target"]["Input"]
    files = nights.keys("_embed_job/schedules/")
    first = nights.fires("0000000000000001")
    assert first.completed, nights.log.read_text()
    everything = {f"{file}-{line}" for file in range(5) for line in range(20)}
    assert nights.ids() == everything
    job = f"{s3_bucket}-0000000000000001"
    assert first.job == job
    left = nights.read(f"_embed_job/jobs/{job}/input/order.json")
    assert (left["listed"], left["files"], left["spec"]["execution"]["workers"]) == (True, 5, 1)
    listings = [k for k in nights.keys(f"_embed_job/jobs/{job}/input/") if "listing" in k]
    assert listings == [f"_embed_job/jobs/{job}/input/{left['listing_file']}"]

    # An update while a job starts changes nothing of what that one reads.
    assert cli("schedule", "create", nightly)[0] == 0
    assert stored(s3_bucket)["Target"]["Input"] != request
    assert nights.keys("_embed_job/schedules/") > files
    nights.put("5.jsonl", {"new": "A document that came by day."})
    nights.put("0.jsonl", {f"0-{line}": f"Document {line}, told anew." for line in range(19)})
    second = nights.service.carry_out(filled(request, "0000000000000002"))
    assert second.completed, nights.log.read_text()
    assert nights.ids() == everything - {"0-19"} | {"new"}
    left = nights.read(f"_embed_job/jobs/{second.job}/input/order.json")
    assert left["spec"]["refresh"]["max_delete_fraction"] == 0.5
    report = nights.read(f"_embed_job/jobs/{second.job}/report.json")
    assert report["counts"]["documents"]["read"] == 100
    # What a host could not end, a person can, as for any job.
    boto3.client("sagemaker").create_processing_job(**filled(request, "0000000000000002"))
    code, out, err = cli("finalize", second.job, "--json")
    assert code == 0, err
    assert json.loads(out)["documents"]["read"] == 100


def test_nights_that_change_nothing(
    nights: Nights,
    nightly: Path,
    tiny_bundle: Path,
    cli: Cli,
    s3_bucket: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another run is at work; then the corpus is empty, which must delete nothing."""
    folder = nights.log.parent
    (folder / "models").mkdir()
    (folder / "models/default").symlink_to(tiny_bundle)
    monkeypatch.chdir(folder)
    assert cli("schedule", "create", nightly, "--set", "compute.instance_count=1")[0] == 0
    here = ("--on", "local", "--runner", "process", "--json")
    code, out, err = cli("schedule", "run-now", nightly, *here)
    assert code == 0, err
    assert json.loads(out)["status"] == "Completed"

    # It fires while another run is at work: nothing is done, nothing fails, and it is said.
    commits = Commits(store_for(nights.output), nights.output.rstrip("/"))
    other = Holder("somebody", "elsewhere", alone=False)
    lease = Lease(commits, other, rhythm=Rhythm(beat_s=0.2))
    lease.take()
    with lease:
        ended = nights.fires(EXECUTION)
    assert ended.completed, nights.log.read_text()
    assert "left to somebody" in (ended.exit_message or "")
    before = nights.keys("")

    corpus = [f"in/docs/{number}.jsonl" for number in range(5)]
    for execution, content in enumerate((b"", None)):
        for key in corpus:
            nights.s3.delete_object(Bucket=s3_bucket, Key=key)
            if content is not None:
                nights.s3.put_object(Bucket=s3_bucket, Key=key, Body=content)
        ended = nights.fires(f"000000000000000{execution}")
        assert ended.status == "Failed"
        assert "3 INPUT" in (ended.exit_message or "")
        assert f"s3://{s3_bucket}/in/docs/" in (ended.exit_message or "")
    assert len(nights.ids()) == 100
    assert before <= nights.keys("")


def test_the_policies_allow_what_is_called_and_no_more(
    aws: Any, s3_bucket: str, nightly: Path, cli: Cli, iam_rules: ModuleType
) -> None:
    policies = make_policies(load_spec(nightly), region="us-east-1")
    aws.calls.clear()
    for command in ("create", "create", "show", "pause", "resume", "run-now", "delete", "delete"):
        code, _, err = cli("schedule", command, nightly)
        assert code == 0, err
    assert policies.schedule is not None
    assert iam_rules.refused(aws.calls, policies.launcher, policies.schedule) == []
    assert iam_rules.unused(aws.calls, policies.schedule) == set()


def test_the_scheduler_may_create_the_jobs_and_nothing_else(
    aws: Any, s3_bucket: str, nightly: Path, cli: Cli, iam_rules: ModuleType
) -> None:
    """Its calls, as it would make them: the stored request, and word of one that was lost."""
    assert cli("schedule", "create", nightly)[0] == 0
    target = stored(s3_bucket)["Target"]
    aws.calls.clear()
    boto3.client("sagemaker").create_processing_job(**filled(target["Input"], EXECUTION))
    role = make_policies(load_spec(nightly), region="us-east-1").scheduler_role
    assert role is not None
    assert iam_rules.refused(aws.calls, role) == []
    assert iam_rules.unused(aws.calls, role) == {"sqs:SendMessage"}
    [lost] = [item for item in role["Statement"] if item["Action"] == ["sqs:SendMessage"]]
    assert lost["Resource"] == [target["DeadLetterConfig"]["Arn"]]
    aws.calls.clear()
    other = filled(target["Input"], EXECUTION) | {"ProcessingJobName": "somebody-elses"}
    boto3.client("sagemaker").create_processing_job(**other)
    assert iam_rules.refused(aws.calls, role) != []
