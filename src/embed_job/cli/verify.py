"""``embed-job verify``: whether an output, and the index loaded from it, hold what they should."""

from __future__ import annotations

import sys
import time
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.text import Text

    from embed_job.dataset.verify import Check, VerifyResult
    from embed_job.spec import JobSpec


class Kind(StrEnum):
    """What to examine."""

    PARQUET = "parquet"
    INDEX = "index"


def verify_command(
    output: Annotated[
        str,
        typer.Argument(
            metavar="SPEC|URI|DIR",
            help="A spec, a run's folder, or the folder of an output.",
        ),
    ],
    only: Annotated[
        Kind | None, typer.Option(help="With a spec of both: examine one of them alone.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the spec."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the checks as JSON.")] = False,
) -> None:
    """Check an output against its manifests, and with a SPEC its index against the output."""
    from embed_job.cli.spec_argument import as_typed, spec_of
    from embed_job.dataset.of_spec import find_spec_output
    from embed_job.dataset.query import find_output
    from embed_job.dataset.verify import VerifyResult, verify_output
    from embed_job.errors import ExitCode
    from embed_job.storage import store_for

    spec = spec_of(output, overrides or [])
    named = as_typed(output, overrides)
    folder = find_output(output) if spec is None else find_spec_output(spec, named=named)
    checks: tuple[Check, ...] = ()
    if only is not Kind.INDEX:
        checks += verify_output(store_for(folder), folder).checks
    if only is not Kind.PARQUET:
        checks += _index_checks(spec, folder, wanted=only is Kind.INDEX)
    result = VerifyResult(checks)
    if as_json:
        _print_json(result)
    else:
        _print(folder if spec is None else output, checks, None if spec is None else named)
    raise typer.Exit(ExitCode.OK if result.ok else ExitCode.INCOMPLETE)


def _index_checks(spec: JobSpec | None, folder: str, *, wanted: bool) -> tuple[Check, ...]:
    """The nine checks of a spec's index; none where there is no index, and none was asked for."""
    from embed_job.errors import SpecError

    if spec is None or spec.opensearch is None:
        if wanted:
            raise SpecError(
                "--only index", "there is no index", "Name a spec with an opensearch output."
            )
        return ()
    from embed_job.cli.program import print_line
    from embed_job.dataset import open_dataset
    from embed_job.opensearch.check import examine
    from embed_job.opensearch.check.record import record_checks
    from embed_job.opensearch.check.subject import open_subject
    from embed_job.opensearch.client import connect
    from embed_job.opensearch.errors import explained
    from embed_job.opensearch.target import IndexTarget
    from embed_job.storage import store_for

    dataset = open_dataset(store_for(folder), folder)
    target = IndexTarget(spec.opensearch, dataset.descriptor)
    with explained(f"{spec.opensearch.url}/{target.name}"), connect(spec.opensearch) as client:
        subject = open_subject(client, target, dataset)
        checks = examine(subject)
    try:
        record_checks(subject, checks, now=time.time())
    except PermissionError as error:
        print_line("yellow", f"What was found can't be kept for reports: {error}")
    return checks


def _print_json(result: VerifyResult) -> None:
    import orjson

    plain = {"ok": result.ok, "checks": [check.plain() for check in result.checks]}
    sys.stdout.buffer.write(orjson.dumps(plain, option=orjson.OPT_INDENT_2) + b"\n")


def _print(output: str, checks: tuple[Check, ...], named: str | None) -> None:
    """named: the spec, as the user types it; None: an output alone was examined."""
    from rich.console import Console
    from rich.text import Text

    from embed_job.cli.remedy import remedy
    from embed_job.excerpt import excerpt

    console = Console(highlight=False, soft_wrap=True)
    for check in checks:
        mark = ("✓ ", "green") if check.ok else ("✗ ", "bold red")
        if check.skipped:
            mark = ("– ", "yellow")
        told = excerpt(check.detail, limit=600)
        told = f"not checked: {told}" if check.skipped else told
        style = "dim" if check.ok else "red"
        console.print(Text.assemble(mark, f"{check.name:<34}", (told, style)))
    console.print(_verdict(output, checks))
    failed = [check for check in checks if not check.ok]
    if failed and named is not None:
        console.print(Text(remedy(failed, named=named) or "", style="cyan"))


def _verdict(output: str, checks: tuple[Check, ...]) -> Text:
    from rich.text import Text

    bad = sum(not check.ok for check in checks)
    skipped = sum(check.skipped for check in checks)
    verdict = f"all {len(checks) - skipped} checks hold"
    if bad:
        verdict = f"{bad} of {len(checks)} checks failed"
    verdict += f", {skipped} can't be asked there" if skipped else ""
    return Text(f"{output}: {verdict}", style="bold red" if bad else "bold green")
