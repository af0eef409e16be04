"""A diff as a person reads it, at 80 columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.text import Text

from embed_job.cli.plural import plural
from embed_job.reuse.diff.facts import Diff
from launcher.planning.diff import PricedDiff
from launcher.planning.view import UNKNOWN, count_text, hours_text, print_machines, print_rows


def print_diff(found: PricedDiff, console: Console) -> None:
    """What would become of each document, what that would take, and what speaks against it."""
    diff = found.diff
    head = Text(diff.name, style="bold")
    head.append("  what a run would do; nothing was touched", "dim")
    console.print(head)
    print_rows(console, _rows(diff, found.hours_here))
    if found.choices:
        print_machines(console, found.choices, "embedding alone, shared evenly")
    console.print()
    for problem in diff.problems:
        console.print(Text.assemble(("✗ A run would end with: ", "bold red"), problem))
    if not diff.problems:
        console.print(Text("No guard would refuse a run.", style="bold green"))


def _rows(diff: Diff, hours_here: float | None) -> Iterator[tuple[str, str]]:
    splits, documents = diff.splits, diff.documents
    yield "input", diff.input_uri
    yield "output", diff.output_uri
    if diff.generation is None:
        yield "last", "no run has come to its end on this output yet"
    else:
        yield "last", f"generation {diff.generation}, {documents.before:,} documents"
    yield "splits", f"{splits.kept:,} as they were, {splits.new:,} to read"
    if splits.embedded:
        yield "", f"{splits.embedded:,} embedded by a run that has not ended"
    yield "unchanged", _unchanged(diff)
    yield "added", _with(documents.added, diff.examples.added)
    yield "text", _with(documents.text, diff.examples.text)
    yield "metadata", _with(documents.metadata, diff.examples.metadata)
    if documents.unknown:
        what = _with(documents.unknown, diff.examples.unknown)
        yield "unknown", f"{what}: their ledger is lost"
    yield "gone", _gone(diff)
    if documents.rejected or documents.skipped:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in _sorted(diff))
        skipped = f"; {documents.skipped:,} skipped" * bool(documents.skipped)
        yield "rejected", f"{documents.rejected:,}" + f" ({reasons})" * bool(reasons) + skipped
    yield "carried", _carried(diff)
    yield "to embed", _to_embed(diff)
    if hours_here is not None:
        yield "time", f"about {hours_text(hours_here)} of embedding on the machine of the report"
    for note in diff.notes:
        yield "note", note


def _sorted(diff: Diff) -> list[tuple[str, int]]:
    return sorted(diff.rejected_by_reason.items(), key=lambda item: -item[1])


def _unchanged(diff: Diff) -> str:
    documents = diff.documents
    kept = f"{documents.kept + documents.unchanged:,} documents"
    return f"{kept}, {documents.unchanged:,} of them read again" if documents.unchanged else kept


def _with(count: int, examples: Sequence[str]) -> str:
    if not count:
        return "none"
    shown = ", ".join(example[:40] for example in examples)
    more = ", …" if count > len(examples) else ""
    return f"{count:,} ({shown}{more})" if shown else f"{count:,}"


def _gone(diff: Diff) -> str:
    count = _with(diff.documents.gone, diff.examples.gone)
    if not diff.documents.gone:
        return count
    return f"{count}: {diff.delete_fraction:.2%}, of {diff.max_delete_fraction:.2%} allowed"


def _carried(diff: Diff) -> str:
    if not diff.reuse:
        return f"nothing: {diff.why_not}"
    return f"{plural(diff.work.carried, 'document')} with rows and vectors as they are"


def _to_embed(diff: Diff) -> str:
    work = diff.work
    documents = plural(work.chunked, "document")
    if work.embedded_chunks is None or work.tokens is None:
        return f"{documents}, tokens {UNKNOWN}"
    about = "about " if work.estimated else ""
    passes = f"{about}{count_text(work.embedded_chunks)} chunks"
    tokens = f"{count_text(work.tokens)} tokens"
    if not work.reused_chunks:
        return f"{passes} of {documents}, {tokens}"
    return (
        f"{passes} of {documents}, {tokens}; {count_text(work.reused_chunks)} chunks have "
        "their vector already"
    )
