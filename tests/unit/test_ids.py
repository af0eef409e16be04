"""The set of ids of a split, and what "last wins" leaves out, against plain Python."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from embed_job.ids import SeenIds, hash_ids, superseded

blocks = st.lists(st.lists(st.integers(0, 30), max_size=20), max_size=12)


@given(blocks)
def test_a_hash_is_seen_once_it_was_added(numbers: list[list[int]]) -> None:
    seen, model = SeenIds(), set[int]()
    for block in numbers:
        expected = []
        for number in block:
            expected.append(number in model)
            model.add(number)
        assert seen.add(np.array(block, dtype=np.uint64)).tolist() == expected
    assert seen.sorted().tolist() == sorted(model)


@given(st.lists(st.integers(0, 8), max_size=30))
def test_the_last_of_each_id_is_kept(numbers: list[int]) -> None:
    last = {number: at for at, number in enumerate(numbers)}
    expected = [last[number] != at for at, number in enumerate(numbers)]
    assert superseded(np.array(numbers, dtype=np.uint64)).tolist() == expected


def test_equal_ids_have_equal_hashes_and_others_do_not() -> None:
    hashes = hash_ids(["a", "b", "a", "ä", ""])
    assert hashes[0] == hashes[2]
    assert len(set(hashes.tolist())) == 4
    assert hash_ids([]).tolist() == []
