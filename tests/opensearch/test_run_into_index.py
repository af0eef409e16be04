"""Parquet and index in one pass, on one machine and on several hosts."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest
from opensearchpy import OpenSearch

from embed_job.dataset import Dataset, open_dataset
from embed_job.errors import ExitCode
from embed_job.manifest import SplitManifest
from embed_job.opensearch.load.loader import Loader
from embed_job.opensearch.load.opening import Writer, open_load
from embed_job.opensearch.patience import BRIEF
from embed_job.progress import Progress, SilentProgress
from embed_job.storage import store_for
from tests.functional.conftest import Fleet, Job
from tests.opensearch import corpora
from tests.opensearch.faults import Gate, refuse
from tests.opensearch.loads import SMALL_BULKS, Load, kill, wait_until
from tests.opensearch.proxy import Proxy, Request, Rule


@pytest.fixture
def fresh(corpus: Path, tmp_path: Path, proxy: Proxy, client: OpenSearch, index_name: str) -> Load:
    """The corpus, not embedded yet, and an index behind the proxy."""
    folder = tmp_path / "fresh"
    folder.mkdir()
    shutil.copytree(corpus / "in", folder / "in")
    shutil.copytree(corpus / "bundle", folder / "bundle")
    return Load(folder, proxy.url, client, index_name, {"bulk": SMALL_BULKS})


def run(load: Load, code: int = 0) -> dict[str, Any]:
    done = load.run("--json", "--report", str(load.folder / "report"), command="run")
    assert done.code == code, done.told
    found: dict[str, Any] = orjson.loads(done.output)
    return found


def committed(load: Load) -> int:
    return len(list((load.folder / "out/_embed_job/manifests").glob("*.json")))


def ids(*numbers: int) -> set[str]:
    return {corpora.row_id(number) for number in numbers}


def test_one_pass_fills_both_and_a_second_does_nothing(fresh: Load, calm: Any) -> None:
    report = run(fresh)
    parquet, index = report["outputs"]
    assert (parquet["kind"], index["kind"]) == ("parquet", "opensearch")
    assert index["rows"] == 600
    assert index["index"]["delivery"]["rows"] == 600
    assert index["index"]["delivery"]["requests"] > 6
    assert index["index"]["finished"]
    fresh.assert_whole(calm)
    page = (fresh.folder / "report/report.html").read_text()
    assert "sent to the index" in page
    again = run(fresh)
    assert again["resumed"]["splits_embedded"] == 0
    assert again["outputs"][1]["index"]["delivery"]["rows"] == 0
    fresh.assert_whole(calm)


@pytest.mark.parametrize("status", [401, 403])
def test_what_is_wrong_with_the_cluster_is_found_before_embedding(
    fresh: Load, proxy: Proxy, status: int
) -> None:
    proxy.rules = [Rule(refuse(status), where=lambda _: True, times=None)]
    done = fresh.run("--report", str(fresh.folder / "report"), command="run")
    assert done.code == ExitCode.OUTPUT
    assert "Traceback" not in done.errors
    assert committed(fresh) == 0


def test_an_index_of_another_shape_is_found_before_embedding(fresh: Load) -> None:
    fresh.client.indices.create(index=fresh.index)
    done = fresh.run("--report", str(fresh.folder / "report"), command="run")
    assert done.code == ExitCode.OUTPUT
    assert committed(fresh) == 0


def test_a_failing_cluster_costs_no_embeddings(
    fresh: Load, proxy: Proxy, calm: Any, tmp_path: Path
) -> None:
    fresh.options["bulk"] = SMALL_BULKS | {"deadline_s": 1}
    proxy.rules = [Rule(refuse(503), skip=3, times=None)]
    report = run(fresh, ExitCode.OUTPUT)
    assert "is not complete" in report["problems"][0]
    assert "`embed-job load SPEC` goes on" in report["problems"][0]
    assert report["counts"]["documents"]["written"] == 600
    job = orjson.loads((fresh.folder / "out/_embed_job/job.json").read_bytes())
    assert committed(fresh) == len(job["splits"])
    proxy.rules = []
    (fresh.folder / "bundle").rename(tmp_path / "no-model-is-needed")
    fresh.load()
    fresh.assert_whole(calm)


def test_a_cluster_that_comes_back_is_caught_up_with_at_the_end(
    fresh: Load, proxy: Proxy, calm: Any
) -> None:
    fresh.options["bulk"] = SMALL_BULKS | {"deadline_s": 1}

    def is_away(request: Request) -> bool:
        """Until the first delivery has given up: the next one begins with another request."""
        kinds = [seen.request.is_bulk for seen in proxy.seen]
        return request.is_bulk and all(kinds[kinds.index(True) :])

    proxy.rules = [Rule(refuse(503), where=is_away, times=None)]
    done = fresh.run("--json", "--report", str(fresh.folder / "report"), command="run")
    assert done.code == ExitCode.OK, done.told
    assert "index_tried_again" in done.errors
    fresh.assert_whole(calm)


def test_a_live_index_gets_nothing_of_a_run_that_does_not_count(
    fresh: Load, client: OpenSearch
) -> None:
    fresh.options["alias"] = f"{fresh.index}-live"
    run(fresh)
    client.indices.put_alias(index=fresh.index, name=f"{fresh.index}-live")
    before = fresh.documents()
    twice = corpora.document(3, edition="other ")
    corpora.write_split(fresh.folder, 7, [twice, corpora.document(900)])
    report = run(fresh, ExitCode.INCOMPLETE)
    assert any("is live, so nothing was sent" in problem for problem in report["problems"])
    assert fresh.documents() == before
    corpora.write_split(fresh.folder, 7, [corpora.document(900)])
    run(fresh)
    assert fresh.documents().keys() == ids(*range(600), 900)


def test_a_store_that_fails_costs_neither_parquet_nor_report(fresh: Load) -> None:
    run(fresh)
    corpora.write_split(fresh.folder, 7, [corpora.document(900)])
    in_the_way(fresh.ledger() / "receipts")
    report = run(fresh, ExitCode.OUTPUT)
    assert "Not a directory" in report["problems"][0]
    assert report["counts"]["documents"]["written"] == 601


def in_the_way(folder: Path) -> None:
    """A file where a folder was, which no process can write to or list."""
    shutil.rmtree(folder)
    folder.write_text("")


def loader_of(
    load: Load, splits: Sequence[SplitManifest], progress: Progress | None = None
) -> Loader:
    """A loader of committed splits by itself, as a run has one; load: of a corpus."""
    spec = corpora.spec_for(load.folder, load.url, index=load.index, **load.options)
    opened = open_load(spec, dataset_of(load), Writer.alone("here"))
    return Loader(
        opened,
        splits,
        live=False,
        progress=progress or SilentProgress(),
        stopping=lambda: False,
        first_pause_s=0.1,
    )


def dataset_of(load: Load) -> Dataset:
    return open_dataset(store_for(str(load.folder)), str(load.folder / "out"))


def test_delivery_goes_on_when_the_cluster_is_back(load: Load, proxy: Proxy, calm: Any) -> None:
    load.options["bulk"] = SMALL_BULKS | {"deadline_s": 0.3}
    splits = dataset_of(load).splits
    proxy.rules = [Rule(refuse(503), times=None)]
    with loader_of(load, splits) as loader:
        proxy.wait_for(lambda: tries(proxy) > 2)
        proxy.rules = []
        wait_until(lambda: loader.receipts() == len(splits))
        assert loader.drain() is None
        assert loader.facts.rows == 600
        assert loader.complete(splits, complete=True).exit_code is ExitCode.OK
    load.assert_whole(calm)


class BrokenProgress(SilentProgress):
    def loaded(self, **_: object) -> None:
        raise RuntimeError("a bar that broke")


def test_an_error_of_ours_is_told_and_kept_to_be_raised(load: Load) -> None:
    splits = dataset_of(load).splits
    with loader_of(load, splits, BrokenProgress()) as loader:
        failure = loader.drain()
        assert "an error of embed-job itself: RuntimeError: a bar that broke" in str(failure)
        assert isinstance(loader.bug, RuntimeError)
        result = loader.complete(splits, complete=True)
        assert "is not complete" in result.problems[0]


def tries(proxy: Proxy) -> int:
    """How many deliveries have begun: each with requests that are no bulks."""
    kinds = [seen.request.is_bulk for seen in list(proxy.seen)]
    return sum(later and not before for before, later in pairwise(kinds))


def test_a_killed_run_goes_on_where_it_was(fresh: Load, proxy: Proxy, calm: Any) -> None:
    gate = Gate()
    proxy.rules = [Rule(gate.after(), skip=4, times=None)]
    process = fresh.start("run", "--report", str(fresh.folder / "report"))
    proxy.wait_for(lambda: gate.holding)
    wait_until(lambda: committed(fresh) > 2)
    kill(process)
    gate.open()
    proxy.rules = []
    run(fresh)
    fresh.assert_whole(calm)


def test_a_signal_ends_it_soon_and_the_next_run_goes_on(
    fresh: Load, proxy: Proxy, calm: Any
) -> None:
    gate = Gate()
    proxy.rules = [Rule(gate.before(), skip=4, times=None)]
    process = fresh.start("run", "--report", str(fresh.folder / "report"))
    proxy.wait_for(lambda: gate.holding)
    os.kill(process.pid, signal.SIGTERM)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == ExitCode.TERMINATED, errors
    gate.open()
    proxy.rules = []
    run(fresh)
    fresh.assert_whole(calm)


def test_what_changed_is_sent_and_what_is_gone_is_deleted(fresh: Load) -> None:
    fresh.options["refresh"] = {"max_delete_fraction": 0.2}
    run(fresh)
    corpora.write_split(fresh.folder, 1, map(corpora.document, [*range(100, 150), 900]))
    report = run(fresh)
    assert report["outputs"][1]["index"]["deleted"] == 50
    assert fresh.documents().keys() == ids(*range(150), *range(200, 600), 900)


def test_a_mass_deletion_fails_the_run_and_deletes_nothing(fresh: Load) -> None:
    run(fresh)
    corpora.write_split(fresh.folder, 1, map(corpora.document, range(100, 120)))
    report = run(fresh, ExitCode.INCOMPLETE)
    assert "refresh.max_delete_fraction" in report["problems"][0]
    assert fresh.documents().keys() == ids(*range(600))


@pytest.fixture
def fleet(tmp_path: Path, tiny_bundle: Path, proxy: Proxy, index_name: str) -> Fleet:
    """Jobs on several hosts, with an index behind the proxy as their second output."""
    folder = tmp_path / "fleet"
    folder.mkdir()
    job = Job(folder, tiny_bundle)
    index = {"url": proxy.url, "index": index_name, "graph": {"engine": "lucene"}, "replicas": 0}
    job.spec["outputs"].append({"opensearch": index | {"bulk": SMALL_BULKS}})
    job.write_corpus(files=6, documents=40)
    return Fleet(job)


def found(client: OpenSearch, index: str) -> list[str]:
    client.indices.refresh(index=index)
    body = {"size": 1000, "_source": False}
    return sorted(hit["_id"] for hit in client.search(index=index, body=body)["hits"]["hits"])


def versions(client: OpenSearch, index: str) -> set[int]:
    body = {"size": 1000, "_source": False, "version": True}
    hits = client.search(index=index, body=body)["hits"]["hits"]
    return {hit["_version"] for hit in hits}


@pytest.mark.parametrize("sharing", ["sharded_by_s3_key", "balanced"])
def test_hosts_deliver_what_they_commit_and_the_last_one_finishes(
    fleet: Fleet, client: OpenSearch, index_name: str, sharing: str
) -> None:
    fleet.compute["sharing"] = sharing
    ended = fleet.run("first", hosts=2)
    assert [host.code for host in ended] == [0, 0], ended
    assert found(client, index_name) == sorted(fleet.job.rows())
    assert versions(client, index_name) == {1}, "hosts of one job share a generation"
    report = fleet.report("first")
    index = report["outputs"][1]["index"]
    assert index["finished"]
    assert index["delivery"]["rows"] == 240
    assert report["ok"]


def test_the_end_waits_for_what_another_host_still_delivers(
    fleet: Fleet, proxy: Proxy, client: OpenSearch, index_name: str
) -> None:
    fleet.compute["sharing"] = "balanced"
    fleet.pace["delivery_s"] = 30
    gate = Gate()
    proxy.rules = [Rule(gate.before())]
    running = fleet.start("first", hosts=2)
    fleet.wait_for((fleet.job.output / "_embed_job/job.json").exists)
    time.sleep(1)  # the other host is at its last deed
    gate.open()
    ended = fleet.wait(running)
    assert [host.code for host in ended] == [0, 0], ended
    assert len(proxy.sent()) == 240, "no row was sent twice"
    report = fleet.report("first")
    assert report["outputs"][1]["index"]["delivery"]["rows"] == 240
    assert all(host["ended"] for host in report["hosts"])


def test_a_host_that_is_gone_is_not_waited_for(
    fleet: Fleet, proxy: Proxy, client: OpenSearch, index_name: str
) -> None:
    fleet.compute["sharing"] = "balanced"
    fleet.pace["delivery_s"] = 1
    gate = Gate()
    proxy.rules = [Rule(gate.before())]
    fleet.submit("first", hosts=2)
    dying = fleet.start_host("first", rank=0, hosts=2)
    proxy.wait_for(lambda: gate.holding)
    os.killpg(dying.process.pid, signal.SIGKILL)
    gate.open()
    (other,) = fleet.wait([fleet.start_host("first", rank=1, hosts=2)])
    assert other.code == 0, other.errors
    assert found(client, index_name) == sorted(fleet.job.rows())


def test_a_host_whose_ledger_fails_leaves_word_and_the_job_ends(
    fleet: Fleet, client: OpenSearch, index_name: str
) -> None:
    fleet.run("first", hosts=1)
    fleet.job.write("new.jsonl", [{"id": "new", "text": "a new one."}])
    (ledger,) = (fleet.job.output / "_embed_job/loads").iterdir()
    in_the_way(ledger / "receipts")
    (host,) = fleet.run("second", hosts=1)
    assert host.code == ExitCode.OUTPUT, host.errors
    assert host.outcome["finalized"]
    assert len(fleet.job.rows()) == 241
    assert any("index failed" in line for line in fleet.report("second")["warnings"])


def test_hosts_wait_for_a_cluster_that_is_away_at_first(
    fleet: Fleet, proxy: Proxy, client: OpenSearch, index_name: str
) -> None:
    proxy.rules = [Rule(refuse(503), where=lambda _: True, times=None)]
    running = fleet.start("first", hosts=1)
    proxy.wait_for(lambda: proxy.seen)
    time.sleep(BRIEF.limit_s)
    proxy.rules = []
    (host,) = fleet.wait(running)
    assert host.code == 0, host.errors
    assert found(client, index_name) == sorted(fleet.job.rows())


def test_a_host_without_files_does_not_make_the_index(
    fleet: Fleet, client: OpenSearch, index_name: str
) -> None:
    fleet.submit("first", hosts=9)
    (idle,) = fleet.wait([fleet.start_host("first", rank=8, hosts=9)])
    assert idle.code == 0, idle.errors
    assert not client.indices.exists(index=index_name)
    ended = fleet.wait([fleet.start_host("first", rank=rank, hosts=9) for rank in range(8)])
    assert {host.code for host in ended} == {0}, ended
    assert found(client, index_name) == sorted(fleet.job.rows())


def test_the_host_that_ends_the_job_makes_up_for_one_whose_delivery_failed(
    fleet: Fleet, proxy: Proxy, client: OpenSearch, index_name: str
) -> None:
    fleet.job.spec["outputs"][1]["opensearch"]["bulk"] = SMALL_BULKS | {"deadline_s": 0.5}
    fleet.submit("first", hosts=2)
    proxy.rules = [Rule(refuse(503), times=None)]
    (one,) = fleet.wait([fleet.start_host("first", rank=0, hosts=2)])
    assert one.code == 0, one.errors
    proxy.rules = []
    (other,) = fleet.wait([fleet.start_host("first", rank=1, hosts=2)])
    assert other.code == 0, other.errors
    assert other.outcome["finalized"]
    assert found(client, index_name) == sorted(fleet.job.rows())
    assert any("index failed" in line for line in fleet.report("first")["warnings"])


def test_a_cluster_that_stays_away_fails_the_job_but_not_its_parquet(
    fleet: Fleet, proxy: Proxy, client: OpenSearch, index_name: str
) -> None:
    fleet.job.spec["outputs"][1]["opensearch"]["bulk"] = SMALL_BULKS | {"deadline_s": 0.5}
    proxy.rules = [Rule(refuse(503), times=None)]
    (host,) = fleet.run("first", hosts=1)
    assert host.code == ExitCode.OUTPUT, host.errors
    assert "`embed-job load SPEC` goes on" in host.outcome["problems"][0]
    assert (fleet.job.output / "_embed_job/job.json").exists()
    proxy.rules = []
    (again,) = fleet.run("second", hosts=1)
    assert again.code == 0, again.errors
    assert again.outcome["documents"] == 0
    assert found(client, index_name) == sorted(fleet.job.rows())


def test_a_hosts_death_in_the_middle_is_made_up_for_by_the_next_job(
    fleet: Fleet, proxy: Proxy, client: OpenSearch, index_name: str
) -> None:
    gate = Gate()
    proxy.rules = [Rule(gate.after(), skip=2, times=None)]
    (running,) = fleet.start("first", hosts=1)
    proxy.wait_for(lambda: gate.holding)
    os.killpg(running.process.pid, signal.SIGKILL)
    gate.open()
    proxy.rules = []
    (again,) = fleet.run("second", hosts=1)
    assert again.code == 0, again.errors
    assert found(client, index_name) == sorted(fleet.job.rows())


def test_hosts_that_reach_nothing_can_not_have_an_index(fleet: Fleet) -> None:
    fleet.compute["delivery"] = "processing_output"
    (host,) = fleet.run("first", hosts=1)
    assert host.code == ExitCode.USAGE
    assert "compute.delivery" in host.errors
