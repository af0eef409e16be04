"""What the report and the terminal say of an index."""

from __future__ import annotations

import pytest

from embed_job.cli.load_summary import print_summary
from embed_job.cli.remedy import remedy
from embed_job.dataset.verify import Check
from embed_job.errors import ExitCode
from embed_job.manifest import Counts
from embed_job.opensearch.check import (
    ALIAS,
    COUNT,
    IDENTITY,
    PROFILE,
    READBACK,
    RECALL,
    THEMSELVES,
)
from embed_job.opensearch.load.load import LoadResult
from embed_job.report.build import build_report
from embed_job.report.html import render_html
from embed_job.report.model import DeliveryFacts, IndexReport, Inputs, Machine, RunFacts
from embed_job.run import with_index
from embed_job.spec import JobSpec

SENT = DeliveryFacts(
    splits=2, rows=1000, requests=20, retries=3, throttled=40, bytes=8 << 20, seconds=4.0
)
INDEX = IndexReport(
    url="https://search.example",
    index="books-abc",
    alias="books",
    created=True,
    generation=1,
    rows=Counts(read=1000, written=997, rejected=3),
    refused_by_reason={"mapper_parsing_exception": 2, "not_finite": 1},
    dead_letters="out/_embed_job/loads/books-abc-0123456789ab/dead-letters",
    splits=2,
    splits_loaded=2,
    splits_again=1,
    deleted=12,
    delivery=SENT,
    memory="the index will need 1.5 GiB",
    finished=True,
    recall=0.987,
)


def facts() -> RunFacts:
    return RunFacts(
        spec=JobSpec.model_validate(
            {"name": "kb", "input": {"uri": "in/"}, "outputs": [{"parquet": {"uri": "out/"}}]}
        ),
        fingerprint="f" * 64,
        manifests=(),
        fresh=frozenset(),
        inputs=Inputs(uri="in/", files=1, bytes=1, splits=1),
        machine=Machine(cores=2, cpu="A CPU", python="3.11", platform="Linux"),
        workers=1,
        started_at=100.0,
        finished_at=120.0,
        wall_s=20.0,
        load_s=5.0,
    )


def test_an_index_is_an_output_and_its_time_is_none_of_the_embedding() -> None:
    before = build_report(facts())
    report = build_report(with_index(facts(), LoadResult(INDEX, (), ExitCode.OK), 160.0))
    (_, output) = report.outputs
    assert (output.kind, output.rows, output.bytes) == ("opensearch", 997, 8 << 20)
    assert output.uri == "https://search.example/books-abc"
    assert output.index == INDEX
    assert report.ok
    assert report.wall_s == 60
    assert report.throughput.embedding_s == before.throughput.embedding_s == 15


def test_what_is_wrong_with_the_index_is_a_problem_of_the_run() -> None:
    failed = LoadResult(None, ("the index books-abc is not complete",), ExitCode.OUTPUT)
    report = build_report(with_index(facts(), failed, 160.0))
    assert not report.ok
    assert report.problems == ("the index books-abc is not complete",)
    assert [output.kind for output in report.outputs] == ["parquet"]


def test_the_page_tells_what_was_sent_refused_and_deleted() -> None:
    page = render_html(build_report(with_index(facts(), LoadResult(INDEX, (), ExitCode.OK), 160.0)))
    for part in (
        "https://search.example/books-abc",
        "1,000 rows = 997 written + 3 rejected",
        "mapper_parsing_exception",
        "books-abc-0123456789ab/dead-letters",
        "250 rows/s",
        "3 sent again, 40 rows answered 429",
        "12 documents",
        "the index will need 1.5 GiB",
        "0.987",
        "its alias is <code>books</code> once it is promoted",
        "embed-job promote SPEC",
    ):
        assert part in page


def test_deliveries_of_several_hosts_add_up_but_their_time() -> None:
    both = SENT + SENT.model_copy(update={"seconds": 7.0})
    assert (both.rows, both.requests, both.throttled, both.seconds) == (2000, 40, 80, 7.0)


@pytest.mark.parametrize(
    ("changes", "problems", "told"),
    [
        ({}, (), "books-abc: 1,000 rows, all accounted for\n"),
        (
            {"delivery": DeliveryFacts(), "deleted": 0},
            (),
            "all were loaded before, so nothing was to do",
        ),
        ({"finished": False}, (), "all accounted for; not finished yet"),
        ({}, ("too much was refused",), "books-abc: not a success\n  ✗ too much was refused"),
    ],
)
def test_the_terminal_says_how_it_went_and_what_is_next(
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, object],
    problems: tuple[str, ...],
    told: str,
) -> None:
    code = ExitCode.INCOMPLETE if problems else ExitCode.OK
    result = LoadResult(INDEX.model_copy(update=changes), problems, code)
    print_summary(result, named="books.yaml --set a=b")
    output = capsys.readouterr().out
    assert told in output
    assert ("embed-job promote books.yaml --set a=b" in output) == (
        not problems and "finished" not in changes
    )


def test_a_load_that_was_stopped_is_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    stopped = INDEX.model_copy(update={"splits_loaded": 0, "finished": False})
    result = LoadResult(stopped, ("2 of 2 splits wait: `embed-job load SPEC`",), ExitCode.OK)
    print_summary(result, named="books.yaml", stopped="Ctrl-C")
    output = capsys.readouterr().out
    assert output.startswith("books-abc: stopped (Ctrl-C): 0 of 2 splits are loaded\n")
    assert "`embed-job load books.yaml`" in output
    assert "not a success" not in output
    assert "✗" not in output


def test_small_figures_are_told_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    sent = DeliveryFacts(
        splits=1, rows=1, requests=1, retries=1, throttled=1, bytes=2048, seconds=1.0,
        last_reason="throttled, too busy",
    )  # fmt: skip
    report = INDEX.model_copy(update={"delivery": sent, "deleted": 1})
    print_summary(LoadResult(report, (), ExitCode.OK), named="books.yaml")
    output = capsys.readouterr().out
    assert "1 row in 1.0 s, 1 rows/s, 2.0 KiB in 1 request" in output
    assert "1 request sent again, 1 row answered 429; last answer: throttled, too busy" in output
    assert "1 split had lost rows" in output
    assert "1 document that" in output


@pytest.mark.parametrize(
    ("failed", "says"),
    [
        ([COUNT, PROFILE], "embed-job load books.yaml sends what is missing"),
        ([IDENTITY, READBACK], "embed-job load books.yaml --all"),
        ([THEMSELVES, RECALL], "embed-job load books.yaml --all"),
        ([PROFILE], "embed-job finalize books.yaml"),
        ([ALIAS], "embed-job promote books.yaml"),
        (["the job is committed", COUNT], "embed-job run books.yaml"),
    ],
)
def test_a_failed_check_is_told_with_what_to_do(failed: list[str], says: str) -> None:
    checks = [Check(name, ok=False, detail="off") for name in failed]
    assert says in (remedy(checks, named="books.yaml") or "")


def test_nothing_is_to_do_where_nothing_failed() -> None:
    assert remedy([], named="books.yaml") is None
