"""The runs behind :mod:`benchmarks.load`: each a process of its own, against a sink or a server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from opensearchpy import OpenSearch

from benchmarks.bulk_sink import running_sink
from benchmarks.load_clients import DIMENSION
from benchmarks.results import ROOT, say

THROTTLE_EVERY = 50

NAMES = {
    "ours": "ours",
    "encoding": "ours, encoding alone, nothing sent",
    "parallel": "parallel_bulk, as it comes",
    "parallel_orjson": "parallel_bulk, with orjson and numpy",
    "bare": "bare loop, our client",
    "bare_plain": "bare loop, opensearch-py as it comes",
}

AT_SERVER = ("ours", "parallel", "bare", "bare_plain")

Options = Mapping[str, int]
Facts = dict[str, float]


@dataclass(slots=True)
class Bench:
    """rows_file: the vectors. best: the settings found for each form of parallel_bulk."""

    rows_file: Path
    best: dict[str, Options] = field(default_factory=dict)

    def load(self, client: str, url: str, rows: int, *, index: str = "sink") -> Facts:
        """One load in a process of its own."""
        return self.load_with(client, url, rows, self.best.get(client, {}), index)

    def load_with(self, client: str, url: str, rows: int, options: Options, index: str) -> Facts:
        command = [sys.executable, "-m", "benchmarks.load_clients", client, "--url", url]
        command += ["--index", index, "--rows-file", str(self.rows_file), "--rows", str(rows)]
        for name, value in options.items():
            command += [f"--{name}", str(value)]
        done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE)
        facts: Facts = json.loads(done.stdout)
        return facts | {"rows": rows, "rows_a_second": rows / facts["seconds"]}

    def tune(self, client: str, url: str, rows: int, grid: list[tuple[int, int]]) -> None:
        """Find parallel_bulk's best threads and chunk size."""
        rates = {}
        for threads, chunk in grid:
            options = {"threads": threads, "chunk": chunk}
            rate = self.load_with(client, url, rows, options, "sink")["rows_a_second"]
            rates[threads, chunk] = rate
        threads, chunk = max(rates, key=lambda key: rates[key])
        say(f"best of {NAMES[client]}: {threads} threads, {chunk} rows a request")
        self.best[client] = {"threads": threads, "chunk": chunk}


def rounds_at_sink(bench: Bench, url: str, rows: int, rounds: int) -> dict[str, list[Facts]]:
    found: dict[str, list[Facts]] = {name: [] for name in NAMES}
    for number in range(rounds):
        say(f"sink, round {number + 1} of {rounds}")
        for name, runs in found.items():
            runs.append(bench.load(name, url, rows))
    return found


def wire_bytes(bench: Bench, url: str) -> dict[str, float]:
    """Bytes of requests, heads included, for each row, as the sink counts them."""
    found = {}
    for name in ("ours", "parallel", "parallel_orjson"):
        before = _counts(url)
        bench.load(name, url, 2_000)
        after = _counts(url)
        found[name] = (after["bytes"] - before["bytes"]) / (after["items"] - before["items"])
    return found


def _counts(url: str) -> dict[str, int]:
    with urllib.request.urlopen(url) as reply:  # noqa: S310 - the sink's own address
        counts: dict[str, int] = json.load(reply)
        return counts


def throttled(bench: Bench, rows: int, rounds: int) -> dict[str, list[Facts]]:
    """Complete loads, as the client itself checks, with and without rows that are answered 429."""
    found: dict[str, list[Facts]] = {"without": [], "with": []}
    with running_sink() as plain, running_sink(throttle_every=THROTTLE_EVERY) as busy:
        for number in range(rounds):
            say(f"one row in {THROTTLE_EVERY} answered 429, round {number + 1} of {rounds}")
            found["without"].append(bench.load("ours", plain, rows))
            found["with"].append(bench.load("ours", busy, rows))
    return found


def rounds_at_server(bench: Bench, rows: int, rounds: int) -> dict[str, list[Facts]]:
    found: dict[str, list[Facts]] = {name: [] for name in AT_SERVER}
    with _server() as url, OpenSearch(url, timeout=60) as client:
        _loaded(bench, client, url, "ours", rows)  # what the server has yet to compile
        for number in range(rounds):
            say(f"server, round {number + 1} of {rounds}")
            names = list(found)
            for name in names if number % 2 else reversed(names):
                found[name].append(_loaded(bench, client, url, name, rows))
    return found


@contextmanager
def _server() -> Iterator[str]:
    if url := os.environ.get("OPENSEARCH_URL"):
        yield url
        return
    from tests.opensearch.servers import any_server

    with tempfile.TemporaryDirectory() as folder, any_server(Path(folder)) as started:
        yield started


def _loaded(bench: Bench, client: OpenSearch, url: str, name: str, rows: int) -> Facts:
    """A load into an index of its own, with the settings that an index has during a load."""
    index = f"bench-{uuid.uuid4().hex[:12]}"
    keyword, number = {"type": "keyword"}, {"type": "integer"}
    properties: dict[str, Any] = {
        "doc_id": keyword,
        "content_hash": keyword,
        "split": keyword,
        "vector": {
            "type": "knn_vector",
            "dimension": DIMENSION,
            "method": {"name": "hnsw", "engine": "lucene", "space_type": "innerproduct"},
        },
    } | dict.fromkeys(("chunk", "char_start", "char_end", "n_tokens"), number)
    settings = {
        "knn": True,
        "number_of_replicas": 0,
        "refresh_interval": "-1",
        "knn.advanced.approximate_threshold": -1,
    }
    client.indices.create(
        index=index,
        body={
            "settings": {"index": settings},
            "mappings": {"dynamic": "strict", "properties": properties},
            "aliases": {f"{index}-load": {}},
        },
    )
    try:
        facts = bench.load(name, url, rows, index=f"{index}-load")
        client.indices.refresh(index=index)
        assert client.count(index=index)["count"] == rows
    finally:
        client.indices.delete(index=index)
    return facts
