"""What is live by origin, what a count says against the receipts, and what may be deleted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embed_job.manifest import (
    Counts,
    SplitCounts,
    SplitManifest,
    SplitSource,
    StageTimes,
    origin_of,
)
from embed_job.opensearch.load.ledger import Receipt
from embed_job.opensearch.load.origins import Origin, holders_of, origins_of, own_origin
from embed_job.opensearch.load.reconcile import Doubt, doubts, standing
from embed_job.opensearch.load.selection import selections_of
from embed_job.opensearch.load.stale import find_stale, objection
from embed_job.sink import Part


def split(number: int) -> str:
    return f"{number:064x}"[::-1]


def name(number: int) -> str:
    return origin_of(split(number))


def receipt(
    number: int,
    *,
    read: int = 10,
    rejected: int = 0,
    attempt: str | None = "a",
    held_by: str | None = None,
) -> Receipt:
    return Receipt(
        origin=name(number),
        attempt=attempt,
        held_by=origin(number).held_by if held_by is None else held_by,
        index="books",
        load="0123456789ab",
        generation=1,
        counts=Counts(read=read, written=read - rejected, rejected=rejected),
        dead_letters=None,
        host="here",
        finished_at=0.0,
    )


def manifest(number: int, origins: dict[int, int], *, attempt: str = "a") -> SplitManifest:
    """A split with so many rows of each origin."""
    rows = sum(origins.values())
    return SplitManifest(
        split=split(number),
        attempt=attempt,
        fingerprint="f",
        source=SplitSource(files=(("a.jsonl", "1"),), start=0, end=1, bytes=1),
        counts=SplitCounts(),
        parts=(Part(name="part", rows=rows, bytes=1, sha256=""),) if rows else (),
        ids=None,
        origins={name(origin): rows for origin, rows in origins.items()},
        dead_letters=None,
        worker=0,
        host="here",
        started_at=0.0,
        finished_at=0.0,
        stages_s=StageTimes(),
        peak_rss_bytes=0,
    )


def origin(number: int, *, rows: int = 10, attempt: str | None = "a") -> Origin:
    return Origin(name(number), rows, attempt, (manifest(number, {number: rows}),))


def receipts(*all_of: Receipt) -> dict[str, Receipt]:
    return {one.origin: one for one in all_of}


def origins(*all_of: Origin) -> dict[str, Origin]:
    return {one.name: one for one in all_of}


def test_an_origin_is_the_sum_over_the_splits_that_have_its_rows() -> None:
    live = [manifest(1, {1: 5}), manifest(2, {1: 3, 2: 4, 9: 1}), manifest(3, {9: 2, 3: 0})]
    found = origins_of(live)
    assert {one: (found[one].rows, found[one].attempt) for one in found} == {
        name(1): (8, "a"),
        name(2): (4, "a"),
        name(9): (3, None),
    }
    assert [one.split for one in holders_of([found[name(9)], found[name(1)]])] == [
        split(2),
        split(3),
        split(1),
    ]


def test_of_a_new_split_its_own_rows_go_and_none_where_it_has_carried_all() -> None:
    own = own_origin(manifest(2, {1: 3, 2: 4}))
    assert own is not None
    assert (own.name, own.rows, own.attempt) == (name(2), 4, "a")
    assert own_origin(manifest(2, {1: 3})) is None


def test_origins_are_sent_by_the_splits_that_hold_them_each_once() -> None:
    live = [manifest(1, {1: 5}), manifest(2, {1: 3, 2: 4, 9: 1})]
    found = origins_of(live)
    chosen = selections_of([found[name(1)], found[name(9)]])
    assert [(one.manifest.split, one.origins, one.count) for one in chosen] == [
        (split(1), {name(1)}, 5),
        (split(2), {name(1), name(9)}, 4),
    ]


def test_a_receipt_stands_for_one_attempt_unless_others_carry_its_rows() -> None:
    live = origins(origin(1), origin(2), origin(3, attempt=None), origin(4))
    found = receipts(receipt(1), receipt(2, attempt="b"), receipt(3, attempt="c"), receipt(5))
    assert standing(found, live).keys() == {name(1), name(3)}


def test_rows_that_are_all_there_leave_no_doubt_refused_ones_included() -> None:
    found = receipts(receipt(1, rejected=2), receipt(2))
    assert doubts(found, origins(origin(1), origin(2)), {name(1): 8, name(2): 10}) == []


def test_lost_rows_rows_too_many_and_rows_that_went_or_came_back_are_in_doubt() -> None:
    live = origins(
        *(origin(number) for number in range(1, 5)), origin(5, rows=9), origin(6, rows=11)
    )
    found = receipts(*(receipt(number) for number in range(1, 7)))
    counts = {name(1): 9, name(2): 11, name(4): 10, name(5): 9, name(6): 10}
    in_doubt = {one.origin.name: one for one in doubts(found, live, counts)}
    assert in_doubt.keys() == {name(number) for number in (1, 2, 3, 5, 6)}
    assert {one for one, doubt in in_doubt.items() if doubt.has_lost} == {name(1), name(3)}


def test_a_loss_beside_a_shrinking_origin_is_in_doubt_though_the_count_is_right() -> None:
    (doubt,) = doubts(receipts(receipt(1)), origins(origin(1, rows=8)), {name(1): 8})
    assert (doubt.found, doubt.has_lost) == (8, False)


def test_rows_that_other_splits_hold_are_in_doubt_though_they_are_as_many() -> None:
    live = origins_of([manifest(1, {1: 4}), manifest(2, {1: 6})])
    was = origins_of([manifest(1, {1: 4}), manifest(3, {1: 6})])[name(1)]
    again = origins_of([manifest(1, {1: 4}), manifest(2, {1: 6}, attempt="b")])[name(1)]
    for held_by in (was.held_by, again.held_by):
        (doubt,) = doubts(receipts(receipt(1, held_by=held_by)), live, {name(1): 10})
        assert not doubt.has_lost
    same = receipts(receipt(1, held_by=live[name(1)].held_by))
    assert doubts(same, live, {name(1): 10}) == []


def test_what_no_live_row_accounts_for_is_stale() -> None:
    within = Doubt(origin(2), receipt(2), 12)
    equal = Doubt(origin(1), receipt(1, read=11), 10)
    stale = find_stale(
        {name(1): 10, name(2): 12, name(9): 7},
        {name(1), name(2)},
        doubts=[equal, within],
        within={name(2): 2},
    )
    assert (stale.origins, stale.within) == ((name(9),), (within,))
    assert (stale.documents, stale.total) == (9, 29)


def test_rows_sent_just_now_do_not_hide_how_many_are_gone() -> None:
    counts = {name(1): 450_000, name(2): 100_000, name(9): 50_000}
    stale = find_stale(counts, {name(1), name(2)}, within={})
    assert (stale.origins, stale.documents) == ((name(9),), 50_000)
    assert objection(stale, rows=550_000, max_fraction=0.02) is not None


@pytest.mark.parametrize(("documents", "refused"), [(0, False), (2, False), (3, True), (100, True)])
def test_a_deletion_above_the_limit_is_refused(documents: int, refused: bool) -> None:
    stale = find_stale({name(1): 100 - documents, name(9): documents}, {name(1)}, within={})
    told = objection(stale, rows=98, max_fraction=0.02)
    assert (told is not None) == refused
    if told:
        assert "refresh.max_delete_fraction (now 0.02)" in told
        assert f"{documents:,} of the index's 100 documents" in told


def test_an_empty_output_never_empties_an_index() -> None:
    stale = find_stale({name(9): 5}, (), within={})
    told = objection(stale, rows=0, max_fraction=1)
    assert told is not None
    assert "the output is empty" in told


def test_an_empty_output_and_an_empty_index_agree() -> None:
    stale = find_stale({}, (), within={})
    assert not stale
    assert objection(stale, rows=0, max_fraction=0) is None


@given(st.dictionaries(st.integers(0, 30), st.integers(1, 50)), st.sets(st.integers(0, 30)))
def test_live_documents_and_stale_ones_are_all_there_are(
    counts: dict[int, int], live: set[int]
) -> None:
    by_name = {name(number): count for number, count in counts.items()}
    stale = find_stale(by_name, {name(number) for number in live}, within={})
    kept = sum(count for number, count in counts.items() if number in live)
    assert stale.documents + kept == stale.total == sum(counts.values())
