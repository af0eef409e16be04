"""``embed-job submit``: a spec to a job on SageMaker, or to the same job on this machine."""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from launcher.commands.arguments import (
    AsJson,
    Overrides,
    Place,
    Runner,
    SpecPath,
    print_json,
    tell,
)

if TYPE_CHECKING:
    from embed_job.errors import ExitCode
    from embed_job.spec import JobSpec
    from launcher.aws.clients import Clients
    from launcher.planning.plan import LaunchPlan
    from launcher.watch.wait import Choice


def submit_command(  # noqa: PLR0913, PLR0917 - typer's parameters are options by name
    spec: SpecPath,
    on: Annotated[
        Place, typer.Option(help="sagemaker, or local: the same request on this machine.")
    ] = Place.sagemaker,
    wait: Annotated[
        bool, typer.Option("--wait", help="Follow the job to its end; only Completed is success.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask about the cost.")] = False,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="report.json of a dry run, to estimate hours by."),
    ] = None,
    runner: Annotated[
        Runner, typer.Option(help="With --on local: containers, or processes without Docker.")
    ] = Runner.auto,
    image: Annotated[
        str, typer.Option(help="With --on local: the image here that stands for compute.image_uri.")
    ] = "embed-job:cpu",
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Plan, check, and submit a job. Refuses while a job of the same spec is running."""
    from embed_job.spec.file import load_spec
    from launcher.aws.clients import make_clients
    from launcher.aws.errors import explained
    from launcher.job.request import compute_of

    job = load_spec(spec, overrides or [])
    clients = make_clients(compute_of(job).region, environment=os.environ)
    with (
        tempfile.TemporaryDirectory(prefix="embed-job-") as folder,
        explained(job, region=clients.known_region),
    ):
        plan = _plan(job, clients, Path(folder), report=report, on=on)
        if on is Place.local:
            facts, code = _run_here(plan, clients, Path(folder), runner=runner, image=image)
        else:
            _confirm(plan, asked=not yes and sys.stdin.isatty())
            facts, code = _submit(plan, clients, Path(folder), wait=wait)
    if as_json:
        print_json(facts)
    raise typer.Exit(code)


def _plan(
    job: JobSpec, clients: Clients, folder: Path, *, report: Path | None, on: Place
) -> LaunchPlan:
    """The plan, with order and listing in a folder. Raises SpecError where it has errors."""
    from launcher.job.names import new_names
    from launcher.job.submit import refuse_faulty, refuse_second_run
    from launcher.planning.plan import make_launch_plan, write_order_files
    from launcher.planning.rates import read_report

    here = on is Place.local
    region = clients.known_region or "local" if here else clients.region
    if not here:
        refuse_second_run(job.name, clients)
    names = new_names(
        job.name,
        job.parquet.uri,
        region=region,
        now=datetime.now(UTC),
        rng=random.SystemRandom(),
    )
    plan = make_launch_plan(
        job,
        names,
        clients=clients,
        folder=folder,
        report=read_report(report) if report else None,
        on=on.value,
    )
    for problem in plan.problems:
        if problem.severity == "warning":
            tell(f"Warning {problem.where}: {problem.what}. {problem.hint}")
    refuse_faulty(plan)
    write_order_files(plan, folder, created_at=time.time())
    return plan


def _confirm(plan: LaunchPlan, *, asked: bool) -> None:
    """Say what the job takes and costs, and on a terminal ask."""
    from embed_job.errors import ExitCode
    from launcher.job.submit import outlook_lines

    for line in outlook_lines(plan):
        tell(line)
    if asked and not _is_wanted():
        tell("Nothing was submitted.")
        raise typer.Exit(ExitCode.INTERRUPTED)


def _is_wanted() -> bool:
    try:
        return typer.confirm("Submit?", default=False, err=True)
    except typer.Abort:  # Ctrl-C, or no more input
        return False


def _submit(
    plan: LaunchPlan, clients: Clients, folder: Path, *, wait: bool
) -> tuple[dict[str, Any], ExitCode]:
    from embed_job.errors import ExitCode
    from launcher.job.submit import planned_request, submit
    from launcher.watch.jobs import console_link, log_link

    done = submit(planned_request(plan), plan.names, folder=folder, clients=clients)
    facts = asdict(done) | {"console": console_link(done.arn), "status": "InProgress"}
    tell(f"Submitted {done.job}")
    tell(f"  {console_link(done.arn)}")
    tell(f"  {log_link(done.arn)}")
    if not wait:
        for command in ("status", "logs --follow", "stop"):
            name, _, option = command.partition(" ")
            tell(f"  embed-job {name} {done.job} {option}".rstrip())
        return facts, ExitCode.OK
    return _wait(plan, clients, facts)


def _wait(
    plan: LaunchPlan, clients: Clients, facts: dict[str, Any]
) -> tuple[dict[str, Any], ExitCode]:
    from launcher.watch.follow import Follower
    from launcher.watch.wait import wait_for

    follower = Follower(clients, tell, plan.spec, time.monotonic, time.sleep)
    ended = wait_for(facts["job"], follower, ask=_detach_or_stop)
    facts["status"] = ended.job.status if ended.job else "InProgress"
    if ended.job is None or not ended.job.completed:
        return facts, ended.exit_code
    return _end(plan, clients, facts, uploaded=ended.job.uploaded)


def _end(
    plan: LaunchPlan, clients: Clients, facts: dict[str, Any], *, uploaded: bool
) -> tuple[dict[str, Any], ExitCode]:
    """After Completed: finalize where no host could, and say where the report is."""
    from embed_job.errors import ExitCode
    from launcher.job.finalizing import finalize

    names = plan.names
    facts["report"] = f"{names.prefix}report.html"
    problems: tuple[str, ...] = ()
    if uploaded:
        verdict, _ = finalize(clients.store, names.job, names.prefix)
        problems = facts["problems"] = verdict.problems
    for problem in problems:
        tell(f"Problem: {problem}")
    tell(f"Output: {plan.spec.parquet.uri}")
    tell(f"Report: {facts['report']}")
    return facts, ExitCode.INCOMPLETE if problems else ExitCode.OK


def _run_here(
    plan: LaunchPlan, clients: Clients, folder: Path, *, runner: Runner, image: str
) -> tuple[dict[str, Any], ExitCode]:
    """The same request, carried out on this machine; returns when it has ended."""
    from embed_job.errors import ExitCode
    from launcher.job.submit import bring_files, planned_request
    from launcher.local import submit_local

    request = planned_request(plan)
    bring_files(clients.store, plan.names, folder=folder)
    ended = submit_local(request, clients=clients, runner=runner.value, image=image)
    facts: dict[str, Any] = {"job": ended.job, "arn": ended.arn, "prefix": plan.names.prefix}
    facts |= {"status": ended.status, "exit_message": ended.exit_message}
    tell(f"{ended.job} ended as {ended.status}.")
    if not ended.completed:
        for line in (ended.exit_message, ended.failure_reason):
            if line:
                tell(line)
        return facts, ended.stopped_by or ExitCode.INCOMPLETE
    return _end(plan, clients, facts, uploaded="ProcessingOutputConfig" in request)


def _detach_or_stop() -> Choice:
    """What Ctrl-C is to mean; without a terminal to ask, the job is left alone."""
    if not sys.stdin.isatty():
        return "detach"
    try:
        answer = typer.prompt("Leave the job running, or stop it? [d]etach, [s]top", "d", err=True)
    except typer.Abort:  # Ctrl-C again
        return "detach"
    return "stop" if answer.strip().lower().startswith("s") else "detach"
