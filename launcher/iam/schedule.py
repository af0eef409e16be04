"""What a schedule needs: of the role that EventBridge Scheduler takes, of whoever makes it, and
of the topic or queue that is told of bad ends."""

from __future__ import annotations

from typing import Any

from embed_job.commit.commits import PRIVATE
from embed_job.spec import JobSpec
from launcher.iam.arns import Arns, allow, document
from launcher.iam.launching import volume_key
from launcher.job.names import SCHEDULES

SCHEDULER, SAGEMAKER, EVENTS = (
    f"{service}.amazonaws.com" for service in ("scheduler", "sagemaker", "events")
)


def scheduler_trust(spec: JobSpec, arns: Arns) -> dict[str, Any] | None:
    """Who may assume the scheduler's role: the service, for this account's schedules. None where
    the spec has no schedule."""
    if spec.schedule is None:
        return None
    return document(
        [
            {
                "Sid": "SchedulerCreatesJobs",
                "Effect": "Allow",
                "Principal": {"Service": SCHEDULER},
                "Action": "sts:AssumeRole",
                # The service names the group, not the schedule, as the source.
                "Condition": {
                    "StringEquals": {"aws:SourceAccount": arns.account},
                    "ArnLike": {"aws:SourceArn": arns.schedule_group()},
                },
            }
        ]
    )


def scheduler_policy(spec: JobSpec, arns: Arns) -> dict[str, Any] | None:
    """The permissions of that role: create jobs of this spec, as their role, and leave word of
    those that it could not create."""
    if spec.schedule is None:
        return None
    statements = [
        # AddTags is asked for whatever carries tags, which every job does.
        allow("CreateJobs", ["sagemaker:CreateProcessingJob", "sagemaker:AddTags"], [arns.job()]),
        _hand_over("HandOverTheRole", arns.role, SAGEMAKER),
        *volume_key(spec, arns),
    ]
    queue = spec.schedule.dead_letter_arn
    if queue is not None:
        statements.append(allow("LeaveWord", ["sqs:SendMessage"], [queue]))
    return document(statements)


def schedule_policy(spec: JobSpec, arns: Arns) -> dict[str, Any] | None:
    """schedule create, show, pause, resume and delete; run-now needs the launcher's besides."""
    if spec.schedule is None:
        return None
    actions = [f"scheduler:{name}Schedule" for name in ("Get", "Create", "Update", "Delete")]
    rule = ["PutRule", "PutTargets", "ListTargetsByRule", "RemoveTargets", "DeleteRule"]
    statements = [
        allow("KeepSchedule", actions, [arns.schedule()]),
        allow("KeepRule", [f"events:{name}" for name in rule], [arns.rule()]),
        allow("BringSchedule", ["s3:PutObject"], [arns.output.objects(PRIVATE, SCHEDULES)]),
    ]
    role = spec.schedule.role_arn
    handed = role or f"arn:{arns.partition}:iam::{arns.account}:role/embed-job-scheduler"
    statements.append(_hand_over("HandOverTheSchedulersRole", handed, SCHEDULER))
    return document(statements)


def notify_policy(spec: JobSpec, arns: Arns) -> dict[str, Any] | None:
    """The topic's or queue's own policy, which lets EventBridge in; None where nobody is told."""
    if spec.schedule is None or spec.schedule.notify_arn is None:
        return None
    notify = spec.schedule.notify_arn
    is_topic = ":sns:" in notify
    statement = allow(
        "EventBridgeTells", ["sns:Publish" if is_topic else "sqs:SendMessage"], [notify]
    )
    statement["Principal"] = {"Service": EVENTS}
    if not is_topic:
        # A topic gets no word of the rule with what EventBridge publishes: a condition on it would
        # keep every message out.
        statement["Condition"] = {"ArnEquals": {"aws:SourceArn": arns.rule()}}
    return document([statement])


def _hand_over(sid: str, role: str, service: str) -> dict[str, Any]:
    statement = allow(sid, ["iam:PassRole"], [role])
    statement["Condition"] = {"StringEquals": {"iam:PassedToService": service}}
    return statement
