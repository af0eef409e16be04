"""Two sets of rows compared by hashes, as plain Python compares them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from embed_job.ids import hash_ids
from embed_job.opensearch.check.keys import Keys, compare, join_keys, keys_of

Rows = list[tuple[str, str]]

rows = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("xyz")), max_size=12)


def keys(of: Rows) -> Keys:
    return keys_of([row_id for row_id, _ in of], [content for _, content in of])


def hashes(of: set[str]) -> set[int]:
    return set(hash_ids(of).tolist())


@given(rows, rows)
def test_it_is_the_difference_of_the_rows(expected: Rows, found: Rows) -> None:
    difference = compare(keys(expected), keys(found))
    wanted, held = {row_id for row_id, _ in expected}, {row_id for row_id, _ in found}
    assert set(difference.missing.tolist()) == hashes(wanted - held)
    assert set(difference.foreign.tolist()) == hashes(held - wanted)
    changed = {row_id for row_id, _ in set(found) - set(expected)} & wanted
    assert set(difference.changed.tolist()) == hashes(changed)
    assert difference.repeats == len(found) - len(held)


@given(rows, st.sets(st.sampled_from("abcdefgh")))
def test_rows_left_out(of: Rows, refused: set[str]) -> None:
    kept = [row for row in of if row[0] not in refused]
    assert keys(of).without(hash_ids(refused)).pairs().tolist() == keys(kept).pairs().tolist()


def test_no_rows() -> None:
    nothing = join_keys([])
    assert compare(nothing, nothing).repeats == 0
    assert len(nothing.without(hash_ids(["a"])).ids) == 0
