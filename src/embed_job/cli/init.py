"""``embed-job init``: a spec with every key explained."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

SCHEMA_NAME = "schema.json"


def init_command(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="Where to write it; - prints it.")
    ] = Path("job.yaml"),
    schema: Annotated[
        bool, typer.Option("--schema", help="Write only the spec's JSON schema to PATH.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
) -> None:
    """Write a commented spec, and its JSON schema beside it for your editor."""
    from embed_job.spec.template import is_our_schema, render_schema, render_spec

    if schema:
        _write(path, render_schema(), force=force or is_our_schema(path))
        return
    if str(path) == "-":
        _write(path, render_spec().encode(), force=False)
        return
    beside = path.parent / SCHEMA_NAME
    ours = is_our_schema(beside) or not beside.exists()
    _write(path, render_spec(SCHEMA_NAME if ours else None).encode(), force=force)
    if ours:
        _write(beside, render_schema(), force=True)
    typer.echo(f"{path} is written. Set name, input and outputs, then try it on a sample:")
    typer.echo(f"  embed-job run {path} --sample 2000")


def _write(path: Path, data: bytes, *, force: bool) -> None:
    from embed_job.errors import OutputError, SpecError
    from embed_job.storage.local import LocalStore

    if str(path) == "-":
        typer.echo(data.decode(), nl=False)
        return
    try:
        if force:
            LocalStore().replace(os.path.abspath(path), data)  # noqa: PTH100 - keeps links
        elif path.exists() or not LocalStore().create(os.path.abspath(path), data):  # noqa: PTH100
            raise SpecError(str(path), "is there already", "Give another path, or --force.")
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        hint = "Check the folder and its permissions."
        raise OutputError(str(path), f"cannot be written: {why}", hint) from error
