"""What a count of the index says against the receipts, and what may be deleted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embed_job.manifest import Counts, SplitCounts, SplitManifest, SplitSource, StageTimes
from embed_job.opensearch.load.ledger import Receipt
from embed_job.opensearch.load.reconcile import Difference, differences, standing
from embed_job.opensearch.load.stale import find_stale, objection
from embed_job.sink import Part


def split(number: int) -> str:
    return f"{number:064x}"[::-1]


def field(number: int) -> str:
    return split(number)[:16]


def receipt(number: int, *, written: int = 10, rejected: int = 0, attempt: str = "a") -> Receipt:
    return Receipt(
        split=split(number),
        attempt=attempt,
        index="books",
        load="0123456789ab",
        generation=1,
        counts=Counts(read=written + rejected, written=written, rejected=rejected),
        dead_letters=None,
        host="here",
        finished_at=0.0,
    )


def manifest(number: int, *, rows: int = 10, attempt: str = "a") -> SplitManifest:
    parts = (Part(name="part", rows=rows, bytes=1, sha256=""),) if rows else ()
    return SplitManifest(
        split=split(number),
        attempt=attempt,
        fingerprint="f",
        source=SplitSource(files=(("a.jsonl", "1"),), start=0, end=1, bytes=1),
        counts=SplitCounts(),
        parts=parts,
        ids=None,
        dead_letters=None,
        worker=0,
        host="here",
        started_at=0.0,
        finished_at=0.0,
        stages_s=StageTimes(),
        peak_rss_bytes=0,
    )


def receipts(*all_of: Receipt) -> dict[str, Receipt]:
    return {one.split: one for one in all_of}


def test_a_receipt_stands_for_one_attempt_with_all_its_rows() -> None:
    found = receipts(receipt(1), receipt(2, attempt="b"), receipt(3, written=9), receipt(5))
    live = [manifest(1), manifest(2), manifest(3), manifest(4)]
    assert standing(found, live).keys() == {split(1)}


def test_refused_rows_are_not_missed_in_the_index() -> None:
    lost, surplus = differences(receipts(receipt(1, written=8, rejected=2)), {field(1): 8})
    assert (lost, surplus) == ([], [])


def test_a_split_that_lost_rows_and_one_that_has_too_many() -> None:
    found = receipts(receipt(1), receipt(2), receipt(3), receipt(4))
    lost, surplus = differences(found, {field(1): 9, field(2): 11, field(4): 10})
    assert [one.receipt.split for one in lost] == [split(1), split(3)]
    assert [(one.receipt.split, one.found) for one in surplus] == [(split(2), 11)]


def test_what_no_live_split_accounts_for_is_stale() -> None:
    surplus = [Difference(receipt(2), 12)]
    stale = find_stale({field(1): 10, field(2): 12, field(9): 7}, [split(1), split(2)], surplus)
    assert stale.splits == (field(9),)
    assert (stale.documents, stale.total) == (9, 29)


def test_rows_sent_just_now_do_not_hide_how_many_are_gone() -> None:
    counts = {field(1): 450_000, field(2): 100_000, field(9): 50_000}
    stale = find_stale(counts, [split(1), split(2)], [])
    assert (stale.splits, stale.documents) == ((field(9),), 50_000)
    assert objection(stale, rows=550_000, max_fraction=0.02) is not None


@pytest.mark.parametrize(("documents", "refused"), [(0, False), (2, False), (3, True), (100, True)])
def test_a_deletion_above_the_limit_is_refused(documents: int, refused: bool) -> None:
    stale = find_stale({field(1): 100 - documents, field(9): documents}, [split(1)], [])
    told = objection(stale, rows=98, max_fraction=0.02)
    assert (told is not None) == refused
    if told:
        assert "gates.max_delete_fraction (now 0.02)" in told
        assert f"{documents:,} of the index's 100 documents" in told


def test_an_empty_output_never_empties_an_index() -> None:
    stale = find_stale({field(9): 5}, [], [])
    told = objection(stale, rows=0, max_fraction=1)
    assert told is not None
    assert "the output is empty" in told


def test_an_empty_output_and_an_empty_index_agree() -> None:
    stale = find_stale({}, [], [])
    assert not stale
    assert objection(stale, rows=0, max_fraction=0) is None


@given(st.dictionaries(st.integers(0, 30), st.integers(1, 50)), st.sets(st.integers(0, 30)))
def test_live_documents_and_stale_ones_are_all_there_are(
    counts: dict[int, int], live: set[int]
) -> None:
    by_field = {field(number): count for number, count in counts.items()}
    stale = find_stale(by_field, [split(number) for number in live], [])
    kept = sum(count for number, count in counts.items() if number in live)
    assert stale.documents + kept == stale.total == sum(counts.values())
