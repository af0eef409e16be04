"""Chunks between encoder and senders: nothing lost, retries first, memory bounded."""

from __future__ import annotations

import random
import threading
from itertools import count
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from embed_job.opensearch.delivery.chunks import Chunk, Operation, cut
from embed_job.opensearch.delivery.flow import Flow
from embed_job.opensearch.delivery.outcome import Outcome, outcome_of
from embed_job.opensearch.delivery.pace import Pace
from embed_job.opensearch.delivery.replies import Fate, Reply, Verdict
from embed_job.opensearch.delivery.results import Refused

MIB = 1 << 20
DONE = Verdict(Fate.DONE)


class Clock:
    """A clock that goes on by a second whenever it is looked at."""

    def __init__(self, step_s: float = 1.0) -> None:
        self.step_s = step_s
        self.now_s = 0.0

    def __call__(self) -> float:
        self.now_s += self.step_s
        return self.now_s


def flow_of(*, max_bytes: int = MIB, clock: Clock | None = None, bulk_bytes: int = MIB) -> Flow:
    pace = Pace(max_concurrency=4, bulk_bytes=bulk_bytes, rng=random.Random(3))
    return Flow(pace, max_bytes=max_bytes, clock=clock or Clock())


def chunk_of(*ids: str, split: str = "s", size: int = 10) -> Chunk:
    rows = (Operation(row_id, row_id, b"{}\n", b"x" * size + b"\n") for row_id in ids)
    (chunk,) = cut(split, rows, lambda: MIB)
    return chunk


def outcome(chunk: Chunk, **fates: Fate) -> Outcome:
    """All rows done but those named."""
    others = {
        chunk.ids.index(row_id): Verdict(fate, 400, "why")
        for row_id, fate in fates.items()
        if row_id in chunk.ids
    }
    return outcome_of(chunk, Reply(DONE, others))


FATES = st.sampled_from([Fate.DONE, Fate.THROTTLED, Fate.FAILED, Fate.REFUSED])
WHOLE = st.sampled_from([Fate.DONE, Fate.TOO_LARGE, Fate.TIMED_OUT, Fate.AMBIGUOUS])


@given(st.lists(st.integers(1, 12), min_size=1, max_size=5), st.data())
def test_every_row_is_written_or_refused_once_whatever_the_server_says(
    sizes: list[int], data: st.DataObject
) -> None:
    flow = flow_of(clock=Clock(step_s=100), max_bytes=100 * MIB)
    flow.begin("s")
    numbers = count()
    for size in sizes:
        assert flow.put(chunk_of(*(f"r{next(numbers)}" for _ in range(size))))
    flow.end("s")
    settled: list[str] = []
    answers = 0
    while (given_out := flow.wait(0)) is None:
        chunk = flow.take()
        assert chunk is not None
        answers += 1
        # A server that is in trouble for ever ends only by the deadline.
        whole = data.draw(WHOLE) if answers < 30 else Fate.DONE
        if whole is Fate.DONE:
            fates = {row: data.draw(FATES) if answers < 30 else Fate.DONE for row in chunk.ids}
            result = outcome(chunk, **{k: fate for k, fate in fates.items() if fate != Fate.DONE})
            settled += [row for row, fate in fates.items() if fate in (Fate.DONE, Fate.REFUSED)]
        else:
            result = outcome_of(chunk, Reply(Verdict(whole, 0, "why"), {}))
            settled += [refused.id for refused in result.refused]
        flow.settle(chunk, result, 0.1)
    assert given_out.read == given_out.written + given_out.rejected == sum(sizes)
    assert sorted(settled) == sorted(f"r{number}" for number in range(sum(sizes)))
    assert flow.finished


def test_rows_that_are_due_again_go_before_new_ones() -> None:
    flow = flow_of(clock=Clock(step_s=100))
    flow.begin("s")
    for name in ("a", "b", "c"):
        flow.put(chunk_of(name + "1", name + "2"))
    first = flow.take()
    assert first is not None
    flow.settle(first, outcome(first, a2=Fate.FAILED), 0.1)
    again = flow.take()
    assert again is not None
    assert list(again.ids) == ["a2"]
    assert again.attempts == 1


def test_a_split_is_not_given_out_before_its_last_row() -> None:
    flow = flow_of()
    flow.begin_reading()
    flow.begin("s")
    flow.put(chunk_of("a"))
    flow.refuse_unsent("s", Refused("b", "b", "not_finite: vector", 0))
    chunk = flow.take()
    assert chunk is not None
    flow.end("s")
    assert flow.wait(0) is None
    flow.settle(chunk, outcome(chunk), 0.1)
    done = flow.wait(0)
    assert done is not None
    assert (done.read, done.written, done.rejected) == (2, 1, 1)
    assert not flow.finished, "the reader may have more"
    flow.end_reading()
    assert flow.finished


def test_what_is_encoded_waits_for_room_and_for_no_more_than_it_needs() -> None:
    flow = flow_of(max_bytes=100, bulk_bytes=100)
    flow.begin("s")
    large = chunk_of("large", size=1000)
    assert flow.put(large), "a chunk that is larger than all room goes alone"
    put = threading.Event()

    def feed() -> None:
        flow.put(chunk_of("next"))
        put.set()

    feeding = threading.Thread(target=feed)
    feeding.start()
    assert not put.wait(0.05)
    taken = flow.take()
    assert taken is large
    flow.settle(taken, outcome(taken), 0.1)
    assert put.wait(10)
    feeding.join()
    assert flow.stats.peak_bytes == len(large.body)


def test_no_more_is_under_way_than_the_pace_allows() -> None:
    flow = flow_of()
    flow.begin("s")
    for name in "abcd":
        flow.put(chunk_of(name))
    assert flow.take() is not None
    assert flow.take() is not None
    taken: list[Any] = []
    third = threading.Thread(target=lambda: taken.append(flow.take()))
    third.start()
    third.join(0.05)
    assert not taken, "it begins with two at a time"
    flow.close()
    third.join(10)
    assert taken == [None]


def test_once_closed_nothing_is_taken_and_what_is_under_way_may_still_be_settled() -> None:
    flow = flow_of()
    flow.begin("s")
    flow.put(chunk_of("a"))
    flow.end("s")
    chunk = flow.take()
    assert chunk is not None
    flow.close()
    assert not flow.put(chunk_of("b"))
    assert flow.take() is None
    assert not flow.finished
    flow.settle(chunk, outcome(chunk), 0.1)
    assert flow.wait(0) is not None
    assert flow.finished


def test_rows_that_wait_are_timed_from_the_last_one_acknowledged() -> None:
    clock = Clock(step_s=0)
    flow = flow_of(clock=clock)
    flow.begin("s")
    clock.now_s = 50.0
    assert flow.stalled_s == 0, "nothing waits"
    flow.put(chunk_of("a", "b"))
    clock.now_s = 60.0
    chunk = flow.take()
    assert chunk is not None
    assert flow.stalled_s == 10
    flow.settle(chunk, outcome(chunk, b=Fate.THROTTLED), 0.1)
    assert flow.stalled_s == 0
    clock.now_s = 75.0
    assert flow.stalled_s == 15
    assert flow.why is not None
    assert flow.why.fate is Fate.THROTTLED
