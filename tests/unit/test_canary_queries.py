"""A file of queries, and what can be wrong with it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from embed_job.errors import InputError
from embed_job.opensearch.canary import queries
from embed_job.opensearch.canary.queries import parse_queries


def test_what_a_line_may_hold() -> None:
    data = (
        b'{"query": "how do I read a zip file"}\n\n'
        b'{"query": "Z\xc3\xbcrich", "judgements": {"d1": 3, "d2": 0, "d3": 0.5}, '
        b'"filters": ["language=de", "year>=2020"]}\r\n'
        b'{"query": "x", "judgements": null, "filters": null}'
    )
    plain, judged, bare = parse_queries(data, "q.jsonl")
    assert (plain.text, plain.is_judged, plain.filters) == ("how do I read a zip file", False, ())
    assert judged.judgements == {"d1": 3.0, "d2": 0.0, "d3": 0.5}
    assert (judged.is_judged, judged.where) == (True, "q.jsonl:3")
    assert judged.filters == ("language=de", "year>=2020")
    assert bare.judgements == {}


def test_grades_of_0_alone_judge_nothing() -> None:
    (query,) = parse_queries(b'{"query": "x", "judgements": {"d1": 0}}', "q")
    assert not query.is_judged


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("how do I read a zip file", "is not JSON"),
        (["query"], "is not an object"),
        ({}, "has no query"),
        ({"query": " "}, "has no query"),
        ({"query": 7}, "has no query"),
        ({"query": "x", "judgments": {}}, "has the unknown key 'judgments'"),
        ({"query": "x", "judgements": ["d1"]}, "judgements is not an object"),
        ({"query": "x", "judgements": {"d1": -1}}, "holds a grade that is no number of 0 or more"),
        ({"query": "x", "judgements": {"d1": True}}, "holds a grade that is no number"),
        ({"query": "x", "judgements": {"d1": "3"}}, "holds a grade that is no number"),
        ({"query": "x", "filters": "language=de"}, "filters is not a list of texts"),
        ({"query": "x", "filters": [1]}, "filters is not a list of texts"),
    ],
)
def test_a_line_that_is_no_query_is_named(line: Any, told: str) -> None:
    bad = line.encode() if isinstance(line, str) else orjson.dumps(line)
    with pytest.raises(InputError, match=told) as caught:
        parse_queries(b'{"query": "good"}\n' + bad, "q.jsonl")
    assert caught.value.where == "q.jsonl:2"
    assert '"judgements": {"doc-17": 3}' in caught.value.hint


@pytest.mark.parametrize("data", [b"", b"\n \n"])
def test_a_file_without_a_query_is_refused(data: bytes) -> None:
    with pytest.raises(InputError, match="holds no query"):
        parse_queries(data, "q.jsonl")


def test_a_file_of_too_many_is_refused() -> None:
    data = b'{"query": "x"}\n' * (queries.MAX_QUERIES + 1)
    with pytest.raises(InputError, match="holds 10,001 queries"):
        parse_queries(data, "q.jsonl")
