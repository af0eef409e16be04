"""``embed-job plan``: what a job would do, take and cost; nothing is submitted."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

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
    diff: Annotated[
        bool,
        typer.Option(
            "--diff",
            help="Say instead what a run would add, change, delete, take over and cost now, by "
            "reading what is new. Exit code 6 where a guard would refuse it.",
        ),
    ] = False,
) -> None:
    """Say what a job would do, take and cost, and what keeps it from being submitted."""
    from embed_job.errors import ExitCode, SpecError

    if diff:
        if request:
            raise SpecError("--request", "was given beside --diff", "Give either.")
        _print_diff(spec, overrides or [], report, as_json=as_json)
    from rich.console import Console

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


def _print_diff(
    path: Path, overrides: list[str], report: Path | None, *, as_json: bool
) -> NoReturn:
    import tempfile

    from rich.console import Console

    from embed_job.errors import ExitCode
    from embed_job.spec.file import load_spec
    from launcher.aws.errors import explained
    from launcher.planning.diff import diff_facts, make_priced_diff
    from launcher.planning.diff_view import print_diff
    from launcher.planning.rates import read_report
    from launcher.planning.view import WIDTH

    spec = load_spec(path, overrides)
    before = read_report(report) if report else None
    region = spec.compute.region if spec.compute else None
    with (
        tempfile.TemporaryDirectory(prefix="embed-job-diff-") as scratch,
        explained(spec, region=region),
    ):
        found = make_priced_diff(spec, scratch=Path(scratch), environment=os.environ, report=before)
    if as_json:
        print_json(diff_facts(found))
    else:
        console = Console(highlight=False)
        console.width = min(console.width, WIDTH)
        print_diff(found, console)
    raise typer.Exit(ExitCode.INCOMPLETE if found.diff.problems else ExitCode.OK)


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
