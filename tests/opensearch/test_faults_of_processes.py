"""Faults 16, 19 and 30: loaders that are killed, that sleep too long, whose clock is wrong."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from opensearchpy import OpenSearch

from tests.opensearch import corpora, faults
from tests.opensearch.loads import SMALL_BULKS, Load, Undisturbed, ended, kill
from tests.opensearch.proxy import Proxy, Rule


@pytest.mark.parametrize("applied", [False, True], ids=["before it is applied", "after"])
def test_fault_16_sigkill_before_a_receipt_is_replayed_without_duplicates(
    proxy: Proxy, load: Load, calm: Undisturbed, applied: bool
) -> None:
    gate = faults.Gate()
    proxy.rules = [Rule(gate.after() if applied else gate.before(), skip=5, times=None)]
    process = load.start()
    proxy.wait_for(lambda: gate.holding)
    kill(process)
    held = [one.id for seen in proxy.bulks()[5:] for one in seen.request.operations()]
    gate.open()
    assert held
    assert not set(held) & load.rows_with_receipt()

    proxy.rules, proxy.seen = [], []
    load.load()
    assert set(held) <= set(proxy.sent())
    load.assert_whole(calm)


def test_fault_19_a_loader_that_wakes_after_a_takeover_is_fenced(
    tmp_path: Path, proxy: Proxy, opensearch_url: str, client: OpenSearch, index_name: str
) -> None:
    corpora.make_output(tmp_path, rows=300, dim=16, splits=3)
    options = {"bulk": SMALL_BULKS}
    gate = faults.Gate()
    proxy.rules = [Rule(gate.before(), skip=2, times=None)]
    asleep = Load(tmp_path, proxy.url, client, index_name, options).start()
    proxy.wait_for(lambda: gate.holding)
    os.killpg(asleep.pid, signal.SIGSTOP)

    corpora.write_corpus(tmp_path, rows=300, splits=3, edition="lazy fox, ")
    corpora.embed(tmp_path)
    takeover = Load(tmp_path, opensearch_url, client, index_name, options)
    takeover.load()
    undisturbed = Load(tmp_path, opensearch_url, client, f"{index_name}-calm", options)
    undisturbed.load()
    calm = undisturbed.state()
    takeover.assert_whole(calm)

    gate.open()
    os.killpg(asleep.pid, signal.SIGCONT)
    fenced = ended(asleep)
    assert fenced.code == 4, fenced.told
    assert "later" in fenced.told
    late = [seen for seen in proxy.bulks() if b'"status":409' in seen.reply]
    assert late, "the loader that woke up wrote nothing"
    takeover.assert_whole(calm)


def test_fault_30_the_later_of_two_loads_wins_though_the_clock_jumped_back(
    tmp_path: Path, opensearch_url: str, client: OpenSearch, index_name: str
) -> None:
    corpora.make_output(tmp_path, rows=120, dim=16, splits=3)
    load = Load(tmp_path, opensearch_url, client, index_name, {"bulk": SMALL_BULKS})
    load.clock_shift_s = 30 * 86_400
    load.load()
    first = max(receipt["finished_at"] for receipt in load.receipts())

    load.clock_shift_s = 0
    corpora.write_corpus(tmp_path, rows=120, splits=3, edition="lazy fox, ")
    corpora.embed(tmp_path)
    load.load()
    assert min(receipt["finished_at"] for receipt in load.receipts()) < first - 86_400
    undisturbed = Load(tmp_path, opensearch_url, client, f"{index_name}-calm", load.options)
    undisturbed.load()
    calm = undisturbed.state()
    assert all("lazy fox," in document["text"] for document in calm.documents.values())
    load.assert_whole(calm)
