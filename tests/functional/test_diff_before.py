"""The table of a diff against plain Python."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from embed_job.reuse.diff.before import HELD, Before, Change, held_table

small = st.integers(0, 6)
rows = st.lists(st.tuples(small, st.integers(0, 3), st.integers(1, 3)), max_size=25)
"""(id, document, text); document 0: unknown."""


def table(folder: str, held: list[tuple[int, int, int]], *, blocks: int) -> Before:
    entries = np.zeros(len(held), dtype=HELD)
    for at, (head, document, text) in enumerate(held):
        # Spread over the range of heads, as hashes are.
        entries[at] = (head << 60, document, text, at)
    made = held_table(Path(folder, "table"), documents=len(held))
    for block in np.array_split(entries, blocks):
        made.add(block)
    made.close()
    return Before(Path(folder, "table"))


def hashes(numbers: list[int]) -> npt.NDArray[np.uint64]:
    return np.array(numbers, dtype=np.uint64)


def expected(held: list[tuple[int, int, int]], asked: tuple[int, int, int]) -> Change:
    """The greatest change among the rows of an id."""
    head, document, text = asked
    found = [Change.ADDED]
    for other, known, before in held:
        if other != head:
            continue
        if known == 0 or document == 0:
            found.append(Change.UNKNOWN)
        elif known == document:
            found.append(Change.UNCHANGED)
        else:
            found.append(Change.METADATA if text == before else Change.TEXT)
    return max(found)


@settings(max_examples=60, deadline=None)
@given(rows, rows)
def test_each_document_is_told_from_what_was_there(
    held: list[tuple[int, int, int]], asked: list[tuple[int, int, int]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        before = table(folder, held, blocks=3)
        texts = hashes([text for _, _, text in asked])
        found = before.compare(
            hashes([head << 60 for head, _, _ in asked]),
            hashes([document for _, document, _ in asked]),
            texts.__getitem__,
        )
        assert [Change(change) for change in found] == [expected(held, one) for one in asked]


@settings(max_examples=60, deadline=None)
@given(rows, st.lists(st.lists(small, max_size=6), max_size=3))
def test_what_was_not_marked_is_gone_once_for_each_id(
    held: list[tuple[int, int, int]], marked: list[list[int]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        before = table(folder, held, blocks=1)
        for some in marked:
            before.mark(hashes([head << 60 for head in some]))
        gone = {head for head, _, _ in held} - {head for some in marked for head in some}
        assert before.gone() == len(gone)
        assert sorted(before.gone_examples(100)["head"].tolist()) == sorted(h << 60 for h in gone)
        assert len(before.gone_examples(2)) == min(2, len(gone))
