"""Shares by weight: the bound of LPT, the same wherever they are computed."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embed_job.fleet.shares import lpt_shares


@given(st.lists(st.integers(0, 10**12), max_size=60), st.integers(1, 9))
def test_no_host_has_more_than_lpt_allows(sizes: list[int], hosts: int) -> None:
    shares = lpt_shares(sizes, hosts)
    assert len(shares) == len(sizes)
    assert all(0 <= host < hosts for host in shares)
    loads = [0] * hosts
    for size, host in zip(sizes, shares, strict=True):
        loads[host] += size
    # Graham: the last item of the fullest host went to the emptiest one.
    fullest = int(np.argmax(loads))
    smallest = min(
        (size for size, host in zip(sizes, shares, strict=True) if host == fullest), default=0
    )
    assert loads[fullest] - smallest <= min(loads) + len(sizes)


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=40), st.integers(2, 5))
def test_it_is_the_largest_to_the_emptiest(sizes: list[int], hosts: int) -> None:
    loads, wanted = [0] * hosts, [0] * len(sizes)
    for item in sorted(range(len(sizes)), key=lambda item: (-sizes[item], item)):
        host = loads.index(min(loads))
        wanted[item] = host
        loads[host] += max(1, sizes[item])
    assert lpt_shares(sizes, hosts).tolist() == wanted


@given(st.lists(st.integers(1, 10**12), min_size=1, max_size=80), st.integers(2, 100))
def test_the_largest_share_is_the_mean_and_one_split_at_most(sizes: list[int], hosts: int) -> None:
    loads = np.bincount(lpt_shares(sizes, hosts), weights=sizes, minlength=hosts)
    assert loads.max() <= sum(sizes) / hosts + (1 - 1 / hosts) * max(sizes) * (1 + 1e-9)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32), st.floats(0.1, 3), st.integers(2, 100))
def test_shares_are_even_where_no_split_is_large(seed: int, sigma: float, hosts: int) -> None:
    """Within 1.05 of the mean, wherever the largest split is at most a twentieth of it."""
    drawn = np.random.default_rng(seed).lognormal(0, sigma, 25 * hosts)
    total = 1 << 40
    limit = total // hosts // 20
    sizes = np.clip(drawn / drawn.sum() * total, 1, limit * 0.9).astype(np.int64)
    left, whole = divmod(total - int(sizes.sum()), limit)
    cut = [*sizes.tolist(), *[limit] * left, whole or 1]
    loads = np.bincount(lpt_shares(cut, hosts), weights=cut, minlength=hosts)
    assert loads.max() <= 1.05 * loads.mean()


@pytest.mark.parametrize(
    ("sizes", "hosts", "largest"),
    [
        ([1] * 20, 20, 1.0),
        ([1] * 21, 20, 2 / 1.05),  # a handful of splits each: one more is much more
        ([1] * 401, 20, 21 / 20.05),
        ([10, *[1] * 30], 4, 1.0),  # the largest is the mean
        ([20, *[1] * 20], 4, 2.0),  # the largest is more, and nobody can share it
    ],
)
def test_where_shares_cannot_be_even(sizes: list[int], hosts: int, largest: float) -> None:
    loads = np.bincount(lpt_shares(sizes, hosts), weights=sizes, minlength=hosts)
    assert loads.max() / loads.mean() == pytest.approx(largest)


def test_nothing_to_share() -> None:
    assert lpt_shares([], 3).tolist() == []


@pytest.mark.slow
def test_ten_million_items_take_seconds() -> None:
    sizes = np.random.default_rng(1).pareto(1.2, 10_000_000).astype(np.int64) * 1000
    began = time.perf_counter()
    loads = np.bincount(lpt_shares(sizes, 100), weights=sizes, minlength=100)
    assert time.perf_counter() - began < 60
    assert loads.max() <= max(int(sizes.max()), 1.01 * loads.mean())
