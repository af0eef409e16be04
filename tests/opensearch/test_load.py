"""``embed-job load`` against a real server: again, after losses, after changes, at once."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import orjson
import pytest
from opensearchpy import OpenSearch

from embed_job.errors import ExitCode
from tests.opensearch import corpora
from tests.opensearch.faults import Gate, refuse
from tests.opensearch.loads import SMALL_BULKS, Load, Undisturbed, ended
from tests.opensearch.proxy import Proxy, Rule


@pytest.fixture
def own(
    corpus: Path, tmp_path: Path, opensearch_url: str, client: OpenSearch, index_name: str
) -> Load:
    """A load of a copy of the corpus, which a test may change."""
    folder = tmp_path / "own"
    shutil.copytree(corpus, folder)
    shutil.rmtree(folder / "out")
    corpora.embed(folder)
    return Load(folder, opensearch_url, client, index_name, {"bulk": SMALL_BULKS})


def facts(load: Load, *arguments: str, code: int = 0) -> dict[str, Any]:
    done = load.run("--json", *arguments)
    assert done.code == code, done.told
    found: dict[str, Any] = orjson.loads(done.output)
    return found


def versions(load: Load) -> set[int]:
    """The generations that documents were written with."""
    load.client.indices.refresh(index=load.index)
    body = {"size": 1000, "version": True, "_source": False}
    hits = load.client.search(index=load.index, body=body)["hits"]["hits"]
    return {hit["_version"] for hit in hits}


def test_a_load_needs_no_model_and_a_second_one_does_nothing(
    load: Load, calm: Undisturbed, tmp_path: Path
) -> None:
    bundle = load.folder / "bundle"
    bundle.rename(tmp_path / "away")
    try:
        first = facts(load)
        second = load.run()
    finally:
        (tmp_path / "away").rename(bundle)
    index = first["index"]
    assert first["ok"]
    assert index["rows"] == {"read": 600, "written": 600, "rejected": 0, "skipped": 0}
    assert index["splits"] == index["splits_loaded"] == index["delivery"]["splits"]
    assert index["finished"]
    assert second.code == ExitCode.OK
    assert "all were loaded before, so nothing was to do" in second.output
    assert len(list((load.ledger() / "generations").iterdir())) == 1
    load.assert_whole(calm)


def test_lost_documents_are_found_by_count_and_sent_again(load: Load, calm: Undisturbed) -> None:
    load.load()
    load.client.delete(index=load.index, id=corpora.row_id(7), refresh=True)
    index = facts(load)["index"]
    assert index["splits_again"] == index["delivery"]["splits"] == 1
    load.assert_whole(calm)


def test_an_index_deleted_and_made_anew_is_loaded_from_the_beginning(
    load: Load, calm: Undisturbed
) -> None:
    load.load()
    load.client.indices.delete(index=load.index)
    index = facts(load)["index"]
    assert index["created"]
    assert index["delivery"]["rows"] == 600
    load.assert_whole(calm)


def test_all_sends_every_row_again_with_a_later_generation(load: Load, calm: Undisturbed) -> None:
    load.load()
    assert versions(load) == {1}
    assert facts(load, "--all")["index"]["delivery"]["rows"] == 600
    assert versions(load) == {2}
    load.assert_whole(calm)


def test_an_unfinished_load_is_finished_by_the_next(load: Load, calm: Undisturbed) -> None:
    index = facts(load, "--no-finish")["index"]
    assert not index["finished"]
    assert load.meta()["profile"] is not None
    again = facts(load)["index"]
    assert again["finished"]
    assert again["delivery"]["rows"] == 0
    load.assert_whole(calm)


def test_what_the_output_no_longer_holds_is_deleted_after_the_rest_is_there(own: Load) -> None:
    own.options["refresh"] = {"max_delete_fraction": 0.2}
    own.load()
    kept = [corpora.document(number) for number in range(50)]
    corpora.write_split(own.folder, 0, [*kept, corpora.document(900)])
    corpora.embed(own.folder)
    index = facts(own)["index"]
    assert index["deleted"] == 50
    expected = {*range(50), 900, *range(100, 600)}
    assert own.documents().keys() == {corpora.row_id(number) for number in expected}
    live = {origin for one in own.dataset().splits for origin in one.origins}
    assert {one["origin"] for one in own.receipts()} == live
    assert facts(own)["index"]["delivery"]["rows"] == 0


def test_documents_of_an_earlier_attempt_at_a_split_go(load: Load, calm: Undisturbed) -> None:
    load.load()
    facts(load, "--all")
    some = load.client.get(index=load.index, id=corpora.row_id(3))["_source"]
    load.client.index(
        index=load.index,
        id="left-over",
        body=some | {"doc_id": "left-over"},
        params={"version": 1, "version_type": "external_gte", "refresh": "true"},
    )
    assert facts(load)["index"]["deleted"] == 1
    load.assert_whole(calm)


def test_an_output_that_is_not_complete_is_loaded_but_deletes_nothing(own: Load) -> None:
    own.load()
    before = own.settings()
    corpora.write_split(own.folder, 0, [corpora.document(901)])
    corpora.embed(own.folder)
    (own.folder / "out/_embed_job/job.json").unlink()
    found = facts(own, code=ExitCode.INCOMPLETE)
    assert "finished once the output is complete" in found["problems"][0]
    assert own.documents().keys() == {corpora.row_id(n) for n in [*range(600), 901]}
    assert own.settings() == before
    assert own.meta()["profile"] is None


def test_an_index_of_another_output_is_refused(own: Load, load: Load) -> None:
    load.load()
    done = own.run()
    assert done.code == ExitCode.OUTPUT
    assert "holds 600 documents, but none that this output has sent" in done.errors


def test_of_two_loads_at_once_the_older_is_fenced_and_stops(
    load: Load, proxy: Proxy, opensearch_url: str, calm: Undisturbed
) -> None:
    gate = Gate()
    proxy.rules = [Rule(gate.before(), skip=2, times=None)]
    older = load.start()
    proxy.wait_for(lambda: gate.holding)
    later = Load(load.folder, opensearch_url, load.client, load.index, load.options)
    assert facts(later)["ok"]
    gate.open()
    done = ended(older)
    assert done.code == ExitCode.OUTPUT, done.told
    assert "later" in done.errors
    load.assert_whole(calm)
    assert versions(load) <= {1, 2}


def test_nothing_that_answers_and_no_output_are_told_of(load: Load, tmp_path: Path) -> None:
    load.url = "http://127.0.0.1:9"
    nobody = load.run()
    load.folder = tmp_path
    nothing = load.run()
    assert [nobody.code, nothing.code] == [ExitCode.OUTPUT] * 2
    assert "127.0.0.1:9" in nobody.errors
    assert "nothing is committed there yet" in nothing.errors
    assert "Traceback" not in nobody.errors + nothing.errors


def test_a_cluster_that_refuses_who_asks_is_told_of(load: Load, proxy: Proxy) -> None:
    proxy.rules = [Rule(refuse(403), where=lambda _: True, times=None)]
    done = load.run()
    assert done.code == ExitCode.OUTPUT
    assert "access was refused" in done.errors
