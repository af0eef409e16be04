"""The tables of README.md and docs, between markers, made of what a full run found."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path

from benchmarks.results import Section

WHOLE = ("end_to_end", "gpu", "load")
"""Sections that the README shows with all their tables, once anything in them was measured; of
others it has the targets."""
DOCS = {
    "engines.md": ("agreement",),
    "scale.md": ("linear", "sharing", "start_up", "billion"),
    "refresh.md": ("refresh", "lookup_scale"),
}
"""Pages below docs with the sections that they show, with all tables and notes."""


def update_all(root: Path, sections: Mapping[str, Section], *, source: str) -> list[str]:
    """README.md and the pages below docs; as in ``docs/engines.md: agreement`` for each changed."""
    made = {"README.md": update(root / "README.md", sections, source=source)}
    for page, names in DOCS.items():
        own = {name: section for name, section in sections.items() if name in names}
        path = root / "docs" / page
        made[f"docs/{page}"] = update(path, own, source=source, whole=names, notes=True)
    return [f"{page}: {', '.join(names)}" for page, names in made.items() if names]


def update(
    page: Path,
    sections: Mapping[str, Section],
    *,
    source: str,
    whole: Collection[str] = WHOLE,
    notes: bool = False,
) -> list[str]:
    """Put each section where its markers are; the names of those that have any.

    source: a line that says where and when it was measured, if anything was. whole: shown with
    their tables; of others the targets alone are. notes: whether a section's notes follow.
    """
    text = page.read_text(encoding="utf-8")
    done = []
    for name, section in sections.items():
        block = re.compile(rf"(<!-- bench:{name} -->\n).*?(<!-- /bench -->)", re.DOTALL)
        if not block.search(text):
            continue
        parts = [
            section.figures(tables=name in whole and bool(section.data)),
            *(section.notes if notes else ()),
        ]
        parts += [source] if section.data else []
        content = "\n\n".join(parts) + "\n"
        text = block.sub(lambda found, new=content: found[1] + new + found[2], text)
        done.append(name)
    page.write_text(text, encoding="utf-8")
    return done
