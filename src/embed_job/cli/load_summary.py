"""What a load prints when it has ended: the figures, what is wrong, what to type next."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
from rich.console import Console
from rich.text import Text

from embed_job.excerpt import excerpt

if TYPE_CHECKING:
    from embed_job.opensearch.load.load import LoadResult
    from embed_job.report.model import IndexReport


def print_json(result: LoadResult) -> None:
    """The facts, as in a run's report.json under outputs, with what is wrong."""
    report = result.report
    plain = {
        "ok": not result.problems,
        "problems": result.problems,
        "index": None if report is None else report.model_dump(mode="json"),
    }
    sys.stdout.buffer.write(orjson.dumps(plain, option=orjson.OPT_INDENT_2) + b"\n")


def print_summary(result: LoadResult, *, spec: Path) -> None:
    """A load's outcome. spec: as the user named it."""
    console = Console(highlight=False, soft_wrap=True)
    report = result.report
    if report is not None:
        console.print(_headline(report, ok=not result.problems))
    for problem in result.problems:
        console.print(Text(f"  ✗ {excerpt(problem, limit=600)}", style="red"))
    if report is None:
        return
    for name, value in index_rows(report):
        console.print(Text.assemble("  ", (f"{name:<14}", "dim"), value))
    if not result.problems and report.finished and report.alias is not None:
        console.print(Text("\nWhat to type next", style="bold"))
        for command, why in _next(spec, report.alias):
            console.print(Text.assemble("  ", (command, "cyan"), (f"  # {why}", "dim")))


def index_rows(report: IndexReport) -> Iterator[tuple[str, str | Text]]:
    """The figures of an index, as a name and a value each."""
    rows, sent = report.rows, report.delivery
    size = f"{rows.read:,} rows = {rows.written:,} written + {rows.rejected:,} rejected"
    yield "index", f"{report.url}/{report.index} ({size})"
    for reason, count in report.refused_by_reason.items():
        yield "rejected", Text(f"{count:,} {excerpt(reason, limit=200)}", style="yellow")
    if report.dead_letters is not None:
        yield "dead letters", f"{report.dead_letters} (`embed-job redrive SPEC` sends them again)"
    if sent.rows:
        rate = f"{sent.rows:,} rows in {sent.seconds:.1f} s, {sent.rows_per_s:,.0f} rows/s"
        yield "sent", f"{rate}, {sent.bytes / 2**20:,.1f} MiB in {sent.requests:,} requests"
    if sent.retries or sent.throttled:
        told = f"{sent.retries:,} requests sent again, {sent.throttled:,} rows answered 429"
        yield "retries", told
    if report.splits_again:
        yield "lost", f"{report.splits_again:,} splits had lost rows, and were sent again"
    if report.deleted:
        yield "deleted", f"{report.deleted:,} documents that the output no longer holds"
    if report.memory is not None:
        yield "index memory", report.memory
    if report.recall is not None:
        yield "recall@10", f"{report.recall:.3f}, against exact search"


def _headline(report: IndexReport, *, ok: bool) -> Text:
    if not ok:
        return Text(f"{report.index}: not a success", style="bold red")
    done = f"{report.index}: {report.rows.read:,} rows, all accounted for"
    if not report.delivery.rows and not report.deleted:
        done += "; all were loaded before, so nothing was to do"
    elif not report.finished:
        done += "; not finished yet"
    return Text(done, style="bold green")


def _next(spec: Path, alias: str) -> Iterator[tuple[str, str]]:
    yield f"embed-job verify {spec}", "nine checks, recall among them"
    yield f"embed-job promote {spec}", f"point {alias} to it, if they hold"
    yield f'embed-job search "a question of yours" --in {spec}', "ask it something"
