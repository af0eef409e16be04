"""One run of a schedule out of its turn: the stored request, with a name as for an execution."""

from __future__ import annotations

import random
from datetime import datetime
from typing import TYPE_CHECKING, Any

from embed_job.spec import JobSpec
from launcher.job.names import new_id
from launcher.job.sdk import create_by_sdk
from launcher.job.submit import refuse_second_run
from launcher.schedule.service import known_schedule
from launcher.schedule.stored import filled

if TYPE_CHECKING:
    from launcher.aws.clients import Clients
    from launcher.local import Described, RunnerKind


def create_now(
    spec: JobSpec, clients: Clients, *, now: datetime, rng: random.Random
) -> tuple[str, str]:
    """Create the job on SageMaker: its name and ARN.

    Raises UserError where the spec has no schedule, or a job of it is running; what botocore
    raises where the service refuses it.
    """
    refuse_second_run(spec.name, clients)
    request = _request(spec, clients, now, rng)
    return request["ProcessingJobName"], create_by_sdk(request, clients)


def run_here(
    spec: JobSpec,
    clients: Clients,
    *,
    now: datetime,
    rng: random.Random,
    runner: RunnerKind,
    image: str,
) -> Described:
    """Carry the job out on this machine; returns when it has ended."""
    from launcher.local import submit_local

    request = _request(spec, clients, now, rng)
    return submit_local(request, clients=clients, runner=runner, image=image)


def _request(spec: JobSpec, clients: Clients, now: datetime, rng: random.Random) -> dict[str, Any]:
    return filled(known_schedule(clients, spec.name).input, new_id(now, rng))
