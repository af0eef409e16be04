"""What a run prints when it has ended: the figures, a look at the vectors, what to type next."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from shutil import which

from rich.console import Console
from rich.text import Text

from embed_job.cli.load_summary import index_rows, naming
from embed_job.commit.commits import PRIVATE
from embed_job.dataset.verify import Check
from embed_job.excerpt import excerpt
from embed_job.report.model import NearestExample, Neighbour, Report
from embed_job.storage import join


def print_summary(
    report: Report,
    *,
    folder: Path,
    named: str | None,
    checks: Sequence[Check] = (),
    stopped: str | None = None,
) -> None:
    """Print a run's outcome.

    folder: where its report lies; named: the spec, as the user types it; checks: what reading the
    output back found, where that was done; stopped: the signal that has ended the run, if one did.
    """
    console = Console(highlight=False, soft_wrap=True)
    console.print(_headline(report, stopped))
    for problem in report.problems:
        told = naming(named, excerpt(problem, limit=600))
        console.print(Text(f"  ✗ {told}", style="red"))
    for warning in report.warnings:
        console.print(Text(f"  ! {excerpt(warning, limit=600)}", style="yellow"))
    for name, value in [*_rows(report, folder, named), *_verified(checks)]:
        console.print(Text.assemble("  ", (f"{name:<14}", "dim"), value))
    if report.examples:
        console.print(Text("\nNearest neighbours, to judge the vectors by eye", style="bold"))
        for example in report.examples[:3]:
            _print_example(console, example)
    if report.sample is not None and report.ok:
        console.print(Text("\nWhat to type next", style="bold"))
        for command, why in _next(folder, named):
            console.print(Text.assemble("  ", (command, "cyan"), (f"  # {why}", "dim")))


def _headline(report: Report, stopped: str | None) -> Text:
    read = report.counts.documents.read
    if stopped is not None:
        return Text(f"{report.name}: stopped ({stopped})", style="bold yellow")
    if not report.ok:
        return Text(f"{report.name}: not a success", style="bold red")
    done = f"{report.name}: {read:,} documents, all accounted for"
    if not report.resumed.splits_embedded and report.splits:
        done += "; all were embedded before, so nothing was to do"
    return Text(done, style="bold green")


def _rows(report: Report, folder: Path, named: str | None) -> Iterator[tuple[str, str | Text]]:
    documents = report.counts.documents
    sums = (
        f"{documents.read:,} read = {documents.written:,} written + "
        f"{documents.rejected:,} rejected + {documents.skipped:,} skipped"
    )
    yield "documents", sums if documents.balanced else Text(f"{sums} does not hold", style="red")
    if documents.read:
        yield from _figures(report)
    for output in report.outputs:
        if output.index is not None:
            yield from index_rows(output.index, named=named)
            continue
        size = f"{output.rows:,} rows, {output.bytes / 2**20:,.1f} MiB"
        yield output.kind, f"{output.uri} ({size})"
        if documents.rejected:
            yield "dead letters", join(output.uri, PRIVATE, "dead-letters")
    yield "report", str(folder / "report.html")


def _verified(checks: Sequence[Check]) -> Iterator[tuple[str, str | Text]]:
    faults = [check for check in checks if not check.ok]
    if checks and not faults:
        yield "verified", f"read back whole: all {len(checks)} checks hold"
    for check in faults:
        yield "verified", Text(f"{check.name}: no, {check.detail}", style="red")


def _figures(report: Report) -> Iterator[tuple[str, str | Text]]:
    yield "chunks", f"{report.counts.chunks.written:,} written, {report.counts.tokens:,} tokens"
    for reason, count in sorted(report.rejected_by_reason.items(), key=lambda item: -item[1]):
        yield "rejected", Text(f"{count:,} {reason}", style="yellow")
    if report.resumed.documents_carried or report.resumed.chunks_reused:
        yield "taken over", _taken_over(report)
    yield "rate", _rate(report)
    for engine in report.engines:
        yield "engine", f"{excerpt(str(engine), limit=80)}, {report.spec['model']['precision']}"
    yield "time", f"{report.wall_s:.1f} s, {report.load_s:.1f} s of it to load the model"
    yield "padding", f"{report.padding_fraction:.1%} of what the model was given"
    truncated = report.truncated
    yield "truncated", f"{truncated.documents:,} documents, {truncated.tokens:,} tokens lost"
    yield "memory", f"{report.peak_rss_bytes / 2**20:,.0f} MiB for the largest worker"
    hours = report.estimates.hours_here
    part = report.sample is not None and report.sample.of_bytes > report.sample.bytes
    if part and hours is not None:
        corpus = report.estimates.corpus_documents or 0
        yield "whole corpus", f"about {corpus:,} documents, {_hours(hours)} on this machine"


def _taken_over(report: Report) -> str:
    run = report.resumed
    return (
        f"{run.documents_carried:,} unchanged documents, {run.chunks_reused:,} known texts; "
        f"{run.chunks_embedded:,} texts embedded"
    )


def _rate(report: Report) -> str:
    rate = report.throughput
    if rate.documents:
        return f"{rate.tokens_per_s:,.0f} tokens/s, {rate.documents_per_s:,.1f} documents/s"
    before = rate.committed_tokens_per_s_per_worker
    if before is None:
        return "nothing was embedded"
    return f"nothing was embedded now; {before:,.0f} tokens/s a worker when it was"


def _hours(hours: float) -> str:
    if hours < 1 / 60:
        return f"{hours * 3600:.0f} s"
    return f"{hours:,.1f} h" if hours >= 1 else f"{hours * 60:.0f} min"


def _print_example(console: Console, example: NearestExample) -> None:
    width = max(60, min(console.width, 120))
    console.print(Text(f"  {excerpt(example.query, limit=width - 4)}", style="bold"))
    for near in example.neighbours:
        line = Text.assemble("    ", (f"{near.score:.3f}  ", "green"))
        doc_id = excerpt(near.doc_id, limit=50)
        line.append(doc_id)
        line.append(f"  {excerpt(_beside(near), limit=max(20, width - len(doc_id) - 14))}", "dim")
        console.print(line)


def _beside(near: Neighbour) -> str:
    """The text, without the id where it begins with it."""
    return near.text.removeprefix(near.doc_id)


def _next(folder: Path, named: str | None) -> Iterator[tuple[str, str]]:
    query = "how do I read a zip file" if named is None else "a question of yours"
    program = _program()
    yield f'{program} search "{query}" --in {folder}', "ask the vectors something"
    if named is None:
        yield f"{program} init my.yaml", "a spec for your own data, every key explained"
        yield "make dry-run SPEC=my.yaml", "a sample of it, like this one"
    else:
        yield f"{program} run {named}", "embed all of it"


def _program() -> str:
    """How this program is called from here."""
    called = Path(sys.argv[0]).absolute()
    if which("embed-job") or called.name != "embed-job":
        return "embed-job"
    return str(called.relative_to(Path.cwd()) if called.is_relative_to(Path.cwd()) else called)
