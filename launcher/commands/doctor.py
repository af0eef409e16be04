"""``embed-job doctor``: what is missing on this machine or in the account."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from launcher.commands.arguments import AsJson, Overrides, Region

if TYPE_CHECKING:
    from launcher.checks import Check

_MARKS = {"ok": ("✓ ", "green"), "missing": ("✗ ", "bold red"), "unknown": ("? ", "yellow")}


def doctor_command(
    spec: Annotated[
        Path | None, typer.Argument(help="A spec, to check its role, image, input and output too.")
    ] = None,
    overrides: Overrides = None,
    region: Region = None,
    as_json: AsJson = False,
) -> None:
    """Say what is missing before a job can run, and what to do about it."""
    from embed_job.errors import ExitCode
    from embed_job.spec.file import load_spec
    from launcher.aws.clients import make_clients
    from launcher.commands.arguments import print_json
    from launcher.doctor import diagnose

    job = load_spec(spec, overrides or []) if spec else None
    wanted = region or (job.compute.region if job and job.compute else None)
    found = []
    for check in diagnose(
        job,
        connect=lambda: make_clients(wanted, environment=os.environ),
        bundle=Path("models/default"),
    ):
        found.append(check)
        if not as_json:
            _print(check)
    if as_json:
        print_json([asdict(check) for check in found])
    bad = any(check.state == "missing" and not check.optional for check in found)
    raise typer.Exit(ExitCode.INCOMPLETE if bad else ExitCode.OK)


def _print(check: Check) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    said = " (optional)" if check.state == "missing" and check.optional else ""
    console.print(Text.assemble(_MARKS[check.state], f"{check.name:<26}", check.detail + said))
    if check.hint:
        console.print(Text(f"  {check.hint}", style="cyan"))
