"""Documents of one row, and which of them stays. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

GENERATION = "generation"
"""Field of the generation that wrote a document, where it can't be the document's version."""

_LOWEST = -(2**63)


@dataclass(frozen=True, slots=True)
class Copy:
    """A document. row: its row's id; document: the ``_id`` that the service gave it."""

    row: str
    generation: int
    document: str

    @property
    def rank(self) -> tuple[int, str]:
        """Lowest: the one that stays. Newest generation first, then the lowest ``_id``.

        A total order that nothing changes: a copy goes only where a better one is seen, so the
        best of all can't go, whatever each of several sweeps at a time happens to see.
        """
        return -self.generation, self.document


def surplus(copies: Iterable[Copy]) -> Iterator[Copy]:
    """All but the best copy of each row. copies: those of one row in a row."""
    for _, group in groupby(copies, attrgetter("row")):
        ranked = sorted(group, key=attrgetter("rank"))
        yield from ranked[1:]


def whole_rows(page: list[Copy], *, full: bool) -> list[Copy]:
    """Of a page sorted by row, the rows whose every copy is in it.

    full: more may follow, so that the last row may be cut; it is left to the next page, unless it
    is the only one.
    """
    if not full or page[0].row == page[-1].row:
        return page
    return [copy for copy in page if copy.row != page[-1].row]


def after(row: str) -> list[str | int]:
    """``search_after`` for what follows every copy of a row, sorted by row and falling generation.

    Documents without a generation sort as the lowest number there is.
    """
    return [row, _LOWEST]
