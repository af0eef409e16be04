"""The set of ids of a split, and what "last wins" leaves out, against plain Python."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from embed_job.ids import SeenIds, hash_ids, superseded, without

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


@given(blocks)
def test_each_file_begins_anew_and_what_it_held_is_kept(numbers: list[list[int]]) -> None:
    seen, kept = SeenIds(), list[int]()
    for block in numbers:
        seen.begin_file()
        hashes = np.array(block, dtype=np.uint64)
        assert seen.add(hashes).sum() == len(block) - len(set(block))
        kept += set(block)
    assert seen.sorted().tolist() == sorted(kept)


@given(st.lists(st.integers(0, 8), max_size=20), st.data())
def test_a_refused_id_goes_once_for_each_refusal(numbers: list[int], data: st.DataObject) -> None:
    left = sorted(numbers)
    chosen = data.draw(st.lists(st.sampled_from(left), max_size=len(left))) if left else []
    refused = [n for at, n in enumerate(chosen) if chosen[:at].count(n) < left.count(n)]
    hashes = np.array(left, dtype=np.uint64)
    for number in refused:
        left.remove(number)
    assert without(hashes, np.array(refused, dtype=np.uint64)).tolist() == left
