"""A plan as a person reads it, at 80 columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from embed_job.excerpt import excerpt
from launcher.job.request import compute_of
from launcher.planning.choices import Choice
from launcher.planning.index import IndexFacts
from launcher.planning.listing import ListingFacts
from launcher.planning.plan import LaunchPlan
from launcher.planning.sample import Contents
from launcher.planning.sharing import Shares
from launcher.rules.problems import Problem

UNKNOWN = "unknown"
NOT_TAKEN_OVER = (
    "nothing is taken over from earlier runs: with delivery: processing_output hosts can't see them"
)
WIDTH = 100


def print_plan(plan: LaunchPlan, console: Console) -> None:
    """Everything that is known of a job, its problems last, where they are seen."""
    head = Text(plan.spec.name, style="bold")
    head.append(f"  {plan.names.region or 'no region'}, nothing submitted", "dim")
    console.print(head)
    print_rows(console, _rows(plan))
    if plan.ways:
        _title(console, f"How {plan.ways[0].hosts} hosts would share it")
        console.print(_ways(plan))
    print_machines(console, plan.choices, "embedding alone, at the makespan above")
    _title(console, "AWS calls")
    console.print(_calls(plan))
    print_problems(plan.problems, console)


def print_problems(problems: Sequence[Problem], console: Console) -> None:
    """Each with what to do; a closing line that counts them."""
    if problems:
        console.print()
    grid = Table.grid(padding=(0, 1, 0, 0))
    for problem in problems:
        bad = problem.severity == "error"
        mark = Text("✗", style="bold red") if bad else Text("!", style="bold yellow")
        line = Text.assemble((f"{problem.where}: ", "bold"), excerpt(problem.what, limit=600))
        grid.add_row(mark, line)
        grid.add_row("", Text(problem.hint, style="cyan"))
    console.print(grid)
    errors = sum(problem.severity == "error" for problem in problems)
    if errors:
        verdict = f"{errors} to mend before it can be submitted."
        console.print(Text(verdict, style="bold red"))
    else:
        console.print(Text("Nothing keeps it from being submitted.", style="bold green"))


def print_rows(console: Console, rows: Iterable[tuple[str, str]]) -> None:
    """Names and values below each other."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True, min_width=9)
    grid.add_column(overflow="fold")
    for name, value in rows:
        grid.add_row(name, Text(excerpt(value, limit=600)))
    console.print(Padding(grid, (0, 0, 0, 2), expand=False))


def _rows(plan: LaunchPlan) -> Iterator[tuple[str, str]]:
    yield "job", plan.names.job
    yield "prefix", plan.names.prefix
    yield "input", plan.listing.uri if plan.listing else plan.spec.input.uri
    if plan.listing:
        yield from _listed(plan.listing)
    yield "contents", _contents(plan.contents)
    if plan.contents:
        files = f"{plan.contents.sampled:,} documents of {plan.contents.sampled_files} files"
        refused = f"; {plan.contents.refused} more would be refused" * bool(plan.contents.refused)
        yield "", f"estimated from {files}{refused}"
    if plan.model_note:
        yield "model", f"tokens unknown: {plan.model_note}"
    yield "splits", UNKNOWN if plan.splits is None else f"about {plan.splits:,}"
    if plan.committed:
        yield "", f"{plan.committed:,} committed by earlier runs: what has not changed is kept"
        if compute_of(plan.spec).delivery == "processing_output":
            yield "", NOT_TAKEN_OVER
    size = UNKNOWN if plan.output_bytes is None else f"about {bytes_text(plan.output_bytes)}"
    yield "output", f"{plan.spec.parquet.uri} ({size})"
    if plan.index:
        yield from _index(plan.index)


def _index(index: IndexFacts) -> Iterator[tuple[str, str]]:
    name = index.name or f"{index.alias}-FINGERPRINT-NNN, which the bundle tells"
    yield "index", f"{name} at {index.url}"
    yield "", "made if it is missing, checked if it is there; the server is not asked here"
    if index.alias and index.alias != index.name:
        yield "alias", f"{index.alias}, once `embed-job promote` points it there"
    rows = UNKNOWN if index.rows is None else f"about {count_text(index.rows)}"
    memory = UNKNOWN if index.memory_bytes is None else f"about {bytes_text(index.memory_bytes)}"
    held = "" if index.serverless else f"; memory of its graphs, replicas included: {memory}"
    yield "rows", f"{rows}{held}"


def _listed(listing: ListingFacts) -> Iterator[tuple[str, str]]:
    kinds = ", ".join(
        f"{kind.files:,} {kind.name} ({bytes_text(kind.bytes)})" for kind in listing.kinds
    )
    yield "objects", f"{listing.objects:,}: {kinds or 'nothing to embed'}"
    rest = [
        f"{count:,} {what}"
        for count, what in (
            (listing.ignored, "of unknown endings"),
            (listing.hidden, "hidden"),
            (listing.empty, "empty"),
        )
        if count
    ]
    if rest:
        yield "", f"{', '.join(rest)}: nothing to embed"
    if listing.largest:
        name, size = listing.largest[0]
        yield "largest", f"{name} ({bytes_text(size)})"


def _contents(contents: Contents | None) -> str:
    if contents is None or contents.documents is None:
        return UNKNOWN
    documents = f"about {count_text(contents.documents)} documents"
    if contents.tokens is None or contents.chunks is None:
        return f"{documents}, tokens unknown"
    chunks = count_text(contents.chunks)
    return f"{documents}, {count_text(contents.tokens)} tokens in {chunks} chunks"


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for number, name in enumerate(columns):
        table.add_column(name, justify="left" if number == 0 else "right", overflow="fold")
    return table


def _ways(plan: LaunchPlan) -> Padding:
    table = _table("", "makespan", "over orders", "busiest host", "splits a host", "idle")
    chosen = plan.spec.compute.sharing if plan.spec.compute else ""
    for way in plan.ways:
        mark = "›" if way.way == chosen else " "
        span = f"{way.lowest:.2f}–{way.highest:.2f}" if way.highest > way.lowest else "–"
        table.add_row(
            f"{mark} {way.way}",
            f"{way.makespan:.2f}",
            span,
            bytes_text(way.busiest_bytes),
            _splits(way),
            str(way.idle),
            style="bold" if way.way == chosen else None,
        )
    return Padding(table, (0, 0, 0, 2), expand=False)


def _splits(way: Shares) -> str:
    fewest, most = way.splits
    return f"{fewest:,}" if fewest == most else f"{fewest:,}–{most:,}"


def print_machines(console: Console, choices: Sequence[Choice], hours: str) -> None:
    """What each choice of machines would take, and where its figures come from. hours: of what."""
    _title(console, "Machines")
    console.print(_machines(choices))
    for line in dict.fromkeys(_sources(choices, hours)):
        console.print(Padding(Text(line, style="dim"), (0, 0, 0, 4), expand=False))


def _machines(choices: Sequence[Choice]) -> Padding:
    table = _table("", "tokens/s each", "USD/hour each", "hours", "USD in all")
    for choice in choices:
        rate, price = choice.rate.tokens_per_s, choice.price.usd_per_hour
        about = "" if choice.rate.measured else "about "
        table.add_row(
            f"{choice.instance_count} × {choice.instance_type}",
            UNKNOWN if rate is None else f"{about}{rate:,.0f}",
            UNKNOWN if price is None else f"{price:,.3f}",
            UNKNOWN if choice.hours is None else hours_text(choice.hours),
            UNKNOWN if choice.cost_usd is None else f"{choice.cost_usd:,.2f}",
        )
    return Padding(table, (0, 0, 0, 4), expand=False)


def _sources(choices: Sequence[Choice], hours: str) -> Iterator[str]:
    for choice in choices:
        yield f"rate: {choice.rate.source}"
        yield f"price: {choice.price.source}"
    yield f"hours: {hours}; start-up comes on top"


def _calls(plan: LaunchPlan) -> Padding:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold", style="dim")
    before = ""
    for call in plan.calls:
        times = "…" if call.times is None else f"{call.times:,}×"
        shown = call.when if call.when != before else ""
        resource = call.resource.replace(plan.names.prefix, "PREFIX/")
        if plan.index:
            resource = resource.replace(f"{plan.index.url}/", "SERVER/")
        resource = excerpt(resource.replace(plan.names.job, "JOB"), limit=300)
        table.add_row(shown, times, call.action, resource)
        before = call.when
    return Padding(table, (0, 0, 0, 2), expand=False)


def _title(console: Console, text: str) -> None:
    console.print()
    console.print(Text(text, style="bold"))


def bytes_text(size: float) -> str:
    """As in 45.6 GB, in powers of 1,000."""
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            break
        size /= 1000
    return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:,.1f} {unit}"


def count_text(count: int) -> str:
    """As in 3.1 billion; whole below a million."""
    for size, name in ((10**9, "billion"), (10**6, "million")):
        if count >= size:
            return f"{count / size:,.1f} {name}"
    return f"{count:,}"


def hours_text(hours: float) -> str:
    """Hours to two figures; a tenth of an hour and less in minutes."""
    return f"{hours:,.1f}" if hours >= 0.95 else f"{max(hours * 60, 0.1):.1f} min"
