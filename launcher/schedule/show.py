"""A schedule as it stands: its times, its state, what differs from the spec, its last jobs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from typing import Any

from embed_job.errors import SpecError
from embed_job.spec import JobSpec
from embed_job.spec.schedule import ScheduleSpec
from launcher.aws.clients import Clients
from launcher.job.names import schedule_name
from launcher.planning.model import find_model
from launcher.schedule.drift import drift, stored_order
from launcher.schedule.expression import expression_of
from launcher.schedule.rule import notified
from launcher.schedule.service import Found, find_schedule
from launcher.schedule.stored import digest_of, filled, make_stored
from launcher.watch.jobs import last_jobs

NEXT, LAST = 3, 5


@dataclass(frozen=True, slots=True)
class JobEnd:
    """One job of the spec. said: the exit message of its hosts, else the failure's reason."""

    name: str
    status: str
    created_at: datetime
    ended_at: datetime | None
    said: str | None


@dataclass(frozen=True, slots=True)
class View:
    """A schedule. found: None where there is none. firings: the next ones, computed here, in its
    time zone; none while it is paused. digest: of the stored request; wanted: of the spec's now,
    None where that gives none. drift: one clause each. notified: ARNs that are told of bad ends.
    """

    name: str
    found: Found | None
    firings: tuple[datetime, ...]
    digest: str | None
    wanted: str | None
    drift: tuple[str, ...]
    notified: tuple[str, ...]
    jobs: tuple[JobEnd, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain values; times in ISO 8601."""
        answer = self.found.answer if self.found else {}
        target = answer.get("Target", {})
        window = answer.get("FlexibleTimeWindow", {})
        return {
            "name": self.name,
            "exists": self.found is not None,
            "state": self.found.state if self.found else None,
            "expression": answer.get("ScheduleExpression"),
            "timezone": answer.get("ScheduleExpressionTimezone"),
            "flexible_window_min": window.get("MaximumWindowInMinutes", 0),
            "next": [at.isoformat() for at in self.firings],
            "role_arn": target.get("RoleArn"),
            "dead_letter_arn": target.get("DeadLetterConfig", {}).get("Arn"),
            "notified": self.notified,
            "digest": self.digest,
            "digest_of_spec": self.wanted,
            "drift": self.drift,
            "request": filled(self.found.input, "EXECUTION") if self.found else None,
            "jobs": [
                {
                    "job": job.name,
                    "status": job.status,
                    "created": job.created_at.isoformat(),
                    "ended": job.ended_at.isoformat() if job.ended_at else None,
                    "said": job.said,
                }
                for job in self.jobs
            ],
        }

    def lines(self) -> Iterator[tuple[str, str]]:
        """Names and values to print."""
        yield "schedule", self.name
        if self.found is None:
            yield "state", "there is none: `embed-job schedule create` makes it"
        else:
            yield from self._held(self.found)
        for job in self.jobs:
            said = f": {job.said}" if job.said else ""
            yield "job", f"{_shown(job.created_at)}  {job.name}  {job.status}{said}"

    def _held(self, found: Found) -> Iterator[tuple[str, str]]:
        facts = self.as_json()
        yield "state", "paused" if found.state == "DISABLED" else "enabled"
        window = facts["flexible_window_min"]
        late = f", up to {window} minutes later" if window else ""
        yield "fires", f"{facts['expression']} in {facts['timezone']}{late}"
        for at in self.firings:
            yield "next", f"{at:%Y-%m-%d %H:%M %Z}"
        yield "role", facts["role_arn"]
        yield "lost runs", facts["dead_letter_arn"] or "nobody hears of them"
        yield "bad ends", ", ".join(self.notified) or "nobody hears of them"
        yield "request", f"digest {self.digest}"
        for clause in self.drift:
            yield "drift", clause
        if self.drift:
            yield "", "`embed-job schedule create` brings it to the spec"


def view_schedule(spec: JobSpec, clients: Clients, *, now: datetime) -> View:
    """How a spec's schedule stands. Raises what botocore and the store raise."""
    found = find_schedule(clients, spec.name)
    jobs = tuple(_ends(clients, spec.name))
    view = View(schedule_name(spec.name), found, (), None, None, (), (), jobs)
    if found is None:
        return view
    view = replace(
        view,
        firings=_firings(found, now) if found.state == "ENABLED" else (),
        digest=digest_of(found.input),
        notified=notified(clients, spec.name),
    )
    try:
        return _compared(view, found, spec, clients)
    except SpecError as error:
        return replace(view, drift=(f"the spec gives no schedule now: {error}",))


def _ends(clients: Clients, spec_name: str) -> Iterator[JobEnd]:
    for job in last_jobs(clients.sagemaker, spec_name, LAST):
        yield JobEnd(
            job["ProcessingJobName"],
            job["ProcessingJobStatus"],
            job["CreationTime"],
            job.get("ProcessingEndTime"),
            job.get("ExitMessage") or job.get("FailureReason"),
        )


def _compared(view: View, found: Found, spec: JobSpec, clients: Clients) -> View:
    """The view with what the spec would give now, and how that differs."""
    held = stored_order(clients.store, found)
    model, _ = find_model(spec)
    # A machine without the bundle can't tell whether the model is another one.
    known = model.fingerprint if model else held.model_fingerprint if held else None
    wanted = make_stored(spec, region=clients.region, model=known)
    clauses = drift(found, held, wanted)
    told = wanted.section.notify_arn
    if view.notified != ((told,) if told else ()):
        clauses.append("bad ends: told to others than the spec says")
    return replace(view, wanted=digest_of(wanted.input), drift=tuple(clauses))


def _firings(found: Found, now: datetime) -> tuple[datetime, ...]:
    """The next times of what is stored, which may differ from the spec; none where it is not of a
    form that we make."""
    answer = found.answer
    text = answer["ScheduleExpression"]
    kind = "rate" if text.startswith("rate(") else "cron"
    timezone = answer.get("ScheduleExpressionTimezone", "UTC")
    try:
        held = expression_of(ScheduleSpec.model_validate({kind: text, "timezone": timezone}))
    except SpecError:
        return ()
    times = islice(held.firings(now, since=found.changed_at), NEXT)
    return tuple(at.astimezone(held.zone) for at in times)


def _shown(at: datetime) -> str:
    return at.astimezone().strftime("%Y-%m-%d %H:%M %Z")
