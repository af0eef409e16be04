"""What is tried on a split whose worker dies, without any worker."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embed_job.errors import WorkerError
from embed_job.source import Compression, Format, SourceFile, Split
from embed_job.workers.case import SplitCase
from embed_job.workers.messages import Kind, Task

FILE = SourceFile("/in/a.jsonl", "a.jsonl", 100, "sha256:0", Format.JSONL, Compression.NONE)
MAX_STEPS = 1000


def settle(records: int, kills: Callable[[Task], bool], *, max_poison: int = 8) -> Task:
    """Play a worker that dies where kills says so; the task that went through at last."""
    case = SplitCase(0, Split((FILE,), 0, 100, 100), max_poison_documents=max_poison)
    for _ in range(MAX_STEPS):
        if case.error is not None:
            raise case.error
        task = case.task()
        if kills(task):
            case.died("killed by SIGKILL")
        elif task.kind is Kind.EMBED:
            case.committed()
            return task
        else:
            case.survived(records)
    raise AssertionError("never settled")


def holding(poison: set[int], records: int) -> Callable[[Task], bool]:
    def kills(task: Task) -> bool:
        chosen = {Kind.EMBED: range(records), Kind.COUNT: range(0)}.get(
            task.kind, range(task.first, task.last)
        )
        return any(ordinal in chosen and ordinal not in task.exclude for ordinal in poison)

    return kills


@given(st.data())
def test_exactly_the_documents_that_kill_are_excluded(data: st.DataObject) -> None:
    records = data.draw(st.integers(1, 200))
    poison = data.draw(st.sets(st.integers(0, records - 1), max_size=5))
    assert set(settle(records, holding(poison, records)).exclude) == poison


def test_one_death_is_only_a_retry() -> None:
    deaths = iter([True, False])
    assert settle(10, lambda _: next(deaths)).exclude == {}


def test_deaths_that_no_document_explains_are_retried_then_reported() -> None:
    with pytest.raises(WorkerError, match="on none of its documents alone"):
        settle(10, lambda task: task.kind is Kind.EMBED)


def test_a_split_that_can_not_even_be_read_is_reported() -> None:
    with pytest.raises(WorkerError, match="dies on reading it: killed by SIGKILL"):
        settle(10, lambda task: task.kind in (Kind.EMBED, Kind.COUNT))


def test_a_machine_at_fault_for_a_while_costs_no_document() -> None:
    deaths = iter([True] * 7 + [False] * MAX_STEPS)
    assert settle(10, lambda _: next(deaths)).exclude == {}


def test_more_poison_than_allowed_is_reported() -> None:
    with pytest.raises(WorkerError, match="more than 2 of its documents kill"):
        settle(20, holding({1, 5, 9}, 20), max_poison=2)
