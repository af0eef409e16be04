"""Fault 27: a cluster of three loses a node, and with it the only copy of some documents."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from opensearchpy import OpenSearch

from tests.opensearch import faults
from tests.opensearch.loads import SMALL_BULKS, Load, ended, wait_until
from tests.opensearch.proxy import Proxy, Rule, running_proxy
from tests.opensearch.servers import Node, maven_cluster, start_again_empty

OPTIONS = {"bulk": SMALL_BULKS | {"deadline_s": 120}, "shards": 3}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Node]]:
    with maven_cluster(tmp_path_factory.mktemp("cluster"), nodes=3) as nodes:
        yield nodes


@pytest.fixture
def client(cluster: list[Node]) -> Iterator[OpenSearch]:
    """Of the first node, which no test kills."""
    with OpenSearch(cluster[0].url, timeout=60) as plain:
        yield plain


@pytest.fixture
def proxy(cluster: list[Node]) -> Iterator[Proxy]:
    """Before the first node."""
    with running_proxy(cluster[0].url) as running:
        yield running


def primaries(client: OpenSearch, **wanted: str | None) -> list[tuple[str, int]]:
    """Index and number of the primary shards whose rows in _cat/shards say so."""
    rows = client.cat.shards(format="json", h="index,shard,prirep,state,node")
    return [
        (row["index"], int(row["shard"]))
        for row in rows
        if row["prirep"] == "p" and all(row[name] == value for name, value in wanted.items())
    ]


def lose(cluster: list[Node], number: int, client: OpenSearch, index: str) -> None:
    """Kill a node and all it had, put an empty one in its place, and give up the shards of which
    nobody else has a copy, as an operator has to; the server's own index of tasks may be among
    them."""
    assert index in dict(primaries(client, node=f"node-{number}")), "the node held nothing"
    cluster[number - 1].kill()
    cluster[number - 1] = start_again_empty(cluster[number - 1])
    cluster[number - 1].wait_until_ready(nodes=3)
    for name, shard in primaries(client, state="UNASSIGNED"):
        empty = {"index": name, "shard": shard, "node": "node-1", "accept_data_loss": True}
        client.cluster.reroute(body={"commands": [{"allocate_empty_primary": empty}]})
    wait_until(lambda: client.cluster.health()["status"] != "red")


def test_fault_27_a_node_lost_during_the_load_is_healed_by_it(
    cluster: list[Node], client: OpenSearch, proxy: Proxy, corpus: Path, index_name: str
) -> None:
    undisturbed = Load(corpus, cluster[0].url, client, f"{index_name}-calm", OPTIONS)
    undisturbed.load()
    calm = undisturbed.state()
    load = Load(corpus, proxy.url, client, index_name, OPTIONS)
    gate = faults.Gate()
    proxy.rules = [Rule(gate.before(), skip=9, times=None)]
    process = load.start()
    proxy.wait_for(lambda: gate.holding)
    assert load.receipts()
    lose(cluster, 2, client, index_name)
    gate.open()
    done = ended(process)
    assert done.code == 0, done.told
    load.assert_whole(calm)


def test_fault_27_a_node_lost_after_the_load_is_found_by_verify_and_healed_by_load(
    cluster: list[Node], client: OpenSearch, corpus: Path, index_name: str
) -> None:
    load = Load(corpus, cluster[0].url, client, index_name, OPTIONS)
    load.load()
    whole = load.state()
    lose(cluster, 3, client, index_name)
    left = load.documents()
    assert 0 < len(left) < len(whole.documents)
    found = load.run(command="verify")
    assert found.code == 6, found.told
    missing = len(whole.documents) - len(left)
    assert f"{missing}" in found.told
    load.load()
    load.assert_whole(whole)
    verified = load.run(command="verify")
    assert verified.code == 0, verified.told
