"""A load that is killed ten times, at moments that nobody has chosen."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from opensearchpy import OpenSearch

from tests.opensearch import corpora, faults
from tests.opensearch.loads import SMALL_BULKS, Load, Undisturbed, kill
from tests.opensearch.proxy import Proxy, Request, Rule

KILLS = 10


def test_a_load_killed_ten_times_at_random_moments_completes(
    tmp_path: Path, proxy: Proxy, opensearch_url: str, client: OpenSearch, index_name: str
) -> None:
    corpora.make_output(tmp_path, rows=2000, dim=16, splits=40)
    options = {"bulk": SMALL_BULKS}
    undisturbed = Load(tmp_path, opensearch_url, client, f"{index_name}-calm", options)
    undisturbed.load()
    load = Load(tmp_path, proxy.url, client, index_name, options)
    chance = random.Random(20261121)
    for _ in range(KILLS):
        proxy.seen.clear()
        process = load.start()
        awaited = chance.randint(1, 25)
        proxy.wait_for(lambda n=awaited: len(proxy.seen) >= n)
        time.sleep(chance.uniform(0, 0.1))
        assert process.poll() is None, "it was done before it could be killed"
        kill(process)
    load.load()
    load.assert_whole(undisturbed.state())


def merges(request: Request) -> bool:
    return "/_forcemerge" in request.target


def restores(request: Request) -> bool:
    return request.method == "PUT" and b'"index.refresh_interval":null' in request.body


@pytest.mark.parametrize("where", [merges, restores])
def test_a_load_killed_while_it_finishes_is_finished_by_the_next(
    proxy: Proxy, load: Load, calm: Undisturbed, where: Callable[[Request], bool]
) -> None:
    gate = faults.Gate()
    proxy.rules = [Rule(gate.before(), where=where, times=None)]
    process = load.start()
    proxy.wait_for(lambda: gate.holding)
    kill(process)
    assert load.meta()["profile"] is not None
    gate.open()
    proxy.rules, proxy.seen = [], []
    load.load()
    assert not proxy.bulks()
    load.assert_whole(calm)
