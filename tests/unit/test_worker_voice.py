"""What a worker says reaches the parent whole, whichever of its threads says it."""

from __future__ import annotations

import logging
import multiprocessing
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection

import pytest

from embed_job.progress.meter import ProgressUpdate
from embed_job.workers.messages import Answer, Noted, Survived
from embed_job.workers.worker import _Telling, _Voice


@pytest.fixture
def ends() -> Iterator[tuple[Connection, Connection]]:
    ours, theirs = multiprocessing.Pipe()
    with ours, theirs:
        yield ours, theirs


def heard(ours: Connection) -> list[Answer]:
    found = []
    while ours.poll():
        found.append(ours.recv())
    return found


def test_warnings_are_told_and_lesser_notes_are_not(ends: tuple[Connection, Connection]) -> None:
    ours, theirs = ends
    logger = logging.Logger("embed_job.engine.test")
    logger.addHandler(_Telling(_Voice(theirs)))
    logger.info("nothing of interest")
    logger.warning("memory is too small for %d tokens", 512)
    assert heard(ours) == [Noted("memory is too small for 512 tokens")]


def test_steps_of_several_threads_are_all_counted_before_the_answer(
    ends: tuple[Connection, Connection],
) -> None:
    ours, theirs = ends
    voice = _Voice(theirs)

    def embed() -> None:
        for _ in range(2_000):
            voice.progress(ProgressUpdate(tokens=3))

    def write() -> None:
        for _ in range(2_000):
            voice.progress(ProgressUpdate(documents=1, bytes=5))

    threads = [threading.Thread(target=work) for work in (embed, write, embed)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    voice.say(Survived(7))
    *steps, last = heard(ours)
    assert last == Survived(7)
    assert all(isinstance(step, ProgressUpdate) for step in steps)
    assert sum(step.tokens for step in steps) == 12_000
    assert sum(step.documents for step in steps) == 2_000
    assert sum(step.bytes for step in steps) == 10_000
