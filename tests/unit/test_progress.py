"""The watchers of a run: rates and estimates, log lines, the live display."""

import io
import json
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from embed_job.progress import LogProgress, SilentProgress, choose_progress
from embed_job.progress.live_display import RichProgress, draw, duration
from embed_job.progress.meter import Meter, Plan, ProgressUpdate


@dataclass
class Clock:
    now: float = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Gone(io.StringIO):
    def write(self, text: str) -> int:  # noqa: ARG002
        raise BrokenPipeError


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


class TestMeter:
    def test_the_rate_is_of_the_last_half_minute(self) -> None:
        clock = Clock()
        meter = Meter(clock)
        meter.start(Plan(splits=2, bytes=1000))
        for _ in range(60):
            clock.now += 1
            meter.advance(ProgressUpdate(tokens=900, documents=1))
        for _ in range(30):
            clock.now += 1
            meter.advance(ProgressUpdate(tokens=300))
        now = meter.snapshot()
        assert 300 <= now.tokens_per_s < 340
        assert now.tokens == 63_000
        clock.now += 31
        assert meter.snapshot().tokens_per_s == 0

    def test_eta_follows_from_the_bytes_done(self) -> None:
        clock = Clock()
        meter = Meter(clock)
        meter.start(Plan(splits=4, bytes=400))
        assert meter.snapshot().eta_s is None
        clock.now += 10
        meter.split_done(100)
        assert meter.snapshot().eta_s == 30

    def test_committed_splits_count_as_done(self) -> None:
        meter = Meter(Clock())
        meter.start(Plan(splits=5, bytes=10, already_committed_splits=3))
        assert meter.snapshot().splits == 3

    @given(st.lists(st.integers(0, 10_000), max_size=50))
    def test_never_more_than_everything(self, sizes: list[int]) -> None:
        meter = Meter(Clock())
        meter.start(Plan(splits=3, bytes=1000))
        for size in sizes:
            meter.advance(ProgressUpdate(bytes=size))
            assert meter.snapshot().bytes < 1000
        for _ in range(3):
            meter.split_done(333)
        assert meter.snapshot().bytes == 1000


class TestLog:
    def test_start_every_half_minute_and_end(self) -> None:
        clock, stream = Clock(), io.StringIO()
        progress = LogProgress(stream, clock=clock)
        progress.start(Plan(splits=2, bytes=2**20, workers=3))
        progress.advance(ProgressUpdate(documents=5, tokens=50, rejected=1, bytes=2**19))
        clock.now += 31
        progress.advance(ProgressUpdate(documents=5, tokens=50))
        progress.advance(ProgressUpdate(documents=1))
        progress.stop()
        progress.stop()
        started, during, ended = lines(stream)
        assert (started["event"], started["workers"]) == ("started", 3)
        assert (during["event"], during["documents"]) == ("progress", 10)
        assert (ended["event"], ended["documents"], ended["rejected"]) == ("ended", 11, 1)
        assert started["time"] == "2023-11-14T22:13:20+00:00"

    def test_events_come_at_once_whatever_they_hold(self) -> None:
        stream = io.StringIO()
        progress = LogProgress(stream, clock=Clock())
        progress.event("worker_replaced", worker=1, how="signal 9\nnext", path=object)
        (line,) = lines(stream)
        assert line["event"] == "worker_replaced"
        assert line["how"] == "signal 9\nnext"

    def test_a_watcher_who_leaves_does_not_stop_the_work(self) -> None:
        progress = LogProgress(Gone(), clock=Clock())
        progress.start(Plan(splits=1, bytes=1))
        progress.advance(ProgressUpdate(documents=1))
        progress.stop()


class TestLive:
    def test_the_display_says_what_matters(self) -> None:
        clock = Clock()
        meter = Meter(clock)
        meter.start(Plan(splits=4, bytes=4 * 2**20, workers=2))
        clock.now += 10
        meter.advance(ProgressUpdate(documents=1234, tokens=50_000, rejected=7))
        meter.split_done(2**20)
        console = Console(file=io.StringIO(), width=120, record=True)
        console.print(draw(meter.snapshot()))
        text = console.export_text()
        for part in (
            "1.0 of 4.0 MiB",
            "30 s left",
            "1,234 documents",
            "5,000 tokens/s",
            "split 1 of 4",
            "2 workers",
            "7 rejected",
        ):
            assert part in text

    def test_events_stay_as_lines(self) -> None:
        stream = Terminal()
        progress = RichProgress(stream, clock=Clock())
        progress.start(Plan(splits=1, bytes=1))
        progress.event("poison_document", split="[red]abc")
        progress.stop()
        progress.stop()
        assert "poison document" in stream.getvalue()
        assert "[red]abc" in stream.getvalue()

    def test_durations(self) -> None:
        assert [duration(s) for s in (None, 5, 65, 7265)] == ["?", "5 s", "1:05", "2:01:05"]


def test_the_stream_decides() -> None:
    assert isinstance(choose_progress(io.StringIO(), clock=Clock()), LogProgress)
    assert isinstance(choose_progress(Terminal(), clock=Clock()), RichProgress)
    assert isinstance(choose_progress(Terminal(), quiet=True), SilentProgress)
