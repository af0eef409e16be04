"""``embed-job load``: a committed output into its index; no model is needed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def load_command(
    spec: Annotated[Path, typer.Argument(metavar="SPEC", help="The job's spec, in YAML.")],
    replay: Annotated[
        bool,
        typer.Option("--all", help="Send every row again, whatever was delivered before."),
    ] = False,
    finishing: Annotated[
        bool,
        typer.Option(
            "--finish/--no-finish",
            help="Build graphs and put the load's settings back, or leave that to another load.",
        ),
    ] = True,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the spec."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the facts as JSON, and nothing else.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Load the Parquet output into OpenSearch. Run it again and it goes on where it stopped."""
    import platform

    from embed_job.cli.load_summary import STOPPED_BY, print_json, print_summary
    from embed_job.cli.spec_argument import as_typed, spec_with_index
    from embed_job.dataset.of_spec import open_spec_output
    from embed_job.errors import ExitCode
    from embed_job.opensearch.load.committed import load_committed
    from embed_job.opensearch.load.opening import Writer
    from embed_job.progress import choose_progress
    from embed_job.stop import StopSignals

    named = as_typed(spec, overrides)
    job = spec_with_index(spec, overrides or [])
    dataset = open_spec_output(job, named=named)
    progress = choose_progress(sys.stderr, quiet=quiet)
    with StopSignals() as stop:
        try:
            result = load_committed(
                job,
                dataset,
                Writer.alone(platform.node()),
                replay=replay,
                finishing=finishing,
                progress=progress,
                stopping=lambda: stop.requested,
            )
        finally:
            progress.stop()
    code = result.exit_code if result.exit_code is ExitCode.OK else stop.exit_code
    stopped = STOPPED_BY.get(code) if code else None
    if as_json:
        print_json(result, stopped=stopped is not None)
    else:
        print_summary(result, named=named, stopped=stopped)
    raise typer.Exit(result.exit_code if code is None else code)
