"""Schedules of EventBridge Scheduler: made, changed, paused, found, removed; each of it twice
does what it does once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import orjson

from embed_job.errors import OutputError, UserError
from embed_job.storage import Store
from launcher.job.names import schedule_name
from launcher.schedule.rule import put_rule, remove_rule
from launcher.schedule.stored import Stored, spec_named_in, target_arn

if TYPE_CHECKING:
    from embed_job.spec import JobSpec
    from launcher.aws.clients import Clients

State = Literal["ENABLED", "DISABLED"]
_KEPT = (
    "Name",
    "GroupName",
    "Description",
    "ScheduleExpression",
    "ScheduleExpressionTimezone",
    "StartDate",
    "EndDate",
    "FlexibleTimeWindow",
    "KmsKeyArn",
    "Target",
    "ActionAfterCompletion",
)
"""What UpdateSchedule forgets where it is not said again."""


@dataclass(frozen=True, slots=True)
class Found:
    """A schedule as the service holds it. answer: GetSchedule's, as it came."""

    answer: Mapping[str, Any]

    @property
    def state(self) -> State:
        return "DISABLED" if self.answer.get("State") == "DISABLED" else "ENABLED"

    @property
    def input(self) -> str:
        """The stored request."""
        return str(self.answer["Target"]["Input"])

    @property
    def changed_at(self) -> datetime:
        changed: datetime = self.answer["LastModificationDate"]
        return changed

    def kept(self) -> dict[str, Any]:
        """Arguments of UpdateSchedule that change nothing."""
        return {name: self.answer[name] for name in _KEPT if self.answer.get(name) is not None}


def find_schedule(clients: Clients, spec_name: str) -> Found | None:
    """The schedule of a spec; None where there is none.

    Raises UserError where one of its name is not of such a spec: it is left alone.
    """
    name = schedule_name(spec_name)
    scheduler = clients.scheduler
    try:
        answer = scheduler.get_schedule(Name=name)
    except scheduler.exceptions.ResourceNotFoundException:
        return None
    if not _is_of(spec_name, answer["Target"], clients.region):
        raise UserError(
            name,
            "is a schedule that was not made from this spec",
            "Rename the spec, or remove that schedule yourself.",
        )
    return Found(answer)


def known_schedule(clients: Clients, spec_name: str) -> Found:
    """The schedule of a spec. Raises UserError where there is none, or one of somebody else."""
    found = find_schedule(clients, spec_name)
    if found is None:
        raise UserError(
            spec_name,
            "has no schedule in this account and region",
            "Make one with `embed-job schedule create`.",
        )
    return found


def put_schedule(clients: Clients, spec: JobSpec, stored: Stored) -> tuple[State, bool]:
    """Bring the files, the rule and the schedule to what the spec says, in this order, so that
    nothing fires without them. A paused one stays paused.

    Returns its state, and whether it is new. Raises what botocore raises.
    """
    found = find_schedule(clients, spec.name)
    state = found.state if found else "ENABLED"
    arguments = stored.arguments(state=state)
    bring(clients.store, stored.files)
    put_rule(clients, spec)
    if found is None:
        clients.scheduler.create_schedule(**arguments)
    else:
        clients.scheduler.update_schedule(**arguments)
    return state, found is None


def set_state(clients: Clients, found: Found, state: State) -> bool:
    """Pause or resume; False where it was so already, and nothing is sent."""
    if found.state == state:
        return False
    clients.scheduler.update_schedule(**found.kept(), State=state)
    return True


def delete_schedule(clients: Clients, spec_name: str) -> bool:
    """Remove schedule and rule; whether there was a schedule. Its files stay, for a running job
    may read them."""
    found = find_schedule(clients, spec_name)
    if found is not None:
        clients.scheduler.delete_schedule(Name=schedule_name(spec_name))
    remove_rule(clients, spec_name)
    return found is not None


def bring(store: Store, files: Mapping[str, bytes]) -> None:
    """Write files that are named by their content. Raises OutputError where a key holds another."""
    for key, data in files.items():
        if not store.create(key, data) and store.read(key) != data:
            raise OutputError(
                key,
                "holds something else than its name says",
                "Somebody changed it: remove it, then create the schedule again.",
            )


def _is_of(spec_name: str, target: Mapping[str, Any], region: str) -> bool:
    if target.get("Arn") != target_arn(region):
        return False
    try:
        request = orjson.loads(target.get("Input", ""))
    except orjson.JSONDecodeError:
        return False
    return isinstance(request, dict) and spec_named_in(request) == spec_name
