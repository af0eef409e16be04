"""``embed-job plan``: what a job would do, take and cost; nothing is submitted."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from launcher.commands.arguments import AsJson, Overrides, SpecPath, print_json

if TYPE_CHECKING:
    from launcher.planning.plan import LaunchPlan


def plan_command(
    spec: SpecPath,
    overrides: Overrides = None,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR|FILE", help="Report of a dry run or an earlier job, for its rate."
        ),
    ] = None,
    as_json: AsJson = False,
    request: Annotated[
        bool,
        typer.Option("--request", help="Print the exact CreateProcessingJob request, as JSON."),
    ] = False,
) -> None:
    """Say what a job would do, take and cost, and what keeps it from being submitted."""
    from rich.console import Console

    from embed_job.errors import ExitCode
    from launcher.planning.facts import plan_facts
    from launcher.planning.view import WIDTH, print_plan, print_problems

    plan = _plan(spec, overrides or [], report)
    if request:
        print_json(plan.request)
        if plan.errors:
            print_problems(plan.problems, Console(stderr=True, highlight=False))
    elif as_json:
        print_json(plan_facts(plan))
    else:
        console = Console(highlight=False)
        console.width = min(console.width, WIDTH)
        print_plan(plan, console)
    raise typer.Exit(ExitCode.USAGE if plan.errors else ExitCode.OK)


def _plan(path: Path, overrides: list[str], report: Path | None) -> LaunchPlan:
    import random
    import tempfile
    from datetime import UTC, datetime

    from embed_job.spec.file import load_spec
    from launcher.aws.clients import make_clients
    from launcher.job.names import new_names
    from launcher.job.request import compute_of
    from launcher.planning.plan import make_launch_plan
    from launcher.planning.rates import read_report

    spec = load_spec(path, overrides)
    clients = make_clients(compute_of(spec).region, environment=os.environ)
    names = new_names(
        spec.name,
        spec.parquet.uri,
        region=clients.known_region or "",
        now=datetime.now(UTC),
        rng=random.SystemRandom(),
    )
    before = read_report(report) if report else None
    with tempfile.TemporaryDirectory(prefix="embed-job-plan-") as folder:
        return make_launch_plan(spec, names, clients=clients, folder=Path(folder), report=before)
