"""``embed-job redrive``: rows that an index refused, sent again."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from embed_job.opensearch.load.redrive import Redriven


def redrive_command(
    spec: Annotated[Path, typer.Argument(metavar="SPEC", help="The job's spec, in YAML.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the spec."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what came of it as JSON.")] = False,
) -> None:
    """Send what the index refused once more, when the cause is gone."""
    import platform
    from contextlib import closing

    import orjson

    from embed_job.cli.spec_argument import as_typed, spec_with_index
    from embed_job.dataset.of_spec import open_spec_output
    from embed_job.errors import ExitCode
    from embed_job.opensearch.load.opening import Writer, open_load
    from embed_job.opensearch.load.redrive import redrive
    from embed_job.stop import StopSignals

    named = as_typed(spec, overrides)
    job = spec_with_index(spec, overrides or [])
    dataset = open_spec_output(job, named=named)
    with StopSignals() as stop:
        load = open_load(job, dataset, Writer.alone(platform.node()), create=False)
        with closing(load.client):
            result = redrive(load, dataset.splits, stopping=lambda: stop.requested)
    if as_json:
        sys.stdout.buffer.write(orjson.dumps(result, option=orjson.OPT_INDENT_2) + b"\n")
    else:
        _print(result, named)
    if result.stopped and stop.exit_code is not None:
        raise typer.Exit(stop.exit_code)
    left = result.remaining or result.withdrawn
    raise typer.Exit(ExitCode.INCOMPLETE if left else ExitCode.OK)


def _print(result: Redriven, named: str) -> None:
    """named: the spec, as the user types it."""
    from rich.console import Console
    from rich.text import Text

    from embed_job.cli.plural import plural
    from embed_job.excerpt import excerpt

    console = Console(highlight=False, soft_wrap=True)
    if not (result.landed or result.remaining or result.withdrawn):
        console.print(Text(f"{result.index}: no row was refused", style="bold green"))
        return
    style = "bold red" if result.remaining or result.withdrawn else "bold green"
    told = f"{plural(result.landed, 'row')} landed, {result.remaining:,} still refused"
    console.print(Text(f"{result.index}: {told}", style=style))
    for reason, count in result.remaining_by_reason.items():
        console.print(Text(f"  rejected      {count:,} {excerpt(reason, limit=200)}", "yellow"))
    if result.withdrawn:
        told = f"the dead letters of {plural(result.withdrawn, 'split')} don't add up"
        console.print(Text(f"  ✗ {told}: embed-job load {named} sends their rows again", "red"))
    if result.unsettled:
        told = f"the output has changed since rows of {plural(result.unsettled, 'split')} were "
        told += f"refused: embed-job load {named}, then redrive again"
        console.print(Text(f"  ✗ {told}", "red"))
