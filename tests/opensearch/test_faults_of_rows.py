"""Faults 12-14, 25 and 26: rows that no index takes, and indexes that are not as they were."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from opensearchpy import OpenSearch

from tests.opensearch import corpora, faults
from tests.opensearch.loads import SMALL_BULKS, Load, Undisturbed, ended
from tests.opensearch.proxy import Proxy, Rule

REFUSED = ["d000020", "d000041", "d000062"]
YEAR_20000_US = 568_971_820_800_000_000
"""Which fits into Parquet, but into no date of the server's."""


def test_fault_12_rows_that_the_index_refuses_are_dead_letters_and_the_rest_lands(
    tmp_path: Path, opensearch_url: str, client: OpenSearch, index_name: str
) -> None:
    corpora.make_output(tmp_path, rows=120, dim=16, splits=3)
    options = {"bulk": SMALL_BULKS, "gates": {"max_rejected_fraction": 0.05}}
    undisturbed = Load(tmp_path, opensearch_url, client, f"{index_name}-calm", options)
    undisturbed.load()
    calm = undisturbed.state()

    corpora.damage_row(tmp_path, REFUSED[0], vector=[float("nan"), *[0.25] * 15])
    corpora.damage_row(tmp_path, REFUSED[1], score=float("inf"))
    corpora.damage_row(tmp_path, REFUSED[2], at=YEAR_20000_US)
    load = Load(tmp_path, opensearch_url, client, index_name, options)
    load.load()
    load.assert_whole(calm, refused=REFUSED)
    letters = {letter["id"]: letter for letter in load.letters()}
    assert "vector" in letters[REFUSED[0]]["detail"]
    assert "score" in letters[REFUSED[1]]["detail"]
    # Only the server knows that this one is wrong.
    assert letters[REFUSED[2]]["status"] == 400
    assert "failed to parse field [at]" in letters[REFUSED[2]]["detail"]


def test_fault_12_more_refused_rows_than_the_gate_allows_are_no_success(
    tmp_path: Path, opensearch_url: str, client: OpenSearch, index_name: str
) -> None:
    corpora.make_output(tmp_path, rows=40, dim=16, splits=2)
    corpora.damage_row(tmp_path, "d000007", vector=[float("nan"), *[0.25] * 15])
    load = Load(tmp_path, opensearch_url, client, index_name)
    failed = load.run()
    assert failed.code == 6, failed.told
    assert "max_rejected_fraction" in failed.told
    assert len(load.documents()) == 39


def test_fault_13_an_index_that_vanishes_is_not_made_by_the_server(
    proxy: Proxy, load: Load, client: OpenSearch, calm: Undisturbed
) -> None:
    gate = faults.Gate()
    proxy.rules = [Rule(gate.before(), skip=3, times=None)]
    process = load.start()
    proxy.wait_for(lambda: gate.holding)
    client.indices.delete(index=load.index)
    gate.open()
    failed = ended(process)
    assert failed.code == 4, failed.told
    assert "Traceback" not in failed.told
    assert not client.indices.exists(index=load.index), "made by the server, with its own mapping"

    proxy.rules = []
    load.load()
    load.assert_whole(calm)


def test_fault_14_a_block_of_the_full_disk_is_waited_out(
    proxy: Proxy, load: Load, client: OpenSearch, calm: Undisturbed
) -> None:
    """The block is the server's own; the proxy only says when it is put on."""
    gate = faults.Gate()
    proxy.rules = [Rule(gate.before(), skip=4)]
    process = load.start()
    proxy.wait_for(lambda: gate.holding)
    block = "index.blocks.read_only_allow_delete"
    client.indices.put_settings(index=load.index, body={block: True})
    gate.open()
    time.sleep(3)
    assert process.poll() is None
    blocked = len(proxy.bulks())
    client.indices.put_settings(index=load.index, body={block: None})
    done = ended(process)
    assert done.code == 0, done.told
    assert blocked < 60
    assert load.letters() == []
    load.assert_whole(calm)


def test_fault_14_a_block_that_stays_ends_the_load_which_resumes(
    proxy: Proxy, load: Load, client: OpenSearch, calm: Undisturbed
) -> None:
    load.options["bulk"] = SMALL_BULKS | {"deadline_s": 2}
    gate = faults.Gate()
    proxy.rules = [Rule(gate.before(), skip=4)]
    process = load.start()
    proxy.wait_for(lambda: gate.holding)
    block = "index.blocks.read_only_allow_delete"
    client.indices.put_settings(index=load.index, body={block: True})
    gate.open()
    failed = ended(process)
    assert failed.code == 4, failed.told
    assert "disk" in failed.told
    client.indices.put_settings(index=load.index, body={block: None})
    load.load()
    load.assert_whole(calm)


def test_fault_25_a_partial_listing_of_the_source_deletes_nothing(
    tmp_path: Path, opensearch_url: str, client: OpenSearch, index_name: str
) -> None:
    corpora.make_output(tmp_path, rows=200, dim=16, splits=5)
    load = Load(tmp_path, opensearch_url, client, index_name, {"bulk": SMALL_BULKS})
    load.load()
    before = load.state()

    for lost in ("001", "002", "004"):
        (tmp_path / f"in/{lost}.jsonl").unlink()
    corpora.embed(tmp_path)
    failed = load.run()
    assert failed.code == 6, failed.told
    assert "max_delete_fraction" in failed.told
    assert load.state() == before

    corpora.write_corpus(tmp_path, rows=200, splits=5)
    corpora.embed(tmp_path)
    load.load()
    load.assert_whole(before)


def test_fault_25_a_deletion_below_the_limit_is_done(
    tmp_path: Path, opensearch_url: str, client: OpenSearch, index_name: str
) -> None:
    corpora.make_output(tmp_path, rows=200, dim=16, splits=5)
    options = {"bulk": SMALL_BULKS, "refresh": {"max_delete_fraction": 0.25}}
    load = Load(tmp_path, opensearch_url, client, index_name, options)
    load.load()
    (tmp_path / "in/001.jsonl").unlink()
    corpora.embed(tmp_path)
    undisturbed = Load(tmp_path, opensearch_url, client, f"{index_name}-calm", options)
    undisturbed.load()
    load.load()
    calm = undisturbed.state()
    assert len(calm.documents) == 160
    load.assert_whole(calm)


@pytest.mark.parametrize(
    ("dim", "seed"), [(24, 7), (16, 8)], ids=["another dimension", "another model"]
)
def test_fault_26_another_model_never_gets_into_the_index(
    tmp_path: Path, opensearch_url: str, client: OpenSearch, index_name: str, dim: int, seed: int
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    corpora.make_output(old, rows=60, dim=16, splits=2)
    load = Load(old, opensearch_url, client, index_name)
    load.load()
    before = load.state()

    corpora.write_corpus(new, rows=60, splits=2)
    corpora.make_bundle(new, dim=dim, seed=seed)
    corpora.embed(new)
    refused = Load(new, opensearch_url, client, index_name).run()
    assert refused.code == 4, refused.told
    assert ("dimension" if dim == 24 else "fingerprint") in refused.told
    load.assert_whole(before)
