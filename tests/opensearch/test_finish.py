"""A load's end on a real server: merged, put back, green, warm; and that it survives anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from opensearchpy import OpenSearch
from opensearchpy.exceptions import ConnectionTimeout, NotFoundError, TransportError

from embed_job.errors import OutputError
from embed_job.opensearch.index.finish import finish
from embed_job.opensearch.index.mapping import index_body
from embed_job.opensearch.index.open import OpenIndex, open_index
from embed_job.opensearch.index.profile import begin_load
from embed_job.opensearch.target import IndexTarget
from tests.opensearch.index_targets import Killed, client_with, fill, target_of
from tests.opensearch.serverless_stand_in import serverless_stand_in
from tests.opensearch.test_index import AT_REST, record_of, settings_of

FINISHED = AT_REST | {"threshold": "0"}


@pytest.fixture
def target(opensearch_url: str, index_name: str) -> IndexTarget:
    return target_of(opensearch_url, index_name)


def loaded(client: OpenSearch, target: IndexTarget) -> OpenIndex:
    """An index in the midst of a load: three segments, and the load profile on."""
    index = open_index(client, target, create=True)
    assert begin_load(client, index)
    for turn in range(3):
        fill(client, target, first=turn * 20)
        client.indices.refresh(index=target.name)
    return index


def segments_of(client: OpenSearch, name: str) -> list[str]:
    answer = client.indices.segments(index=name)
    return [
        segment
        for copies in answer["indices"][name]["shards"].values()
        for copy in copies
        for segment in copy["segments"]
    ]


def rows_of(client: OpenSearch, name: str) -> dict[str, Any]:
    """Version and content of each document."""
    answer = client.search(index=name, params={"size": 1000, "version": "true"})
    return {hit["_id"]: (hit["_version"], hit["_source"]) for hit in answer["hits"]["hits"]}


def finished(client: OpenSearch, index: OpenIndex) -> list[str]:
    """Finish for good; what was told."""
    told: list[str] = []
    assert finish(client, index, progress=told.append, stopping=lambda: False)
    return told


def check_finished(client: OpenSearch, index: OpenIndex, *, rows: int = 60) -> None:
    name = index.target.name
    assert settings_of(client, name) == FINISHED
    meta = record_of(client, name)
    assert meta.profile is None
    assert meta.merged
    assert len(segments_of(client, name)) == 1
    assert client.count(index=name)["count"] == rows


def test_a_finished_index_is_merged_and_put_back(client: OpenSearch, target: IndexTarget) -> None:
    index = loaded(client, target)
    told = finished(client, index)
    check_finished(client, index)
    assert told[0] == "merging segments, which builds the graphs"
    assert told[-1] == f"{target.name} is finished"
    assert all(len(line) < 80 and "\n" not in line for line in told)


def test_a_second_finish_merges_nothing(client: OpenSearch, target: IndexTarget) -> None:
    index = loaded(client, target)
    finished(client, index)
    before = segments_of(client, target.name)
    assert not any("merg" in line for line in finished(client, index))
    assert segments_of(client, target.name) == before
    check_finished(client, index)


@pytest.mark.parametrize("merge_first", [True, False])
def test_a_shard_of_one_segment_is_written_anew_all_the_same(
    client: OpenSearch, target: IndexTarget, merge_first: bool
) -> None:
    """A merge leaves a single segment alone; written under threshold -1, it has no graph."""
    index = open_index(client, target, create=True)
    begin_load(client, index)
    for turn in range(3 if merge_first else 1):
        fill(client, target, first=turn * 20)
        client.indices.refresh(index=target.name)
    client.indices.forcemerge(index=target.name, params={"max_num_segments": 1})
    client.indices.refresh(index=target.name)
    (before,) = segments_of(client, target.name)
    rows = rows_of(client, target.name)
    finished(client, index)
    check_finished(client, index, rows=len(rows))
    assert segments_of(client, target.name) != [before]
    assert rows_of(client, target.name) == rows


def test_so_is_each_of_several_such_shards(
    client: OpenSearch, opensearch_url: str, index_name: str
) -> None:
    index = open_index(client, target_of(opensearch_url, index_name, shards=3), create=True)
    begin_load(client, index)
    fill(client, index.target, rows=60)
    finished(client, index)
    # The first segment of each was _0; a touched document made _1, and the merge _2.
    assert len(segments_of(client, index_name)) == 3
    assert set(segments_of(client, index_name)).isdisjoint({"_0"})
    assert client.count(index=index_name)["count"] == 60


def test_an_empty_index_is_finished_too(client: OpenSearch, target: IndexTarget) -> None:
    index = open_index(client, target, create=True)
    begin_load(client, index)
    finished(client, index)
    assert settings_of(client, target.name) == FINISHED


def test_killed_after_any_request_it_goes_on_and_ends_right(
    client: OpenSearch, opensearch_url: str, target: IndexTarget
) -> None:
    index = loaded(client, target)
    for last in range(1, 100):

        def fault(number: int, method: str, path: str, last: int = last) -> None:
            if number == last:
                raise Killed

        begin_load(client, index)
        fill(client, target, first=60 + last, rows=1)
        try:
            finished(client_with(opensearch_url, fault), index)
        except Killed:
            finished(client, index)
        else:
            break
        finally:
            check_finished(client, index, rows=60 + last)
    assert last > 10


def failing_once(
    wanted: str, error: Exception
) -> tuple[Callable[[int, str, str], None], list[str]]:
    """A fault at the first request whose path holds `wanted`, and the list of those so far."""
    met: list[str] = []

    def fault(number: int, method: str, path: str) -> None:
        if wanted in path and not met:
            met.append(path)
            raise error

    return fault, met


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        ("_tasks", TransportError(503, "busy", {})),
        ("_forcemerge", ConnectionTimeout("TIMEOUT", "late", TimeoutError())),
        ("_settings", ConnectionTimeout("TIMEOUT", "late", TimeoutError())),
        ("_mapping", TransportError(429, "busy", {})),
        ("warmup", ConnectionTimeout("TIMEOUT", "late", TimeoutError())),
        ("warmup", TransportError(503, "busy", {})),
    ],
)
def test_a_request_that_fails_once_is_made_again(
    client: OpenSearch, opensearch_url: str, target: IndexTarget, wanted: str, error: Exception
) -> None:
    index = loaded(client, target)
    fault, met = failing_once(wanted, error)
    finished(client_with(opensearch_url, fault), index)
    assert met
    check_finished(client, index)


def test_a_merge_that_its_node_forgot_is_begun_again(
    client: OpenSearch, opensearch_url: str, target: IndexTarget
) -> None:
    index = loaded(client, target)
    fault, _ = failing_once("_tasks", NotFoundError(404, "resource_not_found_exception", {}))
    told = finished(client_with(opensearch_url, fault), index)
    assert "the node forgot the merge (it restarted): merging again" in told
    check_finished(client, index)


def test_a_live_index_is_not_merged(client: OpenSearch, target: IndexTarget) -> None:
    finished(client, loaded(client, target))
    client.indices.put_alias(index=target.name, name=str(target.alias))
    index = open_index(client, target, create=False)
    assert not begin_load(client, index)
    fill(client, target, first=60)
    told = finished(client, index)
    assert not any("merg" in line for line in told)
    assert len(segments_of(client, target.name)) == 2
    assert settings_of(client, target.name) == FINISHED


def test_replicas_without_room_are_told_of_and_can_be_mended(
    client: OpenSearch, opensearch_url: str, index_name: str
) -> None:
    nodes = client.cluster.health()["number_of_data_nodes"]
    target = target_of(opensearch_url, index_name, replicas=nodes)
    index = loaded(client, target)
    with pytest.raises(OutputError) as caught:
        finished(client, index)
    assert f"is yellow: {nodes} replicas can't be placed on {nodes} data node" in caught.value.what
    assert f"Set replicas to {nodes - 1}" in caught.value.hint
    assert record_of(client, index_name).profile is not None
    mended = open_index(client, target_of(opensearch_url, index_name), create=False)
    finished(client, mended)
    check_finished(client, mended)


def test_a_shard_without_a_place_is_told_of(client: OpenSearch, target: IndexTarget) -> None:
    body = index_body(target, load="0" * 12)
    body["settings"]["index.routing.allocation.require._name"] = "nobody"
    client.indices.create(index=target.name, body=body, params={"wait_for_active_shards": "0"})
    index = open_index(client, target, create=False)
    now_s = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now_s
        now_s += seconds

    told: list[str] = []
    with pytest.raises(OutputError, match="is red: 1 copies of shards found no place in 120 s"):
        finish(
            client,
            index,
            progress=told.append,
            stopping=lambda: False,
            sleep=sleep,
            clock=lambda: now_s,
        )
    assert told == ["waiting for 1 copies of shards"]
    assert 120 < now_s < 130


def test_it_stops_when_asked_and_goes_on_later(client: OpenSearch, target: IndexTarget) -> None:
    index = loaded(client, target)
    told: list[str] = []
    assert not finish(client, index, progress=told.append, stopping=lambda: True)
    assert record_of(client, target.name).profile is not None
    finished(client, index)
    check_finished(client, index)


def test_an_index_deleted_meanwhile_is_told_of(client: OpenSearch, target: IndexTarget) -> None:
    index = loaded(client, target)
    client.indices.delete(index=target.name)
    with pytest.raises(OutputError, match="is gone during this command"):
        finished(client, index)


def test_a_serverless_index_is_finished_by_a_sweep(opensearch_url: str, index_name: str) -> None:
    with serverless_stand_in(opensearch_url) as collection, OpenSearch(collection.url) as aoss:
        target = target_of(collection.url, index_name, service="aoss", auth="none")
        index = open_index(aoss, target, create=True)
        told: list[str] = []
        assert finish(aoss, index, progress=told.append, stopping=lambda: False)
        assert not finish(aoss, index, progress=told.append, stopping=lambda: True)
    assert set(told) == {"sweeping documents that are there twice"}
