"""What EventBridge Scheduler is to hold for a spec: its times, its request, the files of that."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from embed_job.errors import SpecError
from embed_job.fleet.order import ORDER_FILE, JobOrder, encode_order
from embed_job.spec import JobSpec
from embed_job.spec.schedule import ScheduleSpec
from launcher.aws.packaged import partition_of
from launcher.job.names import EXECUTION_ID, JobNames, names_of_schedule, schedule_name
from launcher.job.order import make_order
from launcher.job.request import NAME_TAG, SCRIPT, build_request, channels_of
from launcher.job.submit import script_path
from launcher.schedule.expression import Expression, expression_of

MAX_INPUT_BYTES = 256 << 10
_VERSION_CHARS = 16
_CREATE_JOB = "scheduler:::aws-sdk:sagemaker:createProcessingJob"


@dataclass(frozen=True, slots=True)
class Stored:
    """A schedule as the spec would have it.

    request: CreateProcessingJob's, with EXECUTION_ID in the job's name. order: what hosts are
    handed, without a listing. files: what is to lie in S3 for it, by key.
    """

    name: str
    expression: Expression
    section: ScheduleSpec
    names: JobNames
    request: dict[str, Any]
    order: JobOrder
    files: Mapping[str, bytes]

    @property
    def input(self) -> str:
        """The request as it is stored."""
        return orjson.dumps(self.request).decode()

    def arguments(self, *, state: str) -> dict[str, Any]:
        """Of CreateSchedule and of UpdateSchedule. state: ENABLED or DISABLED.

        Raises SpecError where no role is named, or the request is larger than the service takes.
        """
        window = self.section.flexible_window_min
        return {
            "Name": self.name,
            "Description": f"Runs the embed-job {self.order.spec.name} again.",
            "ScheduleExpression": self.expression.text,
            "ScheduleExpressionTimezone": self.section.timezone,
            "FlexibleTimeWindow": {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": window}
            if window
            else {"Mode": "OFF"},
            "State": state,
            "Target": self._target(),
        }

    def _target(self) -> dict[str, Any]:
        if self.section.role_arn is None:
            raise SpecError(
                "schedule.role_arn",
                "is missing",
                "Name the role that EventBridge Scheduler takes to create the job; `embed-job iam` "
                "prints its policies.",
            )
        check_size(self.request)
        target: dict[str, Any] = {
            "Arn": target_arn(self.names.region),
            "RoleArn": self.section.role_arn,
            "Input": self.input,
            # A second attempt would find the first one's job, or make another for the same night.
            "RetryPolicy": {"MaximumRetryAttempts": 0},
        }
        if self.section.dead_letter_arn is not None:
            target["DeadLetterConfig"] = {"Arn": self.section.dead_letter_arn}
        return target


def make_stored(spec: JobSpec, *, region: str, model: str | None) -> Stored:
    """The schedule of a spec. Pure, but that it reads the job's script.

    model: fingerprint of the bundle, as of :class:`embed_job.fleet.order.JobOrder`. Raises
    SpecError where the spec has no schedule, or lacks what a request needs.
    """
    section = section_of(spec)
    expression = expression_of(section)
    # When it runs is no business of the hosts: a new time needs no new files.
    order = make_order(
        spec.model_copy(update={"schedule": None}),
        None,
        columns=None,
        model_fingerprint=model,
        created_at=0,
    )
    content = {
        f"code/{SCRIPT}": script_path().read_bytes(),
        f"input/{ORDER_FILE}": encode_order(order),
    }
    names = names_of_schedule(spec.name, spec.parquet.uri, _version(content), region=region)
    channels = channels_of(spec, single_object=False, committed=False)
    return Stored(
        name=schedule_name(spec.name),
        expression=expression,
        section=section,
        names=names,
        request=build_request(spec, names, channels=channels),
        order=order,
        files={names.prefix + name: data for name, data in content.items()},
    )


def section_of(spec: JobSpec) -> ScheduleSpec:
    """The spec's schedule. Raises SpecError where it has none."""
    if spec.schedule is None:
        raise SpecError(
            "schedule",
            "is missing from the spec",
            'Add schedule: {cron: "0 3 * * *", role_arn: …}, or give --cron or --rate.',
        )
    return spec.schedule


def target_arn(region: str) -> str:
    """The universal target: any call of AWS, here the one that creates a job."""
    return f"arn:{partition_of(region)}:{_CREATE_JOB}"


def check_size(request: Mapping[str, Any]) -> None:
    """Raise SpecError where a request is larger than EventBridge Scheduler stores.

    Script, spec and listing lie in S3 already; what is left to be large has limits of its own.
    """
    size = len(orjson.dumps(request))
    if size <= MAX_INPUT_BYTES:
        return
    largest = max(request, key=lambda name: len(orjson.dumps(request[name])))
    raise SpecError(
        f"the request's {largest}",
        f"makes it {size / 1024:,.0f} KiB, and EventBridge Scheduler stores "
        f"{MAX_INPUT_BYTES >> 10} KiB",
        "Shorten compute.environment or compute.tags.",
    )


def filled(request_text: str, execution: str) -> dict[str, Any]:
    """A stored request as EventBridge Scheduler sends it for one execution."""
    found: dict[str, Any] = orjson.loads(request_text.replace(EXECUTION_ID, execution))
    return found


def digest_of(request_text: str) -> str:
    """A stored request's digest, which tells whether it is the one of a spec."""
    plain = orjson.dumps(orjson.loads(request_text), option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(plain).hexdigest()[:_VERSION_CHARS]


def spec_named_in(request: Mapping[str, Any]) -> str | None:
    """The name of the spec that a request was made of, by its tag."""
    tags = {tag["Key"]: tag["Value"] for tag in request.get("Tags", [])}
    return tags.get(NAME_TAG)


def _version(content: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name, data in sorted(content.items()):
        digest.update(f"{name} {len(data)}\n".encode() + data)
    return digest.hexdigest()[:_VERSION_CHARS]
