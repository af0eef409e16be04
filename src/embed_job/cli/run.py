"""``embed-job run``: a spec, or a sample of it, on this machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from embed_job.dataset.verify import Check
    from embed_job.report.model import SampleInfo
    from embed_job.spec import JobSpec

DRY_RUN = Path("out/dry-run")


def run_command(
    spec: Annotated[
        Path | None, typer.Argument(metavar="SPEC", help="The job's spec, in YAML.")
    ] = None,
    sample: Annotated[
        str | None,
        typer.Option(
            metavar="N|P%",
            help="Dry run: embed so many documents, or that share, into out/dry-run. "
            "Without SPEC, the documentation of Python's standard library.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Which sample is drawn.")] = 0,
    report: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the report goes: out/NAME.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Override a key, as in execution.workers=2."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print report.json, and nothing else, when it ends.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Embed a corpus on this machine. Run it again and it goes on where it stopped."""
    from embed_job.cli.load_summary import STOPPED_BY
    from embed_job.cli.run_summary import print_summary
    from embed_job.cli.spec_argument import as_typed
    from embed_job.errors import ExitCode
    from embed_job.progress import choose_progress
    from embed_job.report.write import render_json
    from embed_job.run import run_job

    job, of = _job(spec, overrides or [], size=sample, seed=seed, folder=report or DRY_RUN)
    folder = report or (DRY_RUN if of else Path("out") / job.name)
    _make_folder(folder)
    progress = choose_progress(sys.stderr, quiet=quiet)
    try:
        result = run_job(job, progress=progress, report_dir=folder, sample=of)
    finally:
        progress.stop()
    checks = _read_back(job) if of and result.report.ok else ()
    if as_json:
        sys.stdout.buffer.write(render_json(result.report))
    else:
        named = as_typed(spec, overrides) if spec else None
        stopped = STOPPED_BY.get(result.exit_code)
        print_summary(result.report, folder=folder, named=named, checks=checks, stopped=stopped)
    sound = all(check.ok for check in checks)
    raise typer.Exit(result.exit_code if sound else ExitCode.INCOMPLETE)


def _read_back(job: JobSpec) -> tuple[Check, ...]:
    """Read what a dry run wrote, from end to end."""
    from embed_job.dataset.verify import verify_output
    from embed_job.storage import store_for

    return verify_output(store_for(job.parquet.uri), job.parquet.uri).checks


def _make_folder(folder: Path) -> None:
    """Find out now, and not hours later, that the report has no place to go."""
    from embed_job.errors import OutputError

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        hint = "Name another folder with --report DIR."
        raise OutputError(str(folder), f"cannot hold the report: {why}", hint) from error


def _job(
    path: Path | None, overrides: list[str], *, size: str | None, seed: int, folder: Path
) -> tuple[JobSpec, SampleInfo | None]:
    """What to run, and what its input is a sample of."""
    from embed_job.errors import SpecError
    from embed_job.spec.file import load_spec

    if path is None and size is None:
        hint = "Give a spec (`embed-job init` writes one), or --sample 2000 to try it out."
        raise SpecError("embed-job run", "has neither SPEC nor --sample", hint)
    if path is None and overrides:
        raise SpecError("--set", "needs a SPEC to override", "Give the spec's file.")
    job = load_spec(path, overrides) if path else None
    if size is not None:
        from embed_job.dry_run import prepare_dry_run

        dry = prepare_dry_run(job, size=size, seed=seed, folder=folder)
        return dry.spec, dry.sample
    assert job is not None  # noqa: S101 - one of the two was given
    return job, None
