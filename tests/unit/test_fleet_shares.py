"""Shares by weight: the bound of LPT, the same wherever they are computed."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
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


def test_nothing_to_share() -> None:
    assert lpt_shares([], 3).tolist() == []


@pytest.mark.slow
def test_ten_million_items_take_seconds() -> None:
    sizes = np.random.default_rng(1).pareto(1.2, 10_000_000).astype(np.int64) * 1000
    began = time.perf_counter()
    loads = np.bincount(lpt_shares(sizes, 100), weights=sizes, minlength=100)
    assert time.perf_counter() - began < 60
    assert loads.max() <= max(int(sizes.max()), 1.01 * loads.mean())
