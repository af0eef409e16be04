"""Who is told of a job that ended badly: EventBridge's rule over the states of jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from embed_job.errors import UserError
from embed_job.spec import JobSpec
from launcher.job.names import name_stem, schedule_name

if TYPE_CHECKING:
    from launcher.aws.clients import Clients

TARGET_ID = "notify"
_BAD_ENDS = ("Failed", "Stopped")
_PATHS = {
    "job": "$.detail.ProcessingJobName",
    "status": "$.detail.ProcessingJobStatus",
    "message": "$.detail.ExitMessage",
    "reason": "$.detail.FailureReason",
    "at": "$.time",
    "region": "$.region",
    "account": "$.account",
}
_LINES = (
    "embed-job {name}: <job> ended as <status> at <at>.",
    "Its hosts said: <message>",
    "SageMaker said: <reason>",
    "Account <account>, region <region>. See: embed-job status <job>; embed-job logs <job>",
    "What it had committed stays; the next run goes on from there.",
)


def rule_arguments(spec_name: str) -> dict[str, Any]:
    """Of PutRule: jobs of a spec, scheduled or submitted, that failed or were stopped."""
    pattern = {
        "source": ["aws.sagemaker"],
        "detail-type": ["SageMaker Processing Job State Change"],
        "detail": {
            "ProcessingJobName": [{"prefix": f"{name_stem(spec_name)}-"}],
            "ProcessingJobStatus": list(_BAD_ENDS),
        },
    }
    return {
        "Name": schedule_name(spec_name),
        "Description": f"Tells of jobs of the embed-job {spec_name} that failed or were stopped.",
        "EventPattern": orjson.dumps(pattern).decode(),
        "State": "ENABLED",
    }


def target_arguments(spec_name: str, notify_arn: str) -> dict[str, Any]:
    """Of PutTargets: the topic or queue, and the message that it gets, as lines of text."""
    lines = (line.replace("{name}", spec_name) for line in _LINES)
    # A line of text is a JSON string of its own in a template.
    template = "\n".join(orjson.dumps(line).decode() for line in lines)
    transformer = {"InputPathsMap": dict(_PATHS), "InputTemplate": template}
    target = {"Id": TARGET_ID, "Arn": notify_arn, "InputTransformer": transformer}
    return {"Rule": schedule_name(spec_name), "Targets": [target]}


def put_rule(clients: Clients, spec: JobSpec) -> None:
    """Have the spec's notify_arn told, and nobody where it names none. Idempotent.

    Raises UserError where EventBridge does not take the target.
    """
    notify = spec.schedule.notify_arn if spec.schedule else None
    if notify is None:
        remove_rule(clients, spec.name)
        return
    clients.events.put_rule(**rule_arguments(spec.name))
    answer = clients.events.put_targets(**target_arguments(spec.name, notify))
    for entry in answer.get("FailedEntries", []):
        what = f"EventBridge does not take it: {entry.get('ErrorMessage', entry.get('ErrorCode'))}"
        raise UserError("schedule.notify_arn", what, "Name a topic or queue of this region.")


def remove_rule(clients: Clients, spec_name: str) -> bool:
    """Remove the rule of a spec; whether there was one."""
    events, name = clients.events, schedule_name(spec_name)
    try:
        events.remove_targets(Rule=name, Ids=[TARGET_ID])
    except events.exceptions.ResourceNotFoundException:
        return False
    events.delete_rule(Name=name)
    return True


def notified(clients: Clients, spec_name: str) -> tuple[str, ...]:
    """ARNs that are told of bad ends; none where there is no rule."""
    events = clients.events
    try:
        answer = events.list_targets_by_rule(Rule=schedule_name(spec_name))
    except events.exceptions.ResourceNotFoundException:
        return ()
    return tuple(target["Arn"] for target in answer["Targets"])
