"""The live display of a run on a terminal."""

from __future__ import annotations

from collections.abc import Callable
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from embed_job.progress.meter import Meter, Plan, ProgressUpdate, Snapshot


class RichProgress:
    """A :class:`embed_job.progress.Progress` that draws; events stay above as lines."""

    def __init__(self, stream: TextIO, *, clock: Callable[[], float]) -> None:
        self._meter = Meter(clock)
        self._console = Console(file=stream)
        self._live = Live(
            console=self._console,
            get_renderable=self._render,
            refresh_per_second=4,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def start(self, plan: Plan) -> None:
        self._meter.start(plan)
        self._live.start()

    def advance(self, update: ProgressUpdate) -> None:
        self._meter.advance(update)

    def split_done(self, *, stored_bytes: int) -> None:
        self._meter.split_done(stored_bytes)

    def loaded(self, *, rows: int, rejected: int, stored_bytes: int) -> None:
        self._meter.loaded(rows=rows, rejected=rejected, stored_bytes=stored_bytes)

    def event(self, name: str, /, **facts: object) -> None:
        if name == "engine":
            return  # no trouble, and the summary tells of it
        told = ", ".join(f"{key} {value}" for key, value in facts.items() if value is not None)
        line = f"[yellow]{escape(name.replace('_', ' '))}[/] [dim]{escape(told[:500])}[/]"
        self._console.print(line, highlight=False)

    def stop(self) -> None:
        self._live.stop()

    def _render(self) -> RenderableType:
        return draw(self._meter.snapshot())


def draw(now: Snapshot) -> RenderableType:
    """The display of one moment: a bar, and a line of figures below it."""
    bar = Table.grid(padding=(0, 1), expand=False)
    share = now.bytes / now.total_bytes if now.total_bytes else 1.0
    bar.add_row(
        Text("loading" if now.loading else "embedding", style="bold"),
        ProgressBar(total=1.0, completed=share, width=40),
        Text(f"{share:.0%}"),
        Text(f"{now.bytes / 2**20:,.1f} of {now.total_bytes / 2**20:,.1f} MiB", style="cyan"),
        Text(f"{duration(now.eta_s)} left", style="bold" if now.eta_s is not None else "dim"),
    )
    facts = [
        *_amounts(now),
        f"split {now.splits:,} of {now.total_splits:,}",
        f"{duration(now.elapsed_s)} elapsed",
    ]
    line = Text("  ".join(facts), style="dim")
    line.append(f"  {now.rejected:,} rejected", style="yellow" if now.rejected else "dim")
    if now.loaded_splits and not now.loading:
        line.append(f"  {now.loaded_rows:,} rows in the index", style="dim")
    return Group(bar, line)


def _amounts(now: Snapshot) -> list[str]:
    if now.loading:
        return [f"{now.documents:,} rows", f"{now.rows_per_s:,.0f} rows/s"]
    workers = f"{now.workers} worker{'' if now.workers == 1 else 's'}"
    return [f"{now.documents:,} documents", f"{now.tokens_per_s:,.0f} tokens/s", workers]


def duration(seconds: float | None) -> str:
    """Seconds as 12 s, 3:05 or 2:03:05; ? for None."""
    if seconds is None:
        return "?"
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, rest = divmod(round(seconds), 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"
