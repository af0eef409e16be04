"""The engine's commands. Each loads what it needs when it is called, so that help is quick."""

from __future__ import annotations

from typing import Annotated

import typer

from embed_job import __version__
from embed_job.cli.bundle import bundle_command
from embed_job.cli.canary import canary_command
from embed_job.cli.init import init_command
from embed_job.cli.load import load_command
from embed_job.cli.promote import promote_command, rollback_command
from embed_job.cli.redrive import redrive_command
from embed_job.cli.run import run_command
from embed_job.cli.search import search_command
from embed_job.cli.verify import verify_command

app = typer.Typer(
    name="embed-job",
    help="A corpus in, verified vectors out.",
    epilog="Exit codes: docs/exit-codes.md. A spec to begin with: embed-job init.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"embed-job {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Say which it is."),
    ] = False,
) -> None:
    pass


app.command("init")(init_command)
app.command("bundle")(bundle_command)
app.command("run")(run_command)
app.command("load")(load_command)
app.command("redrive")(redrive_command)
app.command("verify")(verify_command)
app.command("canary")(canary_command)
app.command("promote")(promote_command)
app.command("rollback")(rollback_command)
app.command("search")(search_command)
