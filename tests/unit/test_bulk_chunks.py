"""Rows are cut into bulks by bytes: every row once, in order, whatever their sizes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from embed_job.opensearch.delivery.chunks import Chunk, Operation, cut

SIZES = st.lists(st.integers(1, 300), max_size=60)


def operations(sizes: list[int]) -> list[Operation]:
    return [
        Operation(f"r{number}", f"d{number}", b"%d\n" % number, b"x" * size + b"\n")
        for number, size in enumerate(sizes)
    ]


def body_of(rows: list[Operation]) -> bytes:
    return b"".join(row.action + row.document for row in rows)


def chunk_of(sizes: list[int]) -> Chunk:
    (chunk,) = cut("s", operations(sizes), lambda: 1 << 30)
    return chunk


@given(SIZES, st.integers(1, 1000))
def test_every_row_once_in_order_within_the_limit(sizes: list[int], limit: int) -> None:
    rows = operations(sizes)
    chunks = list(cut("s", iter(rows), lambda: limit))
    assert [row_id for chunk in chunks for row_id in chunk.ids] == [row.id for row in rows]
    assert [doc_id for chunk in chunks for doc_id in chunk.doc_ids] == [row.doc_id for row in rows]
    assert b"".join(chunk.body for chunk in chunks) == body_of(rows)
    assert all(len(chunk.body) <= limit or len(chunk) == 1 for chunk in chunks)
    for chunk, following in pairwise(chunks):
        assert len(chunk.body) + following.ends[0] > limit, "no bulk is smaller than it has to be"


def test_the_limit_is_asked_anew_for_each_bulk() -> None:
    limits = iter([100, 30, 1000])
    chunks = cut("s", operations([8] * 10), lambda: next(limits))
    # Eleven bytes a row.
    assert [len(chunk) for chunk in chunks] == [9, 1]
    limits = iter([30, 100, 1000])
    chunks = cut("s", operations([8] * 10), lambda: next(limits))
    assert [len(chunk) for chunk in chunks] == [2, 8]


@given(st.lists(st.integers(1, 300), min_size=1, max_size=40), st.data())
def test_a_part_is_those_rows_alone(sizes: list[int], data: st.DataObject) -> None:
    rows, chunk = operations(sizes), chunk_of(sizes)
    positions = data.draw(st.lists(st.integers(0, len(rows) - 1), unique=True).map(sorted))
    part = chunk.part(positions)
    assert list(part.ids) == [rows[at].id for at in positions]
    assert part.body == body_of([rows[at] for at in positions])
    assert list(part.ends) == ([] if not positions else list(ends([rows[at] for at in positions])))


def ends(rows: list[Operation]) -> Iterator[int]:
    total = 0
    for row in rows:
        total += len(row.action) + len(row.document)
        yield total


@given(st.lists(st.integers(1, 300), min_size=2, max_size=40))
def test_halves_are_two_and_hold_all_rows(sizes: list[int]) -> None:
    chunk = chunk_of(sizes)
    left, right = chunk.halves()
    assert len(left) >= 1
    assert len(right) >= 1
    assert left.body + right.body == chunk.body
    assert [*left.ids, *right.ids] == list(chunk.ids)
    assert abs(len(left.body) - len(right.body)) <= 2 * (max(sizes) + 4)
