"""``embed-job promote`` and ``embed-job rollback``: which index the searches' alias is on."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from embed_job.dataset import Dataset
    from embed_job.dataset.verify import Check
    from embed_job.opensearch.index.alias import Promotion
    from embed_job.opensearch.target import IndexTarget

SpecPath = Annotated[Path, typer.Argument(metavar="SPEC", help="The job's spec, in YAML.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the spec."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print what came of it as JSON.")]


def promote_command(spec: SpecPath, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Point the alias to the spec's index, once that passes every check of `verify`.

    One request moves it, so searches see the old index or the new one, never both or none. The
    old index stays, for `rollback`. Exit code 6, and nothing moved, where a check fails. Where the
    alias is on the index already, nothing is checked or moved.
    """
    from embed_job.cli.spec_argument import as_typed
    from embed_job.errors import ExitCode
    from embed_job.opensearch.client import connect
    from embed_job.opensearch.errors import explained
    from embed_job.opensearch.index.alias import promote

    target, dataset = _target(spec, overrides or [])
    named = as_typed(spec, overrides)
    checks: Sequence[Check] = ()
    promotion: Promotion | None = None
    with explained(f"{target.output.url}/{target.name}"), connect(target.output) as client:
        if not _is_live(client, target):
            from embed_job.opensearch.check import verify_index

            checks = verify_index(client, target, dataset)
        if all(check.ok for check in checks):
            promotion = promote(client, target)
    if as_json:
        _print_json(promotion, checks)
    elif promotion is None:
        _print_failures(target, [check for check in checks if not check.ok], named)
    else:
        _print_promotion(promotion, checks)
    raise typer.Exit(ExitCode.INCOMPLETE if promotion is None else ExitCode.OK)


def rollback_command(spec: SpecPath, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Point the alias back to the index that the spec's had replaced. Said twice, it is done once.

    Refused where that index is gone, or where the alias is on an index of another spec by now.
    """
    from embed_job.opensearch.client import connect
    from embed_job.opensearch.errors import explained
    from embed_job.opensearch.index.alias import rollback

    # Back is wanted most where a new version is under way: the spec may have been edited since.
    target, _ = _target(spec, overrides or [], same=False)
    with explained(f"{target.output.url}/{target.name}"), connect(target.output) as client:
        promotion = rollback(client, target)
    if as_json:
        _print_json(promotion, ())
    else:
        _print_promotion(promotion, ())


def _target(path: Path, overrides: list[str], *, same: bool = True) -> tuple[IndexTarget, Dataset]:
    """The index of a spec, and the output that it was loaded from; same: as of open_spec_output."""
    from embed_job.cli.spec_argument import as_typed, spec_with_index
    from embed_job.dataset.of_spec import open_spec_output
    from embed_job.opensearch.target import IndexTarget

    spec = spec_with_index(path, overrides)
    dataset = open_spec_output(spec, named=as_typed(path, overrides), same=same)
    assert spec.opensearch is not None  # noqa: S101 - spec_with_index has seen to it
    return IndexTarget(spec.opensearch, dataset.descriptor), dataset


def _is_live(client: Any, target: IndexTarget) -> bool:
    """Whether the alias is on the target's index already; raises OutputError where it can't be."""
    from embed_job.opensearch.index.alias import holder_of

    if target.alias is None:
        return False  # promote says what is wrong
    where = f"{target.output.url}/{target.alias}"
    return holder_of(client, target.alias, where=where) == target.name


def _print_json(promotion: Promotion | None, checks: Sequence[Check]) -> None:
    import orjson

    plain = {
        "ok": promotion is not None,
        "promotion": promotion,
        "checks": [check.plain() for check in checks],
    }
    sys.stdout.buffer.write(orjson.dumps(plain, option=orjson.OPT_INDENT_2) + b"\n")


def _print_failures(target: IndexTarget, failures: Sequence[Check], named: str) -> None:
    from rich.console import Console
    from rich.text import Text

    from embed_job.cli.plural import plural
    from embed_job.cli.remedy import remedy
    from embed_job.excerpt import excerpt

    console = Console(highlight=False, soft_wrap=True)
    for check in failures:
        told = excerpt(check.detail, limit=600)
        console.print(Text.assemble(("✗ ", "bold red"), f"{check.name:<34}", (told, "red")))
    verdict = f"{target.name} is not promoted: {plural(len(failures), 'check')} failed. "
    console.print(Text(verdict + f"{target.alias} stays where it is.", style="bold red"))
    console.print(Text(remedy(failures, named=named) or "", style="cyan"))


def _print_promotion(promotion: Promotion, checks: Sequence[Check]) -> None:
    from rich.console import Console
    from rich.text import Text

    already = "" if promotion.changed else " already"
    line = f"{promotion.alias} → {promotion.index}{already}"
    if checks:
        line += f", past {sum(not check.skipped for check in checks)} checks"
    console = Console(highlight=False, soft_wrap=True)
    console.print(Text(line, style="bold green"))
    if promotion.previous is not None:
        console.print(Text(f"{promotion.previous} stays, out of use", style="dim"))
