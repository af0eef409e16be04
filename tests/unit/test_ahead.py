"""A thread that makes items ahead: order, bound, errors, and that it ends with its context."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from embed_job.ahead import ahead

TIMEOUT_S = 30
DEPTHS = pytest.mark.parametrize("depth", [0, 1, 3])


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "ahead"]


@DEPTHS
def test_items_keep_their_order(depth: int) -> None:
    with ahead((n for n in range(200)), depth=depth) as items:
        assert list(items) == list(range(200))
    assert threads() == []


def test_without_depth_there_is_no_thread() -> None:
    made_by: list[threading.Thread] = []

    def items() -> Iterator[int]:
        made_by.append(threading.current_thread())
        yield 1

    with ahead(items(), depth=0) as taken:
        assert list(taken) == [1]
    assert made_by == [threading.current_thread()]


@pytest.mark.parametrize("depth", [1, 3])
def test_depth_items_are_made_ahead_and_no_more(depth: int) -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(50):
            made.append(number)
            yield number

    with ahead(items(), depth=depth) as found:
        for taken, number in enumerate(found, start=1):
            assert number == taken - 1
            assert len(made) <= taken + depth
            if taken == 10:
                deadline = time.monotonic() + TIMEOUT_S
                while len(made) < taken + depth:
                    assert time.monotonic() < deadline, "nothing is made ahead"
                    time.sleep(0.01)
    assert len(made) == 50


@DEPTHS
def test_items_before_an_error_are_taken(depth: int) -> None:
    def items() -> Iterator[int]:
        yield from (1, 2)
        raise OSError("the disk is full")

    with ahead(items(), depth=depth) as found:
        assert [next(found), next(found)] == [1, 2]
        with pytest.raises(OSError, match="full"):
            next(found)


@DEPTHS
def test_who_stops_early_closes_the_source_and_ends_the_thread(depth: int) -> None:
    closed: list[bool] = []

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.append(True)

    with ahead(endless(), depth=depth) as items:
        assert next(items) == 1
    assert closed == [True]
    assert threads() == []


def test_two_in_a_row_end_together_when_the_first_fails() -> None:
    def first() -> Iterator[int]:
        yield from range(5)
        raise ValueError("in the first")

    with ahead(first(), depth=1) as one, ahead((2 * n for n in one), depth=1) as two:
        assert [next(two) for _ in range(5)] == [0, 2, 4, 6, 8]
        with pytest.raises(ValueError, match="in the first"):
            next(two)
    assert threads() == []


def test_waiting_is_held_while_an_item_is_waited_for() -> None:
    held: list[str] = []
    may_go = threading.Event()

    @contextmanager
    def waiting() -> Iterator[None]:
        held.append("begin")
        may_go.set()
        yield
        held.append("end")

    def items() -> Iterator[int]:
        assert may_go.wait(TIMEOUT_S)
        held.append("made")
        yield 1

    with ahead(items(), depth=1, waiting=waiting) as found:
        assert next(found) == 1
        assert held == ["begin", "made", "end"]
