"""Lines of JSON: what they hold, what they never hold, and the rules of embedded metrics."""

from __future__ import annotations

import io
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from container.logs import METRICS, ContainerProgress, Log, bug_facts, embedded_metrics
from embed_job.fleet import Host
from embed_job.progress.meter import Plan, ProgressUpdate

HOST = Host(job="kb-1", name="algo-2", rank=1, count=3)
PRIVATE = "what stands in a document"
UNITS = {"Count", "Count/Second"}


class Clock:
    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


class Gone(io.StringIO):
    def write(self, text: str) -> int:  # noqa: ARG002
        raise BrokenPipeError


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def progress(stream: io.StringIO, clock: Clock, interval_s: float = 3600) -> ContainerProgress:
    log = Log(stream, host=HOST, clock=clock)
    return ContainerProgress(log, clock=clock, interval_s=interval_s)


def check_embedded(line: dict[str, Any]) -> None:
    """The rules of CloudWatch's embedded metric format."""
    meta = line["_aws"]
    assert isinstance(meta["Timestamp"], int)
    assert meta["Timestamp"] > 1e12, "milliseconds"
    assert 0 < len(meta["CloudWatchMetrics"]) <= 100
    for directive in meta["CloudWatchMetrics"]:
        assert directive["Namespace"] == "EmbedJob"
        assert 0 < len(directive["Metrics"]) <= 100
        for metric in directive["Metrics"]:
            assert metric["Unit"] in UNITS
            value = line[metric["Name"]]
            assert isinstance(value, int | float)
            assert not isinstance(value, bool)
        for dimensions in directive["Dimensions"]:
            assert 0 < len(dimensions) <= 30
            for name in dimensions:
                assert isinstance(line[name], str)
                assert 0 < len(line[name]) <= 1024


def test_start_commit_and_end() -> None:
    clock, stream = Clock(), io.StringIO()
    watched = progress(stream, clock)
    watched.start(Plan(splits=3, bytes=2**21, already_committed_splits=1, workers=2))
    clock.now += 10
    watched.advance(ProgressUpdate(documents=50, tokens=5000, rejected=2))
    watched.split_done(stored_bytes=2**20)
    watched.stop()
    watched.stop()
    started, committed, ended, metrics = lines(stream)
    for line in (started, committed, ended):
        assert (line["job"], line["host"], line["level"]) == ("kb-1", "algo-2", "info")
    assert started["time"] == "2023-11-14T22:13:20.000+00:00"
    assert (started["splits"], started["workers"]) == (3, 2)
    assert (committed["event"], committed["splits"], committed["mib"]) == ("split_committed", 2, 1)
    assert (ended["event"], ended["documents"], ended["rejected"]) == ("ended", 50, 2)
    check_embedded(metrics)
    assert {name: metrics[name] for name, _ in METRICS} == {
        "documents": 50,
        "tokens_per_s": 500.0,
        "rejected": 2,
        "retries": 0,
    }


def test_metrics_of_all_lines_add_up() -> None:
    stream = io.StringIO()
    watched = progress(stream, Clock(), interval_s=0.02)
    watched.start(Plan(splits=1, bytes=1))
    for _ in range(20):
        watched.advance(ProgressUpdate(documents=7, rejected=1))
        watched.event("split_failed", split="a.jsonl", how="ValueError: x")
        time.sleep(0.01)
    watched.stop()
    told = [line for line in lines(stream) if line["event"] == "metrics"]
    assert len(told) > 2
    assert sum(line["documents"] for line in told) == 140
    assert sum(line["rejected"] for line in told) == 20
    assert sum(line["retries"] for line in told) == 20


def test_a_run_that_never_started_tells_nothing_at_its_end() -> None:
    stream = io.StringIO()
    progress(stream, Clock()).stop()
    assert stream.getvalue() == ""


def test_an_event_keeps_frames_and_loses_what_may_quote_a_document() -> None:
    stream = io.StringIO()
    trace = (
        f'Traceback:\n  File "/x/job.py", line 7, in embed\n    {PRIVATE}\nValueError: {PRIVATE}'
    )
    how = f"ValueError: {PRIVATE}"
    progress(stream, Clock()).event("split_failed", split="a.jsonl", how=how, traceback=trace)
    (line,) = lines(stream)
    assert PRIVATE not in stream.getvalue()
    assert line["level"] == "warning"
    assert (line["how"], line["traceback"]) == ("ValueError", ["/x/job.py:7 embed"])


def test_how_a_process_died_stays_whole() -> None:
    stream = io.StringIO()
    progress(stream, Clock()).event(
        "worker_replaced", worker=1, how="killed by SIGKILL", split=None
    )
    (line,) = lines(stream)
    assert (line["how"], line["split"], line["worker"]) == ("killed by SIGKILL", None, 1)


def test_a_fact_never_stands_for_who_speaks() -> None:
    stream = io.StringIO()
    progress(stream, Clock()).event("claimed", host="algo-9", job="other", split="s")
    (line,) = lines(stream)
    assert (line["host"], line["job"], line["split"]) == ("algo-2", "kb-1", "s")


def test_a_bug_is_type_frames_and_cause() -> None:
    try:
        try:
            int(PRIVATE)
        except ValueError as error:
            raise RuntimeError(PRIVATE) from error
    except RuntimeError as error:
        facts = bug_facts(error)
    assert PRIVATE not in str(facts)
    assert facts["type"] == "RuntimeError"
    assert facts["cause"] == "ValueError"
    (frame,) = facts["traceback"]  # type: ignore[misc]
    assert Path(__file__).name in frame
    assert "test_a_bug" in frame


def test_an_error_of_the_system_keeps_its_file() -> None:
    facts = bug_facts(FileNotFoundError(2, "No such file or directory", "/opt/x"))
    assert (facts["text"], facts["file"]) == ("No such file or directory", "/opt/x")


@given(
    st.dictionaries(
        st.text(max_size=8),
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text()
        | st.binary()
        | st.lists(st.floats() | st.text(), max_size=3),
        max_size=4,
    )
)
def test_any_facts_make_one_valid_line(facts: dict[str, Any]) -> None:
    stream = io.StringIO()
    Log(stream, host=HOST, clock=Clock()).line("info", "event", **facts)
    assert stream.getvalue().count("\n") == 1
    stream.getvalue().encode()
    json.loads(stream.getvalue(), parse_constant=pytest.fail)


@given(*[st.floats(0, 1e9) for _ in METRICS], st.floats(1.6e9, 4e9))
def test_metrics_are_valid(a: float, b: float, c: float, d: float, now: float) -> None:
    values = dict(zip([name for name, _ in METRICS], (a, b, c, d), strict=True))
    check_embedded(json.loads(json.dumps(embedded_metrics(values, host=HOST, now=now))))


def test_a_reader_who_leaves_does_not_stop_the_work() -> None:
    watched = progress(Gone(), Clock(), interval_s=0.01)
    watched.start(Plan(splits=1, bytes=1))
    watched.event("anything")
    watched.stop()


def test_lines_of_many_threads_stay_whole() -> None:
    stream = io.StringIO()
    log = Log(stream, host=HOST, clock=Clock())

    def speak(number: int) -> None:
        for _ in range(50):
            log.line("info", "spoken", number=number, text="x" * 500)

    threads = [threading.Thread(target=speak, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lines(stream)) == 400
