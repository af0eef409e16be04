"""The memory an index needs, against figures worked out by hand, and what a cluster has."""

from __future__ import annotations

from typing import Any

import pytest

from embed_job.opensearch.index.memory import graph_bytes, limit_of, memory_line
from tests.unit.test_index_mapping import target_of

GIB = 1 << 30


@pytest.mark.parametrize(
    ("graph", "a_vector"),
    [
        ({}, 1.1 * (4 * 8 + 8 * 16)),
        ({"m": 32}, 1.1 * (4 * 8 + 8 * 32)),
        ({"storage": "float16"}, 1.1 * (2 * 8 + 8 * 16)),
        ({"storage": "byte"}, 1.1 * (8 + 8 * 16)),
        ({"storage": "on_disk"}, 1.1 * (8 / 8 + 8 * 16)),
        ({"storage": "on_disk", "compression": "8x"}, 1.1 * (4 + 8 * 16)),
    ],
)
def test_bytes_of_a_graph(graph: dict[str, Any], a_vector: float) -> None:
    assert graph_bytes(target_of(graph=graph, replicas=0), 1000) == round(a_vector * 1000)
    assert graph_bytes(target_of(graph=graph, replicas=2), 1000) == round(a_vector * 3000)


def node(roles: list[str], *, gib: int, heap_gib: int) -> dict[str, Any]:
    return {
        "roles": roles,
        "os": {"mem": {"total_in_bytes": gib * GIB}},
        "jvm": {"mem": {"heap_max_in_bytes": heap_gib * GIB}},
    }


NODES = {
    "nodes": {
        "one": node(["data", "ingest"], gib=64, heap_gib=32),
        "two": node(["data"], gib=32, heap_gib=16),
        "three": node(["cluster_manager"], gib=16, heap_gib=8),
    }
}
LIMIT = "knn.memory.circuit_breaker.limit"


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"defaults": {LIMIT: "50%"}}, 24 * GIB),
        ({"defaults": {LIMIT: "50%"}, "persistent": {LIMIT: "25%"}}, 12 * GIB),
        ({"persistent": {LIMIT: "25%"}, "transient": {LIMIT: "10gb"}}, 20 * GIB),
        (
            {"defaults": {LIMIT: "50%", "knn.memory.circuit_breaker.enabled": "false"}},
            None,
        ),
        ({"defaults": {}}, None),
        ({"defaults": {LIMIT: "plenty"}}, None),
    ],
)
def test_the_breaker_is_of_all_data_nodes(settings: dict[str, Any], wanted: int | None) -> None:
    assert limit_of(settings, NODES) == wanted


def test_a_node_that_tells_nothing_leaves_the_limit_unknown() -> None:
    assert limit_of({"defaults": {LIMIT: "50%"}}, {"nodes": {"one": {"roles": ["data"]}}}) is None
    assert limit_of({"defaults": {LIMIT: "50%"}}, {"nodes": {}}) is None


def test_the_line_says_what_is_needed_and_what_is_there() -> None:
    target = target_of({"dimension": 384})
    assert memory_line(target, 10_000_000, 24 * GIB) == (
        "the index will need 34.09 GiB of memory for its graphs, "
        "the cluster's k-NN memory is 24.00 GiB"
    )
    assert memory_line(target, 1000, None).endswith("sets, or tells, no limit")
    assert memory_line(target_of(graph={"engine": "lucene"}), 1000, None).endswith("(lucene)")
