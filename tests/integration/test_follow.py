"""A job followed to its end: its statuses, its log, its progress, and Ctrl-C on the way."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import boto3
import pytest

from embed_job.errors import ExitCode, UserError
from launcher.aws.clients import make_clients
from launcher.watch.follow import Follower
from launcher.watch.logs import JobLogs
from launcher.watch.wait import Choice, wait_for


@dataclass
class Watch:
    """Time that passes when someone sleeps; after `interrupted_at` sleeps, Ctrl-C comes."""

    now: float = 0.0
    slept: list[float] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    interrupted_at: int = -1

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        if len(self.slept) == self.interrupted_at:
            raise KeyboardInterrupt


@pytest.fixture
def job(aws: Any, s3_bucket: str) -> str:
    """A job that is running, as far as the test says nothing else."""
    name = f"{s3_bucket}-20260101-000000-aaaa"
    prefix = f"s3://{s3_bucket}/out/vectors/_embed_job/jobs/{name}/"
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
    aws.jobs[name] = ["InProgress"]
    aws.calls.clear()
    return name


def follower(watch: Watch) -> Follower:
    clients = make_clients(None, environment=os.environ)
    return Follower(clients, watch.told.append, None, watch.clock, watch.sleep)


def logger(job: str) -> Callable[[int], None]:
    """Writes numbered lines to the job's log."""
    client = boto3.client("logs")
    group, stream = "/aws/sagemaker/ProcessingJobs", f"{job}/algo-2-1700000000"
    if not client.describe_log_groups(logGroupNamePrefix=group)["logGroups"]:
        client.create_log_group(logGroupName=group)
    client.create_log_stream(logGroupName=group, logStreamName=stream)

    def say(number: int) -> None:
        line = json.dumps({"event": "hello", "number": number, "host": "algo-2"})
        event = {"timestamp": int(time.time() * 1000), "message": line}
        client.put_log_events(logGroupName=group, logStreamName=stream, logEvents=[event])

    return say


def say_once(job: str, host: str, texts: list[str]) -> None:
    """Writes the log of one host."""
    client = boto3.client("logs")
    group, stream = "/aws/sagemaker/ProcessingJobs", f"{job}/{host}-1700000000"
    if not client.describe_log_groups(logGroupNamePrefix=group)["logGroups"]:
        client.create_log_group(logGroupName=group)
    client.create_log_stream(logGroupName=group, logStreamName=stream)
    now_ms = int(time.time() * 1000)
    events = [{"timestamp": now_ms, "message": text} for text in texts]
    client.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)


def never() -> Choice:
    raise AssertionError("nobody pressed Ctrl-C")


def test_only_completed_is_success(aws: Any, job: str) -> None:
    watch = Watch()
    aws.jobs[job] = ["InProgress", "InProgress", "InProgress", "Completed"]
    ended = wait_for(job, follower(watch), ask=never)
    assert ended.exit_code == ExitCode.OK
    assert watch.told[0] == f"{job}: InProgress: starting machines"
    assert watch.told[-2] == f"{job}: Completed"
    # It asks less and less often.
    assert watch.slept[:-1] == sorted(watch.slept[:-1])
    for status in ("Failed", "Stopped"):
        aws.jobs[job] = ["InProgress", status]
        aws.facts[job] = {"ExitMessage": "algo-1: no room"}
        watch = Watch()
        ended = wait_for(job, follower(watch), ask=never)
        assert ended.exit_code == ExitCode.INCOMPLETE
        assert f"{job} ended as {status}, which is no success." in watch.told
        assert "Exit message: algo-1: no room" in watch.told


def test_polling_slows_down_to_half_a_minute(aws: Any, job: str) -> None:
    watch = Watch()
    aws.jobs[job] = ["InProgress"] * 15 + ["Completed"]
    wait_for(job, follower(watch), ask=never)
    assert watch.slept[0] == 5
    assert watch.slept[-2] == 30
    # Manifests are looked at once a minute, not at each question.
    looks = sum("splits committed" in line for line in watch.told)
    assert looks <= 2 + watch.now / 60


def test_ctrl_c_may_leave_the_job_alone(aws: Any, job: str) -> None:
    watch = Watch(interrupted_at=2)
    ended = wait_for(job, follower(watch), ask=lambda: "detach")
    assert ended.job is None
    assert ended.exit_code == ExitCode.INTERRUPTED
    assert "StopProcessingJob" not in aws.made("sagemaker")
    assert f"  embed-job stop {job}" in watch.told


def test_ctrl_c_may_stop_the_job_and_waits_for_that(aws: Any, job: str) -> None:
    logger(job)(0)
    watch = Watch(interrupted_at=2)
    ended = wait_for(job, follower(watch), ask=lambda: "stop")
    assert ended.job is not None
    assert ended.job.status == "Stopped"
    assert ended.exit_code == ExitCode.INCOMPLETE
    assert aws.made("sagemaker").count("StopProcessingJob") == 1
    assert f"{job}: Stopping" in watch.told
    assert sum("hello number=0" in line for line in watch.told) == 1


def test_ctrl_c_at_the_question_leaves_the_job_alone(aws: Any, job: str) -> None:
    def ask() -> Choice:
        raise KeyboardInterrupt

    ended = wait_for(job, follower(Watch(interrupted_at=1)), ask=ask)
    assert ended.exit_code == ExitCode.INTERRUPTED
    assert "StopProcessingJob" not in aws.made("sagemaker")


def test_a_log_that_may_not_be_read_is_told_once_and_no_failure(aws: Any, job: str) -> None:
    denied = "User: me is not authorized to perform: logs:DescribeLogStreams"
    aws.refusals["DescribeLogStreams"] = [(400, "AccessDeniedException", denied)]
    aws.jobs[job] = ["InProgress", "InProgress", "Completed"]
    watch = Watch()
    assert wait_for(job, follower(watch), ask=never).exit_code == ExitCode.OK
    told = [line for line in watch.told if "the log is not to be had" in line]
    assert len(told) == 1
    assert "logs:DescribeLogStreams" in told[0]


def test_credentials_that_expire_end_the_waiting_not_the_job(aws: Any, job: str) -> None:
    expired = (400, "ExpiredTokenException", "The security token has expired")
    aws.refusals["DescribeProcessingJob"] = [(0, "", ""), expired]
    with pytest.raises(UserError, match=r"credentials are expired.*The job goes on by itself"):
        wait_for(job, follower(Watch()), ask=never)


def test_each_line_of_a_growing_log_is_told_once(aws: Any, job: str) -> None:
    say = logger(job)
    watch = Watch()
    sleep: Callable[[float], None] = watch.sleep

    def sleep_and_say(seconds: float) -> None:
        say(len(watch.slept))
        sleep(seconds)

    aws.jobs[job] = ["InProgress"] * 3 + ["Completed"]
    clients = make_clients(None, environment=os.environ)
    wait_for(
        job,
        Follower(clients, watch.told.append, None, watch.clock, sleep_and_say),
        ask=never,
    )
    lines = [line.partition(" | ")[2] for line in watch.told if "algo-2 | " in line]
    # The last is said after the end, while the log's end arrives.
    assert lines == [f"hello number={number}" for number in range(4)]


@pytest.mark.parametrize("show_logs", [True, False])
def test_the_last_lines_of_a_failed_host_are_told_however_many_others_speak(
    aws: Any, job: str, show_logs: bool
) -> None:
    watch = Watch()
    aws.jobs[job] = ["InProgress", "Failed"]
    aws.facts[job] = {"ExitMessage": "algo-7: no room"}

    def sleep(seconds: float) -> None:
        if len(watch.slept) == 1:  # the job has ended, and CloudWatch gets its log only now
            for number in range(1, 25):
                say_once(job, f"algo-{number}", [f"last of {number}"])
        watch.sleep(seconds)

    clients = make_clients(None, environment=os.environ)
    found = Follower(clients, watch.told.append, None, watch.clock, sleep, show_logs)
    assert wait_for(job, found, ask=never).exit_code == ExitCode.INCOMPLETE
    told = [line.partition("| ")[2] for line in watch.told if "last of" in line]
    assert "last of 7" in told
    assert len(told) == len(set(told))
    assert len(told) == (24 if show_logs else 21)


def test_what_is_too_long_to_be_told_whole_still_shows_each_end(
    aws: Any, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launcher.watch.logs.MAX_LAST_LINES", 40)
    for host in ("algo-1", "algo-2"):
        say_once(job, host, [f"{host} {number}" for number in range(100)])
    logs = JobLogs(make_clients(None, environment=os.environ).logs, job)
    batches = list(logs.rest())
    assert [line.text for line in batches[0]] == [
        f"{host} {number}" for host in ("algo-1", "algo-2") for number in range(20)
    ]
    assert [line.text for line in batches[-1]] == [
        f"{host} {number}" for host in ("algo-1", "algo-2") for number in range(80, 100)
    ]
    assert len(batches) == 2


def test_ctrl_c_while_the_last_lines_arrive_is_no_question(aws: Any, job: str) -> None:
    logger(job)(0)
    aws.jobs[job] = ["InProgress", "Completed"]
    watch = Watch(interrupted_at=2)
    assert wait_for(job, follower(watch), ask=never).exit_code == ExitCode.OK
    assert sum("hello number=0" in line for line in watch.told) == 1
