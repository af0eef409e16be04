"""``embed-job verify``: whether an output is what its manifests say."""

from __future__ import annotations

import sys
from typing import Annotated

import typer


def verify_command(
    output: Annotated[
        str, typer.Argument(metavar="URI|DIR", help="A run's folder, or the folder of an output.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print the checks as JSON.")] = False,
) -> None:
    """Check an output against its manifests: files, hashes, rows, vectors, ids."""
    import orjson

    from embed_job.dataset.query import find_output
    from embed_job.dataset.verify import verify_output
    from embed_job.errors import ExitCode
    from embed_job.storage import store_for

    folder = find_output(output)
    result = verify_output(store_for(folder), folder)
    if as_json:
        plain = {
            "ok": result.ok,
            "checks": [
                {"name": check.name, "ok": check.ok, "detail": check.detail}
                for check in result.checks
            ],
        }
        sys.stdout.buffer.write(orjson.dumps(plain, option=orjson.OPT_INDENT_2) + b"\n")
    else:
        _print(folder, [(check.name, check.ok, check.detail) for check in result.checks])
    raise typer.Exit(ExitCode.OK if result.ok else ExitCode.INCOMPLETE)


def _print(output: str, checks: list[tuple[str, bool, str]]) -> None:
    from rich.console import Console
    from rich.text import Text

    from embed_job.excerpt import excerpt

    console = Console(highlight=False, soft_wrap=True)
    for name, ok, detail in checks:
        mark = ("✓ ", "green") if ok else ("✗ ", "bold red")
        told = excerpt(detail, limit=600)
        console.print(Text.assemble(mark, f"{name:<30}", (told, "dim" if ok else "red")))
    bad = sum(not ok for _, ok, _ in checks)
    verdict = f"{bad} of {len(checks)} checks failed" if bad else f"all {len(checks)} checks hold"
    console.print(Text(f"{output}: {verdict}", style="bold red" if bad else "bold green"))
