"""What a load prints when it has ended: the figures, what is wrong, what to type next."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import orjson
from rich.console import Console
from rich.text import Text

from embed_job.cli.plural import plural
from embed_job.errors import ExitCode
from embed_job.excerpt import excerpt

if TYPE_CHECKING:
    from embed_job.opensearch.load.load import LoadResult
    from embed_job.report.model import DeliveryFacts, IndexReport, PromotionReport


_COMMAND = re.compile(r"(`embed-job \w+) SPEC\b")

STOPPED_BY = {ExitCode.INTERRUPTED: "Ctrl-C", ExitCode.TERMINATED: "SIGTERM"}
"""What a signal is called, by the exit code that tells of it."""


def print_json(result: LoadResult, *, stopped: bool) -> None:
    """The facts, as in a run's report.json under outputs, with what is wrong. stopped: a signal
    has ended the load."""
    report = result.report
    plain = {
        "ok": not result.problems,
        "stopped": stopped,
        "problems": result.problems,
        "index": None if report is None else report.model_dump(mode="json"),
    }
    sys.stdout.buffer.write(orjson.dumps(plain, option=orjson.OPT_INDENT_2) + b"\n")


def print_summary(result: LoadResult, *, named: str, stopped: str | None = None) -> None:
    """A load's outcome.

    named: the spec, as the user types it. stopped: the signal that has ended the load, if one did.
    """
    console = Console(highlight=False, soft_wrap=True)
    report = result.report
    if report is not None:
        console.print(_headline(report, ok=not result.problems, stopped=stopped))
    mark, style = ("✗", "red") if stopped is None else ("–", "yellow")
    for problem in result.problems:
        told = naming(named, excerpt(problem, limit=600))
        console.print(Text(f"  {mark} {told}", style=style))
    if report is None:
        return
    for name, value in index_rows(report, named=named):
        console.print(Text.assemble("  ", (f"{name:<14}", "dim"), value))
    if not result.problems and report.finished and report.alias is not None:
        console.print(Text("\nWhat to type next", style="bold"))
        for command, why in _next(named, report.alias):
            console.print(Text.assemble("  ", (command, "cyan"), (f"  # {why}", "dim")))


def naming(named: str | None, told: str) -> str:
    """A message whose commands name the spec as the user types it; None: there is none."""
    if named is None:
        return told
    return _COMMAND.sub(lambda found: f"{found[1]} {named}", told)


def index_rows(report: IndexReport, *, named: str | None) -> Iterator[tuple[str, str | Text]]:
    """The figures of an index, as a name and a value each. named: as of naming."""
    rows = report.rows
    size = f"{plural(rows.read, 'row')} = {rows.written:,} written + {rows.rejected:,} rejected"
    yield "index", f"{report.url}/{report.index} ({size})"
    for reason, count in report.refused_by_reason.items():
        yield "rejected", Text(f"{count:,} {excerpt(reason, limit=200)}", style="yellow")
    if report.dead_letters is not None:
        again = naming(named, "`embed-job redrive SPEC` sends them again")
        yield "dead letters", f"{report.dead_letters} ({again})"
    yield from _sent_rows(report.delivery)
    if report.splits_again:
        told = f"{plural(report.splits_again, 'split')} had lost rows; sent again"
        yield "lost", told
    if report.deleted:
        yield "deleted", f"{plural(report.deleted, 'document')} that the output no longer holds"
    if report.memory is not None:
        yield "index memory", report.memory
    if report.recall is not None:
        yield "recall@10", f"{report.recall:.3f}, against exact search"
    if report.promotion is not None:
        yield from _promotion_rows(report.promotion)


def _sent_rows(sent: DeliveryFacts) -> Iterator[tuple[str, str | Text]]:
    if sent.rows:
        rate = f"{plural(sent.rows, 'row')} in {sent.seconds:.1f} s, {sent.rows_per_s:,.0f} rows/s"
        yield "sent", f"{rate}, {size_of(sent.bytes)} in {plural(sent.requests, 'request')}"
    if sent.retries or sent.throttled:
        told = f"{plural(sent.retries, 'request')} sent again, "
        told += f"{plural(sent.throttled, 'row')} answered 429"
        if sent.last_reason is not None:
            told += f"; last answer: {excerpt(sent.last_reason, limit=200)}"
        yield "retries", told


def _promotion_rows(moved: PromotionReport) -> Iterator[tuple[str, str | Text]]:
    if moved.promoted:
        told = f"{moved.alias} points to it, past {plural(moved.checks, 'check')}"
        yield "alias", told + (f"; {moved.previous} stays" if moved.previous else "")
    elif moved.failed:
        told = f"{moved.alias} stays where it is: {plural(len(moved.failed), 'check')} failed"
        yield "alias", Text(told, style="yellow")
    if moved.canary is not None:
        yield "canary", moved.canary + (f" ({moved.page})" if moved.page else "")
    for name in moved.deleted:
        yield "deleted index", Text(name, style="yellow")
    for line in (*moved.stayed, *moved.notes):
        yield "note", line


def _headline(report: IndexReport, *, ok: bool, stopped: str | None) -> Text:
    if stopped is not None:
        told = f"{report.splits_loaded:,} of {plural(report.splits, 'split')} are loaded"
        return Text(f"{report.index}: stopped ({stopped}): {told}", style="bold yellow")
    if not ok:
        return Text(f"{report.index}: not a success", style="bold red")
    done = f"{report.index}: {plural(report.rows.read, 'row')}, all accounted for"
    if not report.delivery.rows and not report.deleted:
        done += "; all were loaded before, so nothing was to do"
    elif not report.finished:
        done += "; not finished yet"
    return Text(done, style="bold green")


def _next(named: str, alias: str) -> Iterator[tuple[str, str]]:
    yield f"embed-job verify {named}", "nine checks, recall among them"
    yield f"embed-job promote {named}", f"point {alias} to it, if they hold"
    yield f'embed-job search "a question of yours" --in {named}', "ask it something"


def size_of(count: int) -> str:
    """Bytes, for people."""
    if count < 1 << 20:
        return f"{count / 2**10:,.1f} KiB"
    return f"{count / 2**20:,.1f} MiB"
