"""What `promote`, `rollback` and `canary` print."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from rich.console import Console
from rich.text import Text

from embed_job.cli.plural import plural
from embed_job.cli.remedy import remedy
from embed_job.excerpt import excerpt

if TYPE_CHECKING:
    from embed_job.dataset.verify import Check
    from embed_job.opensearch.canary.run import Canary
    from embed_job.opensearch.index.alias import Promotion
    from embed_job.opensearch.index.prune import Pruned
    from embed_job.opensearch.promotion.promote import Promoted
    from embed_job.opensearch.target import IndexTarget


def print_json(promoted: Promoted, page: Path | None) -> None:
    """What became of the alias, as JSON."""
    passage = promoted.passage
    _dump(
        {
            "ok": promoted.promotion is not None,
            "promotion": promoted.promotion,
            "checks": [check.plain() for check in passage.checks] if passage else [],
            "overridden": [check.name for check in promoted.overridden],
            "deleted": promoted.pruned.deleted,
            "stayed": promoted.pruned.stayed,
            "page": None if page is None else str(page),
            "notes": passage.notes if passage else (),
        }
    )


def print_canary_json(canary: Canary, page: Path | None) -> None:
    """The figures of a canary, as JSON."""
    found = canary.comparison
    figures: dict[str, Any] | None = None
    if found is not None:
        figures = {name: value for name, value in asdict(found).items() if name != "answers"} | {
            "queries": len(found.answers)
        }
    _dump(
        {
            "ok": all(check.ok for check in canary.checks),
            "checks": [check.plain() for check in canary.checks],
            "comparison": figures,
            "page": None if page is None else str(page),
            "notes": canary.notes,
        }
    )


def print_promoted(
    promoted: Promoted, target: IndexTarget, page: Path | None, *, named: str
) -> None:
    """What became of the alias, and what to do where a check failed. named: the spec, as typed."""
    console = _console()
    passage, promotion = promoted.passage, promoted.promotion
    if promotion is None:
        failed = passage.failed if passage else ()
        _print_checks(console, failed)
        verdict = f"{target.name} is not promoted: {plural(len(failed), 'check')} failed. "
        console.print(Text(verdict + f"{target.alias} stays where it is.", style="bold red"))
        told = remedy(failed, named=named)
        console.print(Text(told or "", style="cyan"))
    else:
        _print_checks(
            console, promoted.overridden, mark=("! ", "bold yellow"), prefix="overridden: "
        )
        held = sum(check.ok and not check.skipped for check in passage.checks) if passage else 0
        console.print(_moved(promotion, held))
        _print_pruned(console, promotion, promoted.pruned)
    _print_rest(console, page, passage.notes if passage else ())


def print_rollback(promotion: Promotion) -> None:
    """Where the alias is now."""
    console = _console()
    console.print(_moved(promotion, 0))
    console.print(Text(f"{promotion.previous} stays, out of use", style="dim"))
    if promotion.unfinished:
        told = f"{promotion.index} is being loaded, or a load of it was broken off: it answers "
        told += "with what it has. `embed-job load` with its own spec brings it to its end."
        console.print(Text(told, style="yellow"))


def print_canary(canary: Canary, target: IndexTarget, page: Path | None) -> None:
    """The canary's gates, and its latencies."""
    console = _console()
    _print_checks(console, canary.checks)
    found = canary.comparison
    if found is not None:
        old, new = found.old_latency, found.new_latency
        told = f"a search takes {old.p50_ms:.1f} ms (p95 {old.p95_ms:.1f}) in {found.old_index}, "
        told += f"{new.p50_ms:.1f} ms (p95 {new.p95_ms:.1f}) in {found.new_index}"
        console.print(Text(told, style="dim"))
    elif all(check.ok for check in canary.checks) and not canary.notes:
        told = f"the vectors of the queries are kept for what replaces {target.name}"
        console.print(Text(told, style="dim"))
    _print_rest(console, page, canary.notes)


def _moved(promotion: Promotion, checks: int) -> Text:
    already = "" if promotion.changed else " already"
    line = f"{promotion.alias} → {promotion.index}{already}"
    return Text(line + (f", past {checks} checks" if checks else ""), style="bold green")


def _print_pruned(console: Console, promotion: Promotion, pruned: Pruned) -> None:
    if promotion.previous is not None:
        console.print(Text(f"{promotion.previous} stays, out of use", style="dim"))
    for name in pruned.deleted:
        console.print(Text(f"{name} is deleted, as keep_indexes says", style="yellow"))
    for line in pruned.stayed:
        console.print(Text(line, style="dim"))


def _print_checks(
    console: Console,
    checks: Sequence[Check],
    *,
    mark: tuple[str, str] | None = None,
    prefix: str = "",
) -> None:
    """mark: in place of the one that tells whether a check holds."""
    for check in checks:
        own = ("✓ ", "green") if check.ok else ("✗ ", "bold red")
        own = ("– ", "yellow") if check.skipped else own
        told = excerpt(check.detail, limit=600)
        told = f"not checked: {told}" if check.skipped else told
        style = "dim" if check.ok else "red"
        name = f"{prefix}{check.name}"
        console.print(Text.assemble(mark or own, f"{name:<37}", (told, style)))


def _print_rest(console: Console, page: Path | None, notes: Sequence[str]) -> None:
    for note in notes:
        console.print(Text(note, style="yellow"))
    if page is not None:
        console.print(Text.assemble("both answers side by side: ", (str(page), "cyan")))


def _console() -> Console:
    return Console(highlight=False, soft_wrap=True)


def _dump(plain: dict[str, Any]) -> None:
    sys.stdout.buffer.write(orjson.dumps(plain, option=orjson.OPT_INDENT_2) + b"\n")
