"""Loads into a cluster that refreshes slowly, or that has too little memory for the graphs."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest

from embed_job.errors import ExitCode
from tests.opensearch import corpora
from tests.opensearch.faults import apply_late
from tests.opensearch.loads import SMALL_BULKS, Load, Undisturbed
from tests.opensearch.proxy import Act, Answer, Forward, Proxy, Request, Rule

_LIMIT = "knn.memory.circuit_breaker.limit"


def test_a_refresh_may_take_longer_than_a_request(
    load: Load, proxy: Proxy, calm: Undisturbed
) -> None:
    load.options["bulk"] = SMALL_BULKS | {"timeout_s": 2}
    slow = Rule(apply_late(3), where=lambda one: one.target.endswith("/_refresh"), times=None)
    proxy.rules = [slow]
    load.load()
    load.assert_whole(calm)


def small_faiss(limit: str) -> Act:
    """A cluster that takes faiss, of which the server here stores lucene's mapping, and that has
    so much memory for its graphs."""

    async def act(request: Request, forward: Forward) -> Answer:
        as_lucene = request.body.replace(b'"faiss"', b'"lucene"')
        answer = await forward(replace(request, body=as_lucene))
        body = answer.body.replace(b'"lucene"', b'"faiss"')
        if "/_cluster/settings" in request.target:
            body = orjson.dumps({"defaults": {}, "persistent": {_LIMIT: limit}, "transient": {}})
        return replace(answer, body=body)

    return act


@pytest.fixture
def faiss(load: Load) -> Load:
    load.options["graph"] = {"engine": "faiss"}
    return load


def small(proxy: Proxy, limit: str) -> None:
    other = Rule(small_faiss(limit), where=lambda one: not one.is_bulk, times=None)
    proxy.rules = [other]


def test_too_little_memory_is_told_of_before_a_row_is_sent(faiss: Load, proxy: Proxy) -> None:
    small(proxy, "1kb")
    done = faiss.run()
    assert done.code == ExitCode.OUTPUT
    assert "the cluster's k-NN memory is" in done.errors
    assert not proxy.sent()


def test_what_was_sent_is_finished_though_memory_has_become_too_little(
    faiss: Load, proxy: Proxy, calm: Undisturbed
) -> None:
    small(proxy, "1gb")
    faiss.load()
    faiss.client.delete(index=faiss.index, id=corpora.row_id(7), refresh=True)
    small(proxy, "1kb")
    done = faiss.run("--json")
    assert done.code == ExitCode.INCOMPLETE, done.told
    found = orjson.loads(done.output)
    (problem,) = found["problems"]
    assert "the cluster's k-NN memory is" in problem
    assert found["index"]["finished"]
    assert faiss.documents() == calm.documents
    assert faiss.meta()["profile"] is None
