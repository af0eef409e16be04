"""The memory that an index's graphs need, against what the cluster has for them.

faiss keeps graphs outside of the Java heap, as much as the k-NN circuit breaker lets it; above,
it loads and drops them for each search. Lucene reads its graphs through the page cache.
"""

from __future__ import annotations

import re
from typing import Any

from opensearchpy import OpenSearch, TransportError

from embed_job.errors import OutputError
from embed_job.opensearch.patience import BRIEF, Patience
from embed_job.opensearch.target import IndexTarget

_OVERHEAD = 1.1
_BYTES_PER_EDGE = 8
_FLOAT_BYTES = 4
_DEFAULT_COMPRESSION = 32
_LIMIT = "knn.memory.circuit_breaker.limit"
_ENABLED = "knn.memory.circuit_breaker.enabled"
_UNITS = {"b": 1, "kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30, "tb": 1 << 40}
_SIZE = re.compile(r"([\d.]+)\s*([kmgt]?b)", re.IGNORECASE)


def graph_bytes(target: IndexTarget, rows: int) -> int:
    """Memory of the graphs of rows vectors over the whole cluster, replicas included.

    1.1 · (bytes of the vector as stored + 8 · m) a vector, as the k-NN plugin's guide has it.
    """
    graph, dimension = target.output.graph, target.dataset.dimension
    if graph.storage == "float32":
        vector: float = _FLOAT_BYTES * dimension
    elif graph.storage == "float16":
        vector = _FLOAT_BYTES * dimension / 2
    elif graph.storage == "byte":
        vector = dimension
    else:
        factor = int((graph.compression or f"{_DEFAULT_COMPRESSION}x").rstrip("x"))
        vector = _FLOAT_BYTES * dimension / factor
    copies = 1 + target.output.replicas
    return round(_OVERHEAD * (vector + _BYTES_PER_EDGE * graph.m) * rows * copies)


def breaker_bytes(client: OpenSearch, *, where: str, patience: Patience = BRIEF) -> int | None:
    """k-NN memory of all data nodes together; None: unlimited, or the cluster does not tell."""

    def ask() -> tuple[dict[str, Any], dict[str, Any]] | None:
        try:
            settings = client.cluster.get_settings(
                params={"include_defaults": "true", "flat_settings": "true"}
            )
            nodes = client.nodes.stats(metric="os,jvm")
        except TransportError as error:
            # Managed clusters may keep these two from their users: then there is no figure.
            if error.status_code in (400, 401, 403, 404):
                return None
            raise
        return settings, nodes

    answer = patience.call(ask, where=where)
    return None if answer is None else limit_of(*answer)


def limit_of(settings: dict[str, Any], nodes: dict[str, Any]) -> int | None:
    """The circuit breaker's limit over all data nodes, in bytes; None: it is off or not told.

    settings: of ``_cluster/settings``, flat and with defaults; nodes: of ``_nodes/stats/os,jvm``.
    """
    known = {**settings.get("defaults", {}), **settings.get("persistent", {})}
    known |= settings.get("transient", {})
    limit = known.get(_LIMIT)
    if limit is None or str(known.get(_ENABLED, "true")).lower() != "true":
        return None
    each = [
        _node_limit(str(limit), node)
        for node in nodes.get("nodes", {}).values()
        if "data" in node.get("roles", ["data"])
    ]
    return None if not each or None in each else sum(size for size in each if size is not None)


def _node_limit(limit: str, node: dict[str, Any]) -> int | None:
    if limit.endswith("%"):
        try:
            total = int(node["os"]["mem"]["total_in_bytes"])
            heap = int(node["jvm"]["mem"]["heap_max_in_bytes"])
        except KeyError:
            return None
        return round((total - heap) * float(limit[:-1]) / 100)
    found = _SIZE.fullmatch(limit)
    return round(float(found[1]) * _UNITS[found[2].lower()]) if found else None


def memory_line(target: IndexTarget, rows: int, available: int | None) -> str:
    """One line for the user: what the index will need, and what the cluster has for it."""
    needs = f"the index will need {_size(graph_bytes(target, rows))} of memory for its graphs"
    if target.output.graph.engine == "lucene":
        return f"{needs}, of the page cache (lucene)"
    if target.is_serverless:
        return f"{needs}, which Serverless allots by itself"
    if available is None:
        return f"{needs}; the cluster sets, or tells, no limit"
    return f"{needs}, the cluster's k-NN memory is {_size(available)}"


def check_memory(
    client: OpenSearch, target: IndexTarget, rows: int, *, patience: Patience = BRIEF
) -> str:
    """memory_line; raises OutputError where the index would not fit.

    Other indexes' graphs are not counted: they may be gone, or dropped, when this one is live.
    """
    asks = target.output.graph.engine == "faiss" and not target.is_serverless
    where = f"{target.output.url}/{target.name}"
    available = breaker_bytes(client, where=where, patience=patience) if asks else None
    line = memory_line(target, rows, available)
    if available is not None and graph_bytes(target, rows) > available:
        raise OutputError(where, line, _hint(target))
    return line


def _hint(target: IndexTarget) -> str:
    ways = {
        "float32": "graph.storage: float16 (half), byte (a quarter) or on_disk (a 32nd)",
        "float16": "graph.storage: byte (half of that) or on_disk (a 16th)",
        "byte": "graph.storage: on_disk (an eighth)",
        "on_disk": "a higher graph.compression",
    }
    way = ways[target.output.graph.storage]
    return f"Nothing was sent. Set {way}, use larger or more data nodes, or fewer replicas."


def _size(count: int) -> str:
    return f"{count / (1 << 30):,.2f} GiB" if count >= 1 << 28 else f"{count / (1 << 20):,.1f} MiB"
