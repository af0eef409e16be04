"""Which split a host takes next, and a whole job of hosts that race, without processes."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from embed_job.fleet.board import Board, Claim


def test_own_share_first_and_the_largest_of_it_first() -> None:
    sizes = {"a": 1, "b": 9, "c": 5, "d": 6}
    board = Board(sizes, rank=0, hosts=2)
    assert board.share == ["b", "a"]
    taken = []
    while claim := board.own():
        board.won(claim)
        taken.append(claim.split)
    assert taken == ["b", "a"]
    assert board.relief() == Claim("d", 1)


def test_the_host_with_most_unclaimed_bytes_is_relieved() -> None:
    sizes = {"a": 10, "b": 10, "c": 10, "d": 9, "e": 8, "f": 1}
    board = Board(sizes, rank=0, hosts=3)
    for split in board.share:
        board.won(Claim(split, 1))
    others = [Board(sizes, rank=rank, hosts=3) for rank in (1, 2)]
    for split in others[0].share:
        board.taken(split, 1, 0.0)
    claim = board.relief()
    assert claim is not None
    assert claim.split in others[1].share


def test_what_is_left_of_the_own_share_is_told_in_bytes() -> None:
    board = Board({"a": 7, "b": 6, "c": 5, "d": 4}, rank=0, hosts=2)
    assert board.own_bytes == 11
    board.taken("b", 1, 0.0)  # another's share
    assert board.own_bytes == 11
    board.won(Claim("a", 1))
    assert board.own_bytes == 4
    board.taken("d", 1, 0.0)  # relieved
    assert board.own_bytes == 0


def test_a_claim_of_another_is_taken_over_when_it_is_old() -> None:
    board = Board({"a": 1, "b": 1}, rank=0, hosts=2)
    board.taken("b", 1, 100.0)
    assert board.stale(159.9, stale_s=60, factor=3) is None
    board.taken("b", 1, 150.0)  # the same claim, seen again
    assert board.stale(160.0, stale_s=60, factor=3) == Claim("b", 2)
    board.taken("b", 2, 160.0)  # a third host was faster
    assert board.stale(219.0, stale_s=60, factor=3) is None
    board.committed(["b"])
    assert board.stale(1e9, stale_s=60, factor=3) is None


def test_hosts_whose_splits_take_long_wait_longer() -> None:
    board = Board({"a": 1, "b": 1}, rank=0, hosts=2)
    board.won(Claim("a", 1))
    board.settle("a", took_s=100)
    board.taken("b", 1, 0.0)
    assert board.stale(299, stale_s=60, factor=3) is None
    assert board.stale(300, stale_s=60, factor=3) == Claim("b", 2)
    assert not board.done
    board.committed(["b", "of another job"])
    assert board.done


@settings(deadline=None, max_examples=80)
@given(
    st.lists(st.integers(1, 1000), min_size=1, max_size=40),
    st.integers(1, 5),
    st.integers(0, 2**32),
)
def test_hosts_that_race_and_die_leave_nothing_undone(
    sizes: list[int], hosts: int, seed: int
) -> None:
    """Each step a random host acts; some die with what they claimed; the last one never does."""
    rng = random.Random(seed)
    splits = {f"s{number}": size for number, size in enumerate(sizes)}
    boards = [Board(splits, rank=rank, hosts=hosts) for rank in range(hosts)]
    claims: set[tuple[str, int]] = set()
    committed: set[str] = set()
    alive, now = set(range(hosts)), 0.0
    for _ in range(5000):
        now += 1.0
        if len(alive) > 1 and rng.random() < 0.02:
            alive.discard(rng.choice(sorted(alive - {hosts - 1})))
        rank = rng.choice(sorted(alive))
        board = boards[rank]
        if board.done:
            if all(boards[other].done for other in alive):
                break
            continue
        board.committed(committed)
        for split, generation in claims:
            board.taken(split, generation, now)
        claim = board.own() or board.relief() or board.stale(now, stale_s=20, factor=1)
        if claim is None:
            continue
        if (claim.split, claim.generation) in claims:
            board.taken(claim.split, claim.generation, now)
            continue
        claims.add((claim.split, claim.generation))
        board.won(claim)
        if rng.random() < 0.8:  # else: claimed, and slow for ever
            committed.add(claim.split)
            board.settle(claim.split, took_s=1.0)
        else:
            alive -= {rank} - {hosts - 1}
            if rank == hosts - 1:
                committed.add(claim.split)
                board.settle(claim.split, took_s=1.0)
    assert committed == splits.keys()


def test_a_split_of_no_bytes_is_relieved_too() -> None:
    board = Board({"a": 10, "empty": 0}, rank=0, hosts=2)
    own = board.own()
    assert own is not None
    board.won(own)
    left = board.own() or board.relief()
    assert left is not None
    assert {own.split, left.split} == {"a", "empty"}
