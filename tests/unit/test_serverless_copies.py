"""Which document of a row stays, and how pages of documents are cut."""

from __future__ import annotations

from itertools import groupby

from hypothesis import given
from hypothesis import strategies as st

from embed_job.opensearch.serverless.copies import Copy, after, surplus, whole_rows
from embed_job.opensearch.serverless.visibility import SLOWEST_S, seconds_of

_COPIES = st.lists(
    st.builds(
        Copy,
        row=st.sampled_from("abcd"),
        generation=st.integers(1, 4),
        document=st.text("xyz", min_size=1, max_size=3),
    ),
    unique_by=lambda copy: copy.document,
    max_size=20,
).map(lambda copies: sorted(copies, key=lambda copy: copy.row))


def test_the_newest_generation_stays_and_then_the_lowest_document() -> None:
    copies = [Copy("a", 2, "k"), Copy("a", 3, "z"), Copy("a", 3, "y"), Copy("b", 1, "x")]
    assert {copy.document for copy in surplus(copies)} == {"k", "z"}


@given(_COPIES)
def test_one_copy_of_each_row_stays(copies: list[Copy]) -> None:
    gone = list(surplus(copies))
    left = [copy for copy in copies if copy not in gone]
    assert [copy.row for copy in left] == sorted({copy.row for copy in copies})
    assert all(copy in copies for copy in gone)


@given(_COPIES, st.lists(st.sets(st.integers(0, 19)), max_size=5))
def test_sweeps_that_see_different_parts_leave_the_best_copy(
    copies: list[Copy], views: list[set[int]]
) -> None:
    seen = ([copy for at, copy in enumerate(copies) if at in view] for view in views)
    gone = {copy for view in seen for copy in surplus(view)}
    for _, group in groupby(copies, lambda copy: copy.row):
        assert min(group, key=lambda copy: copy.rank) not in gone


def test_the_last_row_of_a_full_page_is_left_to_the_next() -> None:
    page = [Copy("a", 1, "k"), Copy("b", 2, "l"), Copy("b", 1, "m")]
    assert whole_rows(page, full=True) == page[:1]
    assert whole_rows(page, full=False) == page
    assert whole_rows(page[1:], full=True) == page[1:], "else it would never get past that row"
    assert whole_rows([], full=False) == []


def test_the_search_goes_on_behind_documents_without_a_generation() -> None:
    assert after("a") == ["a", -(2**63)]


def test_a_write_is_taken_to_be_seen_after_three_refreshes() -> None:
    assert seconds_of("1s") == 3
    assert seconds_of("500ms") == 1.5
    assert seconds_of("10s") == 30
    for slow_or_unknown in ("1m", "-1", None, "soon"):
        assert seconds_of(slow_or_unknown) == SLOWEST_S
