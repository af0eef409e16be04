"""A schedule against the job that it is to run: when it fires, and who is told what."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from embed_job.cli.plural import plural
from embed_job.errors import SpecError
from embed_job.spec.compute import ComputeSpec
from embed_job.spec.schedule import ScheduleSpec
from launcher.rules.problems import Known, Problem, error, warning
from launcher.schedule.expression import expression_of

_OFTEN = timedelta(hours=1)
_SOME_DAY = datetime(2026, 1, 1, tzinfo=UTC)


def schedule(section: ScheduleSpec | None, compute: ComputeSpec, known: Known) -> Iterator[Problem]:
    """Every rule about the schedule; none where the spec has none."""
    if section is None or known.on != "sagemaker":
        return
    yield from _when(section)
    yield from _unlisted(compute)
    yield from _addresses(section, known)


def _when(section: ScheduleSpec) -> Iterator[Problem]:
    try:
        shortest = expression_of(section).shortest(_SOME_DAY)
    except SpecError as refused:
        yield error(refused.where, refused.what, refused.hint)
        return
    where = "schedule.cron" if section.cron else "schedule.rate"
    if shortest is not None and shortest < _OFTEN:
        what = f"fires every {plural(round(shortest.total_seconds() / 60), 'minute')}"
        hint = "A job takes minutes to start, and one that finds another at work is paid for too."
        yield warning(where, what, hint)
    if shortest is not None and timedelta(minutes=section.flexible_window_min) >= shortest:
        what = f"{section.flexible_window_min} minutes reach to the next run"
        yield warning("schedule.flexible_window_min", what, "Set less than lies between two runs.")


def _unlisted(compute: ComputeSpec) -> Iterator[Problem]:
    """The input is listed when the job runs: by then SageMaker must not have shared it out."""
    if compute.sharing != "balanced":
        what = "a schedule's hosts list the input when they run, and share it out themselves"
        yield error("compute.sharing", what, "Set balanced.")
    if compute.delivery != "direct":
        what = "nobody finalizes what SageMaker uploads of a scheduled job"
        yield error("compute.delivery", what, "Set direct.")


def _addresses(section: ScheduleSpec, known: Known) -> Iterator[Problem]:
    for key in ("dead_letter_arn", "notify_arn"):
        arn, where = getattr(section, key), f"schedule.{key}"
        if arn is None:
            yield warning(where, f"is unset: nobody hears of {_LOST[key]}", _HINTS[key])
        elif known.region and arn.split(":")[3] != known.region:
            what = f"lies in {arn.split(':')[3]}, and the schedule in {known.region}"
            yield error(where, what, "Name one of the same region.")
    role = section.role_arn
    if role and known.account and role.split(":")[4] != known.account:
        what = f"belongs to account {role.split(':')[4]}, but you are in {known.account}"
        yield error("schedule.role_arn", what, "A schedule takes a role of its own account.")


_LOST = {
    "dead_letter_arn": "a job that could not even be created",
    "notify_arn": "a job that failed or was stopped",
}
_HINTS = {
    "dead_letter_arn": "Name an SQS queue.",
    "notify_arn": "Name an SNS topic or an SQS queue.",
}
