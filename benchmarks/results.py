"""What a benchmark found, as Markdown and JSON; how each is started from the command line."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "out" / "bench"

Size = Literal["ci", "full"]


@dataclass(frozen=True, slots=True)
class Setting:
    """size: ci takes minutes and shows that all works; full is what is published. cores: how many
    the benchmark and all that it starts may use."""

    size: Size
    cores: int
    work: Path

    def pick(self, *, ci: int, full: int) -> int:
        """A number by size."""
        return ci if self.size == "ci" else full


@dataclass(frozen=True, slots=True)
class Target:
    """A goal and what was measured. A missed speed is printed, never a failure: timings depend on
    the machine and on what else runs there. met: None where nothing was measured."""

    what: str
    goal: str
    measured: str
    met: bool | None


@dataclass(frozen=True, slots=True)
class Table:
    headers: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Section:
    """A benchmark's result. failures: correctness that does not hold; any makes the exit code 1.
    data: the numbers, for machines."""

    title: str
    tables: list[Table] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)

    def markdown(self) -> str:
        """The section under a heading of the second level."""
        parts = [f"## {self.title}", self.figures(), *self.notes]
        parts += [f"**FAILED**: {failure}" for failure in self.failures]
        return "\n\n".join(parts) + "\n"

    def figures(self, *, tables: bool = True) -> str:
        """The tables and the targets, or the targets alone."""
        parts = [_table(table.headers, table.rows) for table in self.tables if tables]
        if self.targets:
            rows = [
                (target.what, target.goal, target.measured, _VERDICTS[target.met])
                for target in self.targets
            ]
            parts.append(_table(("target", "goal", "measured", ""), rows))
        return "\n\n".join(parts)


_VERDICTS = {True: "met", False: "**missed**", None: ""}


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def median_and_range(values: Sequence[float], *, digits: int = 0) -> str:
    """As in ``5,067 (4,990 – 5,102)``."""
    middle, low, high = statistics.median(values), min(values), max(values)
    if len(values) == 1:
        return f"{middle:,.{digits}f}"
    return f"{middle:,.{digits}f} ({low:,.{digits}f} – {high:,.{digits}f})"


def say(line: str) -> None:
    """Progress, to standard error."""
    print(line, file=sys.stderr, flush=True)


def arguments(description: str) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--size", choices=["ci", "full"], default="full")
    parser.add_argument("--cores", type=int, default=2, help="cores to use; 2 is what is compared")
    parser.add_argument("--json", type=Path, help="write the section here as well")
    return parser


def setting_of(options: argparse.Namespace) -> Setting:
    """The setting; from here on this process and its children keep to so many cores."""
    allowed = sorted(os.sched_getaffinity(0))[: options.cores]
    os.sched_setaffinity(0, allowed)
    WORK.mkdir(parents=True, exist_ok=True)
    return Setting(options.size, len(allowed), WORK)


def main(measure: Callable[[Setting], Section], description: str) -> None:
    """Run one benchmark, print its section, exit 1 where correctness does not hold."""
    options = arguments(description).parse_args()
    section = measure(setting_of(options))
    if options.json:
        options.json.write_text(json.dumps(asdict(section), indent=1), encoding="utf-8")
    print(section.markdown())
    sys.exit(1 if section.failures else 0)
