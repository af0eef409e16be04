"""The results' files: what one machine showed on one day, section by section.

A later run of that machine and day replaces the sections that it ran and keeps the others. Each
section is kept with the facts of its own run, and one of another run says so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.results import Section, Table, Target

Facts = Mapping[str, Any]
WIDEST_FIRST = ("amx_tile", "avx512_vnni", "avx512f", "avx2", "sve", "asimd")
"""One of these is part of the name of a results' file: processors of one name differ in them."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A benchmark's last run. facts: of that run. section: None where it came to no result."""

    facts: Facts
    failed: bool
    section: Section | None


def slug(cpu: str, instructions: Sequence[str], cores: int, *, gpus: Sequence[str] = ()) -> str:
    """A machine's name for a file."""
    widest = next((name for name in WIDEST_FIRST if name in instructions), "")
    name = " ".join([*gpus, cpu, widest, f"{cores} cores"])
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def section_from(data: Mapping[str, Any]) -> Section:
    """A section of its JSON."""
    tables = [
        Table(tuple(table["headers"]), [tuple(row) for row in table["rows"]])
        for table in data["tables"]
    ]
    targets = [Target(**target) for target in data["targets"]]
    return Section(**{**data, "tables": tables, "targets": targets})


def record(
    folder: Path, facts: Facts, found: Mapping[str, Entry], *, order: Sequence[str]
) -> tuple[Path, str]:
    """Merge into the day's files of this machine; the Markdown's path and its text.

    order: of the sections.
    """
    folder.mkdir(exist_ok=True)
    stem = f"{facts['slug']}-{facts['date']}" + ("-ci" if facts["size"] == "ci" else "")
    path = folder / f"{stem}.json"
    merged = (_read(path) if path.exists() else {}) | dict(found)
    entries = {name: merged[name] for name in order if name in merged}
    data = {"machine": facts, "sections": {name: asdict(one) for name, one in entries.items()}}
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    text = _render(facts, entries)
    page = folder / f"{stem}.md"
    page.write_text(text, encoding="utf-8")
    return page, text


def _read(path: Path) -> dict[str, Entry]:
    kept = json.loads(path.read_text(encoding="utf-8"))["sections"]
    return {
        name: Entry(
            one["facts"], one["failed"], section_from(one["section"]) if one["section"] else None
        )
        for name, one in kept.items()
    }


def _render(facts: Facts, entries: Mapping[str, Entry]) -> str:
    head = [
        f"# Benchmarks on {facts['cpu']}, {facts['cores']} cores, {facts['date']}",
        f"{facts['platform']}, {' '.join(facts['instructions'])}; Python {facts['python']}; "
        f"commit {facts['commit']}; {_versions(facts['versions'])}.",
        _begun(facts),
    ]
    if facts["size"] == "ci":
        head.append("A short run: it shows that all works, its figures mean little.")
    head += [f"**{name} FAILED**" for name, entry in entries.items() if entry.failed]
    return "\n\n".join([*head, *_sections(facts, entries)]) + "\n"


def _sections(facts: Facts, entries: Mapping[str, Entry]) -> list[str]:
    """Each section; one of another run than the head's ends with what differs."""
    found = []
    for entry in entries.values():
        if entry.section is None:
            continue
        found.append(entry.section.markdown().rstrip())
        if entry.facts != facts:
            found.append(_apart(facts, entry.facts))
    return found


def _apart(facts: Facts, own: Facts) -> str:
    """The commit of another run, its command, and its versions where they are others."""
    others = {
        name: version
        for name, version in own["versions"].items()
        if facts["versions"].get(name) != version
    }
    versions = f" With {_versions(others)}." if others else ""
    return f"Commit {own['commit']}, a run of its own. {_begun(own)}{versions}"


def _begun(facts: Facts) -> str:
    return f"`{facts['command']}`, begun at a load average of {facts['load_average_1_min']}."


def _versions(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())
