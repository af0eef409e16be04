"""Parquet and index in one pass, on one machine and on several hosts."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import orjson
import pytest
from opensearchpy import OpenSearch

from embed_job.errors import ExitCode
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
    fresh.options["gates"] = {"max_delete_fraction": 0.2}
    run(fresh)
    corpora.write_split(fresh.folder, 1, map(corpora.document, [*range(100, 150), 900]))
    report = run(fresh)
    assert report["outputs"][1]["index"]["deleted"] == 50
    assert fresh.documents().keys() == ids(*range(150), *range(200, 600), 900)


def test_a_mass_deletion_fails_the_run_and_deletes_nothing(fresh: Load) -> None:
    run(fresh)
    corpora.write_split(fresh.folder, 1, map(corpora.document, range(100, 120)))
    report = run(fresh, ExitCode.INCOMPLETE)
    assert "gates.max_delete_fraction" in report["problems"][0]
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
