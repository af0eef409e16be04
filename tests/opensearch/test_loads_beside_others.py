"""Loads that end while another is at work on the same output or index, or while one is stopped."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path
from typing import Any

import orjson
import pytest
from opensearchpy import OpenSearch

from embed_job.errors import ExitCode
from tests.opensearch import corpora
from tests.opensearch.faults import Gate
from tests.opensearch.loads import SMALL_BULKS, Load, Undisturbed, ended
from tests.opensearch.proxy import Proxy, Request, Rule, running_proxy

REFRESH = "index.refresh_interval"


@pytest.fixture
def own(corpus: Path, tmp_path: Path, proxy: Proxy, client: OpenSearch, index_name: str) -> Load:
    """An index of a copy of the corpus, which a test may change; through the proxy."""
    folder = tmp_path / "own"
    shutil.copytree(corpus, folder)
    shutil.rmtree(folder / "out")
    corpora.embed(folder)
    options = {"bulk": SMALL_BULKS, "refresh": {"max_delete_fraction": 0.5}}
    load = Load(folder, proxy.url, client, index_name, options)
    load.load()
    return load


def job_of(load: Load) -> Path:
    return load.folder / "out/_embed_job/job.json"


def opens_view(request: Request) -> bool:
    """What comes between counting what is to be deleted and deleting it."""
    return "point_in_time" in request.target and request.method == "POST"


def facts(load: Load, *arguments: str, code: int = 0) -> dict[str, Any]:
    done = load.run("--json", *arguments)
    assert done.code == code, done.told
    found: dict[str, Any] = orjson.loads(done.output)
    return found


def test_rows_of_a_run_that_has_not_committed_its_job_are_left_alone(own: Load) -> None:
    before = job_of(own).read_bytes()
    corpora.write_split(own.folder, 6, map(corpora.document, range(700, 740)))
    corpora.embed(own.folder)
    assert facts(own, "--no-finish")["index"]["rows"]["written"] == 640
    after = job_of(own).read_bytes()
    # As of now that run has streamed all its rows, and is about to commit its job.
    job_of(own).write_bytes(before)
    generations = list((own.ledger() / "generations").iterdir())
    found = facts(own, code=ExitCode.INCOMPLETE)
    assert "another run is under way" in found["problems"][0]
    assert (found["index"]["deleted"], found["index"]["finished"]) == (0, False)
    assert len(own.documents()) == 640
    assert own.settings()[REFRESH] == "-1"
    assert list((own.ledger() / "generations").iterdir()) == generations
    job_of(own).write_bytes(after)
    assert facts(own)["index"]["finished"]
    assert len(own.documents()) == 640


def test_nothing_is_deleted_once_another_run_has_committed_what_was_to_go(
    own: Load, proxy: Proxy
) -> None:
    manifests = job_of(own).with_name("manifests")
    job, kept = (
        job_of(own).read_bytes(),
        {one.name: one.read_bytes() for one in manifests.iterdir()},
    )
    (own.folder / "in/000.jsonl").unlink()
    corpora.embed(own.folder)
    gate = Gate()
    proxy.rules = [Rule(gate.before(), where=opens_view)]
    process = own.start("load", "--json")
    proxy.wait_for(lambda: gate.holding)
    for name, data in kept.items():
        (manifests / name).write_bytes(data)
    job_of(own).write_bytes(job)
    gate.open()
    done = ended(process)
    assert done.code == ExitCode.INCOMPLETE, done.told
    assert "another run has committed it during this load" in done.output
    assert len(own.documents()) == 600


def test_a_signal_between_counting_and_deleting_is_no_success(own: Load, proxy: Proxy) -> None:
    (own.folder / "in/000.jsonl").unlink()
    corpora.embed(own.folder)
    gate = Gate()
    proxy.rules = [Rule(gate.before(), where=opens_view)]
    process = own.start("load", "--json")
    proxy.wait_for(lambda: gate.holding)
    process.send_signal(signal.SIGTERM)
    gate.open()
    done = ended(process)
    assert done.code == ExitCode.TERMINATED, done.told
    found = orjson.loads(done.output)
    assert "loaded but not finished" in found["problems"][0]
    assert (found["index"]["deleted"], found["index"]["finished"]) == (0, False)
    assert len(own.documents()) == 600
    assert facts(own)["index"]["deleted"] == 100
    assert len(own.documents()) == 500


def test_a_fenced_load_leaves_the_settings_to_the_later_one(
    load: Load, proxy: Proxy, opensearch_url: str, calm: Undisturbed
) -> None:
    older_gate, later_gate = Gate(), Gate()
    proxy.rules = [Rule(older_gate.before(), skip=2, times=None)]
    older = load.start()
    proxy.wait_for(lambda: older_gate.holding)
    with running_proxy(opensearch_url) as other:
        other.rules = [Rule(later_gate.before(), skip=10, times=None)]
        later = Load(load.folder, other.url, load.client, load.index, load.options)
        process = later.start()
        other.wait_for(lambda: later_gate.holding)
        older_gate.open()
        assert ended(older).code == ExitCode.OUTPUT
        assert load.settings()[REFRESH] == "-1"
        assert load.meta()["profile"] is not None
        later_gate.open()
        done = ended(process)
    assert done.code == ExitCode.OK, done.told
    load.assert_whole(calm)


def test_a_load_that_a_later_one_follows_does_not_end_that_one_s_settings(
    load: Load, proxy: Proxy, opensearch_url: str, calm: Undisturbed
) -> None:
    """The later one is held before its first row; the older one has sent all of its own."""
    older_gate, later_gate = Gate(), Gate()

    def counts(request: Request) -> bool:
        return request.target.startswith(f"/{load.index}/_search")

    proxy.rules = [Rule(older_gate.before(), where=counts)]
    older = load.start("load", "--json")
    proxy.wait_for(lambda: older_gate.holding)
    with running_proxy(opensearch_url) as other:
        other.rules = [Rule(later_gate.before(), times=None)]
        later = Load(load.folder, other.url, load.client, load.index, load.options)
        process = later.start("load", "--all")
        other.wait_for(lambda: later_gate.holding)
        older_gate.open()
        done = ended(older)
        assert done.code == ExitCode.INCOMPLETE, done.told
        assert "a later load of this index has begun" in orjson.loads(done.output)["problems"][0]
        assert load.settings()[REFRESH] == "-1"
        later_gate.open()
        last = ended(process)
    assert last.code == ExitCode.OK, last.told
    load.assert_whole(calm)


def test_a_document_that_nobody_has_sent_goes_whatever_its_generation(
    load: Load, calm: Undisturbed
) -> None:
    load.load()
    some = load.client.get(index=load.index, id=corpora.row_id(3))["_source"]
    load.client.index(
        index=load.index,
        id="ghost",
        body=some | {"doc_id": "ghost"},
        params={"version": 1, "version_type": "external_gte", "refresh": "true"},
    )
    assert facts(load)["index"]["deleted"] == 1
    load.assert_whole(calm)


def test_receipts_of_splits_that_are_gone_go_too(load: Load, calm: Undisturbed) -> None:
    load.load()
    receipts = load.ledger() / "receipts"
    live = {path.name for path in receipts.iterdir()}
    left = orjson.loads((receipts / min(live)).read_bytes()) | {"origin": "0" * 16}
    (receipts / f"{'0' * 16}.json").write_bytes(orjson.dumps(left))
    load.load()
    assert {path.name for path in receipts.iterdir()} == live
    load.assert_whole(calm)
