"""``embed-job logs``: what a job's hosts say."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from launcher.commands.arguments import AsJson, JobTarget, Overrides, Region

if TYPE_CHECKING:
    from launcher.watch.logs import LogLine
    from launcher.watch.target import Target


def logs_command(
    target: JobTarget,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")
    ] = False,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=1, max=10000, help="Lines of the log's end.")
    ] = 100,
    overrides: Overrides = None,
    region: Region = None,
    as_json: AsJson = False,
) -> None:
    """Show a job's log, all hosts in order of time."""
    from embed_job.errors import UserError
    from launcher.aws.errors import explained
    from launcher.watch.logs import JobLogs
    from launcher.watch.target import find_target

    if follow and as_json:
        raise UserError("--follow", "does not go with --json", "Leave out either.")
    found = find_target(target, overrides=overrides or [], region=region, environment=os.environ)
    if follow:
        _follow(found)
    logs = JobLogs(found.clients.logs, found.job.name)
    with explained(found.spec, region=found.clients.known_region):
        told = logs.last_lines(lines)
    if not told:
        typer.echo(f"{found.job.name} has no log yet.", err=True)
    for line in told:
        _print(line, as_json=as_json)


def _follow(found: Target) -> NoReturn:
    """To the end of the job; its exit code is ours."""
    from launcher.commands.arguments import tell
    from launcher.watch.follow import Follower
    from launcher.watch.wait import wait_for

    follower = Follower(found.clients, tell, found.spec, time.monotonic, time.sleep)
    ended = wait_for(found.job.name, follower, ask=lambda: "detach")
    raise typer.Exit(ended.exit_code)


def _print(line: LogLine, *, as_json: bool) -> None:
    import orjson

    if as_json:
        sys.stdout.buffer.write(orjson.dumps(asdict(line)) + b"\n")
    elif shown := line.shown():
        typer.echo(shown)
