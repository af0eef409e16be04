"""Arguments and options that several commands share, and how they print."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer


class Place(StrEnum):
    """Where the job runs."""

    sagemaker = "sagemaker"
    local = "local"


class Runner(StrEnum):
    """What stands for an instance on this machine."""

    auto = "auto"
    docker = "docker"
    process = "process"


SpecPath = Annotated[Path, typer.Argument(metavar="SPEC", help="The job's spec, in YAML.")]
JobTarget = Annotated[
    str,
    typer.Argument(metavar="SPEC|JOB", help="A spec, for the latest job of it, or a job's name."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Override a key, as in compute.instance_count=2."
    ),
]
Region = Annotated[
    str | None, typer.Option(help="AWS region; default: the spec's, AWS_REGION, the profile's.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print facts as JSON, and nothing else.")]


def print_json(facts: Any) -> None:
    """Facts on standard output, for programs."""
    import orjson

    sys.stdout.buffer.write(orjson.dumps(facts, option=orjson.OPT_INDENT_2) + b"\n")


def print_facts(facts: list[tuple[str, str]]) -> None:
    """Names and values on standard output, for people."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    width = max((len(name) for name, _ in facts), default=0) + 2
    for name, value in facts:
        console.print(Text.assemble((f"{name:<{width}}", "dim"), value))


def tell(line: str) -> None:
    """One line on standard error, for whoever watches."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
