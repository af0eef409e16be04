"""The page of a canary: both indexes' answers side by side, in one file without a script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from jinja2 import Environment, PackageLoader, StrictUndefined

from embed_job import __version__
from embed_job.dataset.verify import Check
from embed_job.excerpt import excerpt
from embed_job.opensearch.canary.ask import Answer, Asking
from embed_job.opensearch.canary.compare import Compared, Comparison

MAX_SHOWN = 100
"""Queries whose answers are shown: those that changed most."""
_TEXT_CHARS = 240


@dataclass(frozen=True, slots=True)
class _Line:
    """A document in one column. grade: None where it is not judged; both: the other index has it
    among its first, too."""

    rank: int
    doc_id: str
    score: float
    text: str
    grade: float | None
    both: bool


@dataclass(frozen=True, slots=True)
class _Shown:
    """A query, and the two columns below it."""

    compared: Compared
    old: Sequence[_Line]
    new: Sequence[_Line]


def render_page(comparison: Comparison, checks: Sequence[Check], old: Asking, new: Asking) -> bytes:
    """The page, as UTF-8. Texts of the documents shown are asked for here; whatever comes from
    documents or queries is escaped and shortened. Raises OutputError as a search does."""
    chosen = sorted(comparison.answers, key=lambda one: (one.change, one.overlap))[:MAX_SHOWN]
    before = old.texts([one.old for one in chosen])
    after = new.texts([one.new for one in chosen])
    shown = [
        _shown(one, left, right) for one, left, right in zip(chosen, before, after, strict=True)
    ]
    environment = Environment(
        loader=PackageLoader("embed_job.opensearch.canary", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["excerpt"] = lambda text, limit=_TEXT_CHARS: excerpt(text, limit=limit)
    page = environment.get_template("page.html.j2").render(
        comparison=comparison,
        checks=checks,
        shown=shown,
        ok=all(check.ok for check in checks),
        version=__version__,
        moment=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )
    return page.encode()


def _shown(one: Compared, before: Mapping[str, str], after: Mapping[str, str]) -> _Shown:
    return _Shown(
        one,
        _column(one, one.old, before, {found.doc_id for found in one.new}),
        _column(one, one.new, after, {found.doc_id for found in one.old}),
    )


def _column(
    one: Compared, answer: Answer, texts: Mapping[str, str], others: set[str]
) -> list[_Line]:
    return [
        _Line(
            rank=rank,
            doc_id=found.doc_id,
            score=found.score,
            text=texts.get(found.row, ""),
            grade=one.query.judgements.get(found.doc_id),
            both=found.doc_id in others,
        )
        for rank, found in enumerate(answer, 1)
    ]
