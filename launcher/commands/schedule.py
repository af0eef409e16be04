"""``embed-job schedule``: a job run again and again by EventBridge Scheduler."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from launcher.commands.arguments import (
    AsJson,
    Overrides,
    Place,
    Runner,
    SpecPath,
    print_facts,
    print_json,
    tell,
)

if TYPE_CHECKING:
    from embed_job.spec import JobSpec
    from launcher.aws.clients import Clients
    from launcher.schedule.service import State
    from launcher.schedule.stored import Stored

schedule_app = typer.Typer(
    help="Run a job again and again: create, show, pause, resume, run-now, delete.",
    no_args_is_help=True,
)


@schedule_app.command("create")
def create_command(
    spec: SpecPath,
    cron: Annotated[
        str | None,
        typer.Option(metavar="CRON", help='Five fields, as in "0 3 * * *"; over the spec\'s.'),
    ] = None,
    rate: Annotated[
        str | None, typer.Option(metavar="RATE", help='As in "1 day"; over the spec\'s.')
    ] = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Plan and check the job, then have it run on schedule. Again: brings it to the spec."""
    from embed_job.errors import SpecError
    from launcher.schedule.service import put_schedule

    with _opened(spec, [*(overrides or []), *_times(cron, rate)]) as (job, clients):
        stored = _checked(job, clients)
        now = datetime.now(UTC)
        firings = list(islice(stored.expression.firings(now, since=now), 1))
        if not firings:
            raise SpecError("schedule.cron", "never fires again", "Check its day and its year.")
        state, is_new = put_schedule(clients, job, stored)
    facts = {"name": stored.name, "created": is_new, "state": state} | _stored_facts(stored)
    if as_json:
        print_json(facts | {"next": [at.isoformat() for at in firings]})
        return
    tell(f"{stored.name}: {'created' if is_new else 'brought to the spec'}.")
    tell(f"  fires   {stored.expression.text} in {stored.section.timezone}")
    if state == "DISABLED":
        tell("  paused  as it was: `embed-job schedule resume` starts it again")
    if is_new and stored.expression.every is not None:
        tell("  first   at once, as the service begins a rate")
    for at in firings if state == "ENABLED" else ():
        tell(f"  next    {at.astimezone(stored.expression.zone):%Y-%m-%d %H:%M %Z}")


@schedule_app.command("show")
def show_command(spec: SpecPath, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Say when it fires next, whether it is as the spec says, and how its last jobs ended."""
    from launcher.schedule.show import view_schedule

    with _opened(spec, overrides) as (job, clients):
        view = view_schedule(job, clients, now=datetime.now(UTC))
    if as_json:
        print_json(view.as_json())
    else:
        print_facts(list(view.lines()))


@schedule_app.command("pause")
def pause_command(spec: SpecPath, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Let it fire no more, until it is resumed. A running job goes on."""
    _set_state(spec, overrides, "DISABLED", as_json=as_json)


@schedule_app.command("resume")
def resume_command(spec: SpecPath, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Let it fire again."""
    _set_state(spec, overrides, "ENABLED", as_json=as_json)


@schedule_app.command("run-now")
def run_now_command(
    spec: SpecPath,
    on: Annotated[
        Place, typer.Option(help="sagemaker, or local: the stored request on this machine.")
    ] = Place.sagemaker,
    runner: Annotated[
        Runner, typer.Option(help="With --on local: containers, or processes without Docker.")
    ] = Runner.auto,
    image: Annotated[
        str, typer.Option(help="With --on local: the image here that stands for compute.image_uri.")
    ] = "embed-job:cpu",
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Create a job of the stored request at once. Refuses while one of the spec is running."""
    from embed_job.errors import ExitCode
    from launcher.schedule.run_now import create_now, run_here

    with _opened(spec, overrides) as (job, clients):
        now, rng = datetime.now(UTC), random.SystemRandom()
        if on is Place.local:
            ended = run_here(job, clients, now=now, rng=rng, runner=runner.value, image=image)
            facts: dict[str, Any] = {"job": ended.job, "arn": ended.arn, "status": ended.status}
            facts["exit_message"] = ended.exit_message
            code = ExitCode.OK if ended.completed else ended.stopped_by or ExitCode.INCOMPLETE
        else:
            name, arn = create_now(job, clients, now=now, rng=rng)
            facts, code = {"job": name, "arn": arn, "status": "InProgress"}, ExitCode.OK
    if as_json:
        print_json(facts)
    else:
        tell(f"{facts['job']}: {facts['status']}")
        tell(facts.get("exit_message") or f"  embed-job logs {facts['job']} --follow")
    raise typer.Exit(code)


@schedule_app.command("delete")
def delete_command(spec: SpecPath, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Remove the schedule and its rule. Its jobs, its output and its index stay."""
    from launcher.job.names import schedule_name
    from launcher.schedule.service import delete_schedule

    with _opened(spec, overrides) as (job, clients):
        was_there = delete_schedule(clients, job.name)
    name = schedule_name(job.name)
    if as_json:
        print_json({"name": name, "deleted": was_there})
    else:
        tell(f"{name}: {'deleted' if was_there else 'there was none'}.")


def _set_state(path: Path, overrides: list[str] | None, state: State, *, as_json: bool) -> None:
    from launcher.job.names import schedule_name
    from launcher.schedule.service import known_schedule, set_state

    with _opened(path, overrides) as (job, clients):
        changed = set_state(clients, known_schedule(clients, job.name), state)
    name, word = schedule_name(job.name), "paused" if state == "DISABLED" else "enabled"
    if as_json:
        print_json({"name": name, "state": state, "changed": changed})
    else:
        tell(f"{name}: {word}{'' if changed else ' already'}.")


@contextmanager
def _opened(path: Path, overrides: list[str] | None) -> Iterator[tuple[JobSpec, Clients]]:
    """The spec and clients of its region; what AWS refuses within comes in words."""
    from embed_job.spec.file import load_spec
    from launcher.aws.clients import make_clients
    from launcher.aws.errors import explained
    from launcher.job.request import compute_of

    job = load_spec(path, overrides or [])
    clients = make_clients(compute_of(job).region, environment=os.environ)
    with explained(job, region=clients.known_region):
        yield job, clients


def _times(cron: str | None, rate: str | None) -> Iterator[str]:
    """Options as overrides of the spec: either of the two puts the other out."""
    import json

    from embed_job.errors import SpecError

    if cron is not None and rate is not None:
        raise SpecError("--rate", "was given beside --cron", "Give either.")
    if cron is not None or rate is not None:
        yield f"schedule.cron={json.dumps(cron)}"
        yield f"schedule.rate={json.dumps(rate)}"


def _checked(job: JobSpec, clients: Clients) -> Stored:
    """What is to be stored, planned and checked as a submission is; warnings are told.

    Raises SpecError where the plan has errors.
    """
    from launcher.job.submit import refuse_faulty
    from launcher.planning.model import find_model
    from launcher.planning.plan import make_launch_plan
    from launcher.schedule.stored import make_stored, section_of

    section_of(job)
    model, _ = find_model(job)
    fingerprint = model.fingerprint if model else None
    stored = make_stored(job, region=clients.region, model=fingerprint)
    with tempfile.TemporaryDirectory(prefix="embed-job-") as folder:
        plan = make_launch_plan(job, stored.names, clients=clients, folder=Path(folder))
    for problem in plan.problems:
        if problem.severity == "warning":
            tell(f"Warning {problem.where}: {problem.what}. {problem.hint}")
    refuse_faulty(plan)
    return stored


def _stored_facts(stored: Stored) -> dict[str, Any]:
    from launcher.schedule.stored import digest_of

    return {
        "expression": stored.expression.text,
        "timezone": stored.section.timezone,
        "digest": digest_of(stored.input),
        "prefix": stored.names.prefix,
        "request": stored.request,
    }
