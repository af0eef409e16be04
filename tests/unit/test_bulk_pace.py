"""The pace: additive up, multiplicative down, never out of its bounds."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embed_job.opensearch.delivery.pace import (
    FIRST_DELAY_S,
    LONGEST_DELAY_S,
    MIN_BULK_BYTES,
    QUICK_S,
    Pace,
)

MIB = 1 << 20
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("answered"), st.integers(1, 20 * MIB), st.floats(0, 1)),
        st.tuples(st.just("unanswered"), st.integers(1, 20 * MIB), st.floats(0, 1)),
        st.tuples(st.just("too_large"), st.integers(1, 20 * MIB), st.floats(0, 1)),
    ),
    max_size=80,
)


def pace_of(*, max_concurrency: int = 8, bulk_bytes: int = 8 * MIB) -> Pace:
    return Pace(max_concurrency=max_concurrency, bulk_bytes=bulk_bytes, rng=random.Random(1))


def grown() -> Pace:
    pace = pace_of()
    for _ in range(20):
        pace.answered(8 * MIB, 0.1, trouble=0)
    assert pace.concurrency == 8
    return pace


@given(EVENTS, st.integers(1, 20), st.integers(1, 16 * MIB), st.floats(0, 120))
def test_it_stays_within_its_bounds(
    events: list[tuple[str, int, float]], most: int, bulk_bytes: int, took_s: float
) -> None:
    pace = pace_of(max_concurrency=most, bulk_bytes=bulk_bytes)
    for kind, size, trouble in events:
        if kind == "answered":
            pace.answered(size, took_s * trouble, trouble=trouble)
        elif kind == "unanswered":
            pace.unanswered(size)
        else:
            pace.too_large(size)
        assert 1 <= pace.concurrency <= most
        assert min(MIN_BULK_BYTES, bulk_bytes) <= pace.bulk_bytes <= bulk_bytes


def test_a_round_of_trouble_halves_and_a_round_without_adds_one() -> None:
    pace = grown()
    for _ in range(8):
        pace.answered(8 * MIB, 0.1, trouble=1)
    assert pace.concurrency == 4
    for _ in range(4):
        pace.answered(8 * MIB, 0.1, trouble=0)
    assert pace.concurrency == 4
    pace.answered(8 * MIB, 0.1, trouble=0)
    assert pace.concurrency == 5


def test_one_row_in_fifty_costs_nothing_lasting() -> None:
    pace = grown()
    for _ in range(1000):
        pace.answered(8 * MIB, 0.1, trouble=0.02)
    assert pace.concurrency == 8


def test_a_storm_goes_down_to_one_at_a_time() -> None:
    pace = grown()
    for _ in range(100):
        pace.answered(8 * MIB, 0.1, trouble=1)
    assert pace.concurrency == 1


def test_a_cluster_that_grows_slow_is_given_less() -> None:
    pace = grown()
    for _ in range(8):
        pace.answered(8 * MIB, 10.0, trouble=0)
    assert pace.concurrency < 8
    quick = grown()
    for _ in range(8):
        quick.answered(8 * MIB, QUICK_S, trouble=0)
    assert quick.concurrency == 8, "what takes less than half a second is never slow"


def test_after_a_413_it_is_half_and_grows_to_just_below_what_was_refused() -> None:
    pace = pace_of()
    pace.too_large(8 * MIB)
    assert pace.bulk_bytes == 4 * MIB
    sizes = []
    for _ in range(100):
        pace.answered(pace.bulk_bytes, 0.1, trouble=0)
        sizes.append(pace.bulk_bytes)
    assert sizes == sorted(sizes)
    assert sizes[0] > 4 * MIB
    assert sizes[-1] == 8 * MIB * 9 // 10


def test_a_bulk_that_times_out_alone_is_made_smaller() -> None:
    pace = pace_of(max_concurrency=1)
    pace.unanswered(8 * MIB)
    assert pace.bulk_bytes == 4 * MIB
    busy = grown()
    busy.unanswered(8 * MIB)
    assert busy.bulk_bytes == 8 * MIB, "among others it may have been the queue"


@given(st.integers(1, 10_000))
def test_delays_are_jittered_over_all_of_a_growing_span(attempts: int) -> None:
    pace = pace_of()
    delays = [pace.delay_s(attempts) for _ in range(200)]
    longest = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(attempts - 1, 30))
    assert all(0 <= delay <= longest for delay in delays)
    assert min(delays) < 0.1 * longest
    assert max(delays) == pytest.approx(longest, rel=0.1)
