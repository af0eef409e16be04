"""An index on a real server: made once, checked ever after, and its settings put back."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from opensearchpy import OpenSearch
from opensearchpy.exceptions import ConnectionTimeout, RequestError

from embed_job.errors import OutputError
from embed_job.opensearch.index.memory import breaker_bytes, check_memory
from embed_job.opensearch.index.meta import IndexMeta, meta_of
from embed_job.opensearch.index.open import open_index
from embed_job.opensearch.index.profile import begin_load, restore
from embed_job.opensearch.patience import Patience
from embed_job.opensearch.target import IndexTarget
from tests.opensearch.index_targets import Killed, client_with, fill, target_of


def described(client: OpenSearch, name: str) -> dict[str, Any]:
    found: dict[str, Any] = client.indices.get(index=name, params={"flat_settings": "true"})[name]
    return found


def settings_of(client: OpenSearch, name: str) -> dict[str, str | None]:
    """What a load changes, as it is now."""
    settings = described(client, name)["settings"]
    return {
        "refresh": settings.get("index.refresh_interval"),
        "replicas": settings["index.number_of_replicas"],
        "threshold": settings.get("index.knn.advanced.approximate_threshold"),
    }


def record_of(client: OpenSearch, name: str) -> IndexMeta:
    meta = meta_of(described(client, name))
    assert meta is not None
    return meta


AT_REST = {"refresh": None, "replicas": "0", "threshold": None}
LOADING = {"refresh": "-1", "replicas": "0", "threshold": "-1"}


@pytest.fixture
def target(opensearch_url: str, index_name: str) -> IndexTarget:
    return target_of(opensearch_url, index_name)


def test_an_index_is_made_once_and_then_found(client: OpenSearch, target: IndexTarget) -> None:
    made = open_index(client, target, create=True)
    again = open_index(client, target, create=True)
    assert made.created
    assert not again.created
    assert made.load == again.load
    fill(client, target)
    client.indices.delete(index=target.name)
    anew = open_index(client, target, create=True)
    assert anew.created
    assert anew.load != made.load


def test_a_missing_index_is_told_of(client: OpenSearch, target: IndexTarget) -> None:
    with pytest.raises(OutputError, match="there is no such index"):
        open_index(client, target, create=False)


def test_hosts_that_make_it_at_once_get_the_same_index(
    client: OpenSearch, target: IndexTarget
) -> None:
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(lambda _: open_index(client, target, create=True), range(8)))
    assert len({index.load for index in opened}) == 1
    assert sum(index.created for index in opened) == 1


def test_an_index_whose_making_was_not_acknowledged_is_this_run_s(
    client: OpenSearch, opensearch_url: str, target: IndexTarget
) -> None:
    lost = []

    def fault(number: int, method: str, path: str) -> None:
        if method == "PUT" and not lost:
            lost.append(path)
            raise ConnectionTimeout("TIMEOUT", "lost", TimeoutError())

    made = open_index(client_with(opensearch_url, fault), target, create=True)
    assert lost
    assert made.created


@pytest.mark.parametrize(
    "storage",
    [
        {"engine": "lucene", "storage": "byte"},
        {"engine": "lucene", "storage": "on_disk", "compression": "4x"},
        {"engine": "faiss"},
        {"engine": "faiss", "storage": "float16"},
        {"engine": "faiss", "storage": "byte"},
        {"engine": "faiss", "storage": "on_disk"},
        {"engine": "faiss", "storage": "on_disk", "compression": "2x"},
    ],
)
def test_every_storage_is_accepted_and_found_unchanged(
    client: OpenSearch, opensearch_url: str, index_name: str, storage: dict[str, str]
) -> None:
    target = target_of(opensearch_url, index_name, graph=storage)
    assert open_index(client, target, create=True).created
    assert not open_index(client, target, create=False).created


def test_another_fingerprint_or_graph_is_refused_with_all_that_differs(
    client: OpenSearch, opensearch_url: str, target: IndexTarget
) -> None:
    """Fault 26: model or dimension changes mid-index."""
    open_index(client, target, create=True)
    graph = {"engine": "lucene", "m": 32}
    other = target_of(opensearch_url, target.name, fingerprint="e", graph=graph)
    with pytest.raises(OutputError) as caught:
        open_index(client, other, create=True)
    assert "its fingerprint is ffffffffffff, the output's eeeeeeeeeeee" in caught.value.what
    assert "m is 16, not 32" in caught.value.what
    assert "Leave index out" in caught.value.hint


def test_an_index_of_somebody_else_is_refused(client: OpenSearch, target: IndexTarget) -> None:
    client.indices.create(index=target.name)
    with pytest.raises(OutputError, match="not an index of embed-job"):
        open_index(client, target, create=True)


def test_an_index_in_place_of_the_alias_is_told_of_before_anything_is_made(
    client: OpenSearch, target: IndexTarget
) -> None:
    client.indices.create(index=str(target.alias))
    with pytest.raises(OutputError, match=f"'{target.alias}' is an index, so it can't be an alias"):
        open_index(client, target, create=True)
    assert not client.indices.exists(index=target.name)


def test_an_alias_in_place_of_the_index_is_refused(
    client: OpenSearch, opensearch_url: str, target: IndexTarget
) -> None:
    open_index(client, target, create=True)
    client.indices.put_alias(index=target.name, name=f"{target.name}-other")
    other = target_of(opensearch_url, f"{target.name}-other")
    with pytest.raises(OutputError, match=f"is an alias \\(of {target.name}\\), not an index"):
        open_index(client, other, create=True)


def test_a_vanished_index_is_never_made_by_a_write(client: OpenSearch, target: IndexTarget) -> None:
    """Fault 13: index missing with auto-create on."""
    open_index(client, target, create=True)
    client.indices.delete(index=target.name)
    answer = client.bulk(
        body=[{"index": {"_id": "1"}}, {"doc_id": "1"}],
        index=target.write_name,
        params={"require_alias": "true"},
    )
    assert answer["items"][0]["index"]["status"] == 404
    assert not client.indices.exists(index=target.name)
    assert not client.indices.exists(index=target.write_name)


def test_a_lost_write_name_comes_back(client: OpenSearch, target: IndexTarget) -> None:
    open_index(client, target, create=True)
    client.indices.delete_alias(index=target.name, name=target.write_name)
    open_index(client, target, create=False)
    fill(client, target)


def test_a_server_that_is_not_there_is_told_of_soon(target: IndexTarget) -> None:
    nobody = OpenSearch("http://127.0.0.1:9", max_retries=0)
    with pytest.raises(OutputError, match="the connection was refused"):
        open_index(nobody, target, create=True, patience=Patience(limit_s=0.5))


def test_memory_is_compared_with_the_breaker(
    client: OpenSearch, opensearch_url: str, index_name: str
) -> None:
    target = target_of(opensearch_url, index_name, graph={"engine": "faiss"})
    available = breaker_bytes(client, where="w")
    assert available is not None
    assert available > 0
    assert "the cluster's k-NN memory is" in check_memory(client, target, 1000)
    with pytest.raises(OutputError, match=r"float16 \(half\)") as caught:
        check_memory(client, target, available)
    assert "the index will need" in caught.value.what
    lucene = target_of(opensearch_url, index_name)
    assert check_memory(client, lucene, available).endswith("(lucene)")


def test_a_load_s_settings_are_recorded_and_put_back(
    client: OpenSearch, target: IndexTarget
) -> None:
    index = open_index(client, target, create=True)
    client.indices.put_settings(index=target.name, body={"index.refresh_interval": "7s"})
    assert begin_load(client, index)
    assert settings_of(client, target.name) == LOADING
    profile = record_of(client, target.name).profile
    assert profile is not None
    assert profile.refresh_interval == "7s"
    # A second host, or the next run after a crash, must not record a load's settings.
    assert begin_load(client, index)
    assert record_of(client, target.name).profile == profile
    assert restore(client, index)
    assert settings_of(client, target.name) == AT_REST | {"refresh": "7s"}
    assert record_of(client, target.name).profile is None
    assert not restore(client, index)


def test_putting_back_keeps_what_others_have_in_meta(
    client: OpenSearch, target: IndexTarget
) -> None:
    index = open_index(client, target, create=True)
    meta = described(client, target.name)["mappings"]["_meta"] | {"team": "search"}
    client.indices.put_mapping(index=target.name, body={"_meta": meta})
    begin_load(client, index)
    restore(client, index)
    after = described(client, target.name)["mappings"]["_meta"]
    assert after["team"] == "search"
    assert after["embed_job"]["load"] == index.load


def test_hosts_that_begin_at_once_record_the_originals(
    client: OpenSearch, target: IndexTarget
) -> None:
    index = open_index(client, target, create=True)
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda _: begin_load(client, index), range(8)))
    restore(client, index)
    assert settings_of(client, target.name) == AT_REST


def test_a_record_that_another_overwrites_is_written_again(
    client: OpenSearch, opensearch_url: str, target: IndexTarget
) -> None:
    index = open_index(client, target, create=True)
    client.indices.put_settings(index=target.name, body={"index.refresh_interval": "7s"})
    before = described(client, target.name)["mappings"]["_meta"]
    rounds = 2

    def fault(number: int, method: str, path: str) -> None:
        nonlocal rounds
        if path.endswith("_mapping") and rounds:
            rounds -= 1
            client.indices.put_mapping(index=target.name, body={"_meta": before})

    begin_load(client_with(opensearch_url, fault), index)
    profile = record_of(client, target.name).profile
    assert profile is not None
    assert profile.refresh_interval == "7s"
    restore(client, index)
    rounds = 99
    with pytest.raises(OutputError, match="was overwritten 5 times"):
        begin_load(client_with(opensearch_url, fault), index)
    assert settings_of(client, target.name) == AT_REST | {"refresh": "7s"}


def test_a_load_killed_while_it_begins_is_put_back(
    client: OpenSearch, opensearch_url: str, target: IndexTarget
) -> None:
    index = open_index(client, target, create=True)
    killed = 0
    for last in range(1, 9):

        def fault(number: int, method: str, path: str, last: int = last) -> None:
            if number == last:
                raise Killed

        try:
            begin_load(client_with(opensearch_url, fault), index)
        except Killed:
            killed += 1
        begin_load(client, index)
        assert settings_of(client, target.name) == LOADING
        restore(client, index)
        assert settings_of(client, target.name) == AT_REST
    assert killed == 4  # described, recorded, read back, set; its replicas are 0 already


def test_settings_of_a_load_without_a_record_are_no_originals(
    client: OpenSearch, target: IndexTarget
) -> None:
    index = open_index(client, target, create=True)
    left = {"index.refresh_interval": "-1", "index.knn.advanced.approximate_threshold": "-1"}
    client.indices.put_settings(index=target.name, body=left)
    begin_load(client, index)
    restore(client, index)
    assert settings_of(client, target.name) == AT_REST


def test_a_live_index_keeps_its_settings(client: OpenSearch, target: IndexTarget) -> None:
    index = open_index(client, target, create=True)
    client.indices.put_alias(index=target.name, name=f"{target.alias}")
    assert not begin_load(client, index)
    assert settings_of(client, target.name) == AT_REST
    assert record_of(client, target.name).merged


def test_a_blocked_index_is_waited_for_no_longer_than_the_load_s_deadline(
    client: OpenSearch, opensearch_url: str, index_name: str
) -> None:
    target = target_of(opensearch_url, index_name, bulk={"deadline_s": 1})
    index = open_index(client, target, create=True)
    block = {"index.blocks.read_only_allow_delete": "true"}
    client.indices.put_settings(index=target.name, body=block)
    began_s = time.monotonic()
    with pytest.raises(OutputError, match="writing is blocked"):
        begin_load(client, index)
    assert time.monotonic() - began_s < 10


def test_replicas_that_the_server_sets_itself_are_left_to_it(
    client: OpenSearch, target: IndexTarget
) -> None:
    index = open_index(client, target, create=True)
    auto = {"index.auto_expand_replicas": "0-1"}
    client.indices.put_settings(index=target.name, body=auto)
    begin_load(client, index)
    restore(client, index)
    settings = described(client, target.name)["settings"]
    assert settings["index.auto_expand_replicas"] == "0-1"


def test_a_domain_that_takes_full_sets_of_copies_alone_keeps_them(
    client: OpenSearch, opensearch_url: str, index_name: str
) -> None:
    target = target_of(opensearch_url, index_name, replicas=2)
    index = open_index(client, target, create=True)
    told = "expected total copies needs to be a multiple of total awareness attributes [3]"
    reason = {"type": "illegal_argument_exception", "reason": told}

    def refuse(path: str, body: Any) -> None:
        if path.endswith("_settings") and b"replicas" in body:
            raise RequestError(400, "illegal_argument_exception", {"error": reason})

    standby = client_with(opensearch_url, refuse=refuse)
    assert begin_load(standby, index)
    assert settings_of(client, target.name) == LOADING | {"replicas": "2"}
    assert restore(standby, index)
    assert settings_of(client, target.name) == AT_REST | {"replicas": "2"}


def test_an_index_replaced_meanwhile_is_not_touched(
    client: OpenSearch, target: IndexTarget
) -> None:
    index = open_index(client, target, create=True)
    client.indices.delete(index=target.name)
    with pytest.raises(OutputError, match="is gone during this command"):
        begin_load(client, index)
    open_index(client, target, create=True)
    with pytest.raises(OutputError, match="was replaced by another of its name"):
        begin_load(client, index)
    assert settings_of(client, target.name) == AT_REST
