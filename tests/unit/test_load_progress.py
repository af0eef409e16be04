"""The watchers of a load, beside the embedding and on its own."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass

from rich.console import Console

from embed_job.progress import LogProgress
from embed_job.progress.live_display import draw
from embed_job.progress.meter import Meter, Plan, ProgressUpdate


@dataclass
class Clock:
    now: float = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


def drawn(meter: Meter) -> str:
    console = Console(file=io.StringIO(), width=120, record=True)
    console.print(draw(meter.snapshot()))
    return console.export_text()


def test_a_load_counts_rows_and_splits() -> None:
    clock = Clock()
    meter = Meter(clock)
    meter.start(Plan(splits=5, bytes=4 * 2**20, already_committed_splits=1, loading=True))
    clock.now += 10
    meter.loaded(rows=5000, rejected=3, stored_bytes=2**20)
    now = meter.snapshot()
    assert (now.documents, now.rejected, now.splits, now.tokens_per_s) == (5000, 3, 2, 0)
    assert now.rows_per_s == 500
    assert now.eta_s == 30
    text = drawn(meter)
    for part in ("loading", "5,000 rows", "500 rows/s", "split 2 of 5", "3 rejected", "30 s left"):
        assert part in text
    assert "tokens" not in text


def test_rows_in_the_index_stand_beside_the_embedding_and_change_nothing_of_it() -> None:
    meter = Meter(Clock())
    meter.start(Plan(splits=4, bytes=400))
    meter.advance(ProgressUpdate(documents=7, tokens=70))
    before = meter.snapshot()
    assert "in the index" not in drawn(meter)
    meter.loaded(rows=6, rejected=1, stored_bytes=100)
    now = meter.snapshot()
    assert (now.documents, now.rejected, now.splits, now.bytes) == (
        before.documents,
        before.rejected,
        before.splits,
        before.bytes,
    )
    assert (now.loaded_splits, now.loaded_rows) == (1, 6)
    assert "6 rows in the index" in drawn(meter)


def test_a_load_behind_an_embedding_begins_anew_in_the_log() -> None:
    clock, stream = Clock(), io.StringIO()
    progress = LogProgress(stream, clock=clock)
    progress.start(Plan(splits=2, bytes=10))
    progress.advance(ProgressUpdate(documents=9, tokens=90, rejected=2))
    progress.stop()
    progress.start(Plan(splits=2, bytes=10, loading=True))
    progress.loaded(rows=4, rejected=0, stored_bytes=5)
    clock.now += 31
    progress.loaded(rows=5, rejected=1, stored_bytes=5)
    progress.stop()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["started", "ended", "loading", "progress", "ended"]
    assert (lines[1]["documents"], lines[1]["rejected"]) == (9, 2)
    assert (lines[-1]["rows"], lines[-1]["rejected"], lines[-1]["splits"]) == (9, 1, 2)
