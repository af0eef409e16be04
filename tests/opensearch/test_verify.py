"""Each of the nine checks of an index fails on one that was damaged for it, and alone where the
damage allows."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from opensearchpy import OpenSearch, RequestError

from embed_job.dataset.verify import Check
from embed_job.errors import ExitCode, OutputError
from embed_job.manifest import origin_of
from embed_job.opensearch import check
from embed_job.opensearch.check import SAMPLED_ROWS, verify_index
from embed_job.opensearch.check.identity import compare_ids
from embed_job.opensearch.check.keys import no_hashes
from embed_job.opensearch.check.record import last_verified
from embed_job.opensearch.check.sample import draw_sample
from embed_job.opensearch.check.subject import open_subject
from embed_job.opensearch.index.meta import META
from embed_job.opensearch.index.profile import THRESHOLD
from embed_job.opensearch.load.ledger import LoadLedger
from embed_job.opensearch.load.letters import IndexLetter
from embed_job.opensearch.load.origins import own_origin
from embed_job.opensearch.target import VECTOR, IndexTarget
from tests.opensearch.corpora import make_output, spec_file, spec_for
from tests.opensearch.faults import reset_after
from tests.opensearch.loading import Loaded, embed_job, load, printed
from tests.opensearch.proxy import Answer, Forward, Proxy, Request, Rule
from tests.opensearch.serverless_stand_in import serverless_stand_in

ROWS = 400


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("verify")
    make_output(made, rows=ROWS)
    return made


@pytest.fixture
def loaded(client: OpenSearch, opensearch_url: str, index_name: str, folder: Path) -> Loaded:
    return load(client, spec_for(folder, opensearch_url, alias=index_name))


def examine(loaded: Loaded) -> dict[str, Check]:
    checks = verify_index(loaded.client, loaded.target, loaded.dataset)
    return {one.name: one for one in checks}


def failed(loaded: Loaded) -> set[str]:
    return {name for name, one in examine(loaded).items() if not one.ok}


def sampled(loaded: Loaded) -> list[str]:
    return draw_sample(loaded.dataset, no_hashes(), count=SAMPLED_ROWS).ids


def unsampled(loaded: Loaded) -> list[str]:
    """Ids of rows that no check looks at one by one."""
    drawn = set(sampled(loaded))
    ids = loaded.dataset.iter_rows(columns=["id"])
    return [row_id for batch in ids for row_id in batch["id"].to_pylist() if row_id not in drawn]


def ledger_of(loaded: Loaded) -> LoadLedger:
    ledger = open_subject(loaded.client, loaded.target, loaded.dataset).ledger
    assert ledger is not None
    return ledger


def meta_in(loaded: Loaded) -> dict[str, Any]:
    mapping = loaded.client.indices.get_mapping(index=loaded.name)
    meta: dict[str, Any] = mapping[loaded.name]["mappings"]["_meta"]
    return meta


def rebuild(
    loaded: Loaded,
    change: Callable[[dict[str, Any]], object],
    each: Callable[[dict[str, Any]], object] | None = None,
) -> None:
    """Make the index anew with something changed in its mapping, and in each document."""
    client, name = loaded.client, loaded.name
    found = client.indices.get(index=name)[name]
    hits = client.search(index=name, body={"size": ROWS})["hits"]["hits"]
    kept = {"index.knn", "index.knn.advanced.approximate_threshold", "index.number_of_replicas"}
    flat = client.indices.get_settings(index=name, params={"flat_settings": "true"})
    settings = {key: value for key, value in flat[name]["settings"].items() if key in kept}
    change(found["mappings"])
    client.indices.delete(index=name)
    client.indices.create(index=name, body={"settings": settings, "mappings": found["mappings"]})
    lines: list[dict[str, Any]] = []
    for hit in hits:
        if each is not None:
            each(hit["_source"])
        lines += [{"index": {"_id": hit["_id"]}}, hit["_source"]]
    answer = client.bulk(index=name, body=lines, params={"refresh": "true"})
    assert not answer["errors"], answer["items"][0]


def test_an_index_as_loaded_passes_all_nine(loaded: Loaded) -> None:
    checks = examine(loaded)
    assert len(checks) == 9
    assert not [one for one in checks.values() if not one.ok or one.skipped]
    assert checks[check.COUNT].detail == f"{ROWS} documents: {ROWS} rows"
    assert checks[check.RECALL].figure == pytest.approx(1, abs=0.02)


class TestCount:
    def test_a_document_deleted_behind_its_back(self, loaded: Loaded) -> None:
        row_id = unsampled(loaded)[0]
        loaded.client.delete(index=loaded.name, id=row_id)
        checks = examine(loaded)
        assert {n for n, one in checks.items() if not one.ok} == {check.COUNT, check.IDENTITY}
        assert f"{ROWS - 1} documents, not {ROWS}" in checks[check.COUNT].detail
        assert checks[check.IDENTITY].detail == f"1 missing, such as {row_id!r}"

    def test_a_split_without_a_receipt(self, loaded: Loaded) -> None:
        ledger_of(loaded).withdraw(origin_of(loaded.dataset.splits[0].split))
        assert failed(loaded) == {check.COUNT}

    def test_a_row_that_the_server_refused_is_accounted_for(self, loaded: Loaded) -> None:
        row_id = refuse(loaded)
        loaded.client.delete(index=loaded.name, id=row_id)
        checks = examine(loaded)
        assert checks[check.COUNT].detail.endswith(f"{ROWS} rows, less 1 dead letters")
        assert {n for n, one in checks.items() if not one.ok} == set()

    def test_a_refused_row_that_is_there_as_it_was_before(self, loaded: Loaded) -> None:
        refuse(loaded)
        assert failed(loaded) == {check.COUNT, check.IDENTITY}

    def test_too_many_refused(self, loaded: Loaded) -> None:
        for row_id in [refuse(loaded, number) for number in range(5)]:
            loaded.client.delete(index=loaded.name, id=row_id)
        checks = examine(loaded)
        assert {n for n, one in checks.items() if not one.ok} == {check.COUNT}
        assert "1.25% of the rows are dead letters" in checks[check.COUNT].detail


def refuse(loaded: Loaded, number: int = 0) -> str:
    """Account for one more row of the first split as for one that the server refused; its id."""
    ledger, manifest = ledger_of(loaded), loaded.dataset.splits[0]
    ids = [
        i for b in loaded.dataset.split_rows(manifest, columns=["id"]) for i in b["id"].to_pylist()
    ]
    origin = own_origin(manifest)
    assert origin is not None
    receipt = ledger.receipt(origin.name)
    assert receipt is not None
    letter = IndexLetter("000.jsonl", manifest.split, ids[number], ids[number], "why", "why", 400)
    ledger.settle_anew(receipt, origin, letters=[*ledger.letters(receipt), letter])
    return ids[number]


class TestIdentity:
    def test_a_document_added(self, loaded: Loaded) -> None:
        copy = loaded.document(unsampled(loaded)[0])
        loaded.write("another", copy)
        checks = examine(loaded)
        assert {n for n, one in checks.items() if not one.ok} == {check.COUNT, check.IDENTITY}
        assert checks[check.IDENTITY].detail == "1 of no committed row, such as 'another'"

    def test_one_lost_and_one_added(self, loaded: Loaded) -> None:
        lost = unsampled(loaded)[0]
        loaded.write("another", loaded.document(lost))
        loaded.client.delete(index=loaded.name, id=lost)
        assert failed(loaded) == {check.IDENTITY}

    def test_another_content(self, loaded: Loaded) -> None:
        row_id = unsampled(loaded)[0]
        loaded.change(row_id, lambda document: document.update(content_hash="0" * 32))
        checks = examine(loaded)
        assert {n for n, one in checks.items() if not one.ok} == {check.IDENTITY}
        assert checks[check.IDENTITY].detail == f"1 of another content, such as {row_id!r}"

    def test_a_document_of_no_split_of_the_output(self, loaded: Loaded) -> None:
        row_id = unsampled(loaded)[0]
        loaded.change(row_id, lambda document: document.update(split="f" * 16))
        assert failed(loaded) == {check.IDENTITY}

    def test_pages_and_groups_of_any_size_find_the_same(self, loaded: Loaded) -> None:
        lost, changed, moved = unsampled(loaded)[:3]
        loaded.client.delete(index=loaded.name, id=lost)
        loaded.change(changed, lambda document: document.update(content_hash="0" * 32))
        loaded.write("another", loaded.document(moved))
        loaded.client.indices.refresh(index=loaded.name)
        subject = open_subject(loaded.client, loaded.target, loaded.dataset)
        answers = {
            compare_ids(subject, page_rows=page_rows, group_rows=group_rows).answer().detail
            for page_rows, group_rows in [(7, 1), (100, 150), (10_000, 100_000)]
        }
        assert len(answers) == 1
        assert "1 missing" in answers.pop()


class TestReadback:
    def test_a_changed_vector(self, loaded: Loaded) -> None:
        row_id, other = sampled(loaded)[:2]
        vector = loaded.document(other)[VECTOR]
        loaded.change(row_id, lambda document: document.update(vector=vector))
        checks = examine(loaded)
        assert {n for n, one in checks.items() if not one.ok} == {check.READBACK}
        assert f"{row_id!r} has another vector" in checks[check.READBACK].detail

    def test_the_last_bit_of_one_number(self, loaded: Loaded) -> None:
        def nudge(document: dict[str, Any]) -> None:
            document[VECTOR][3] *= 1 + 2**-23

        loaded.change(sampled(loaded)[0], nudge)
        assert failed(loaded) == {check.READBACK}

    def test_any_other_field(self, loaded: Loaded) -> None:
        others: dict[str, object] = {
            "text": "x",
            "language": "xx",
            "pages": -1,
            "score": -1.5,
            "free": None,
            "at": "1999-01-01T00:00:00Z",
            "char_end": 0,
        }
        drawn = sampled(loaded)[: 3 * len(others)]
        whole = [row_id for row_id in drawn if loaded.document(row_id)["pages"] is not None]
        for row_id, (field, value) in zip(whole, others.items(), strict=False):
            loaded.change(row_id, lambda document, new=(field, value): document.update([new]))
        checks = examine(loaded)
        assert {n for n, one in checks.items() if not one.ok} == {check.READBACK}
        assert "7 faults in 256 rows" in checks[check.READBACK].detail


class TestMapping:
    @pytest.mark.parametrize("key", ["fingerprint", "model_fingerprint"])
    def test_another_fingerprint(self, loaded: Loaded, key: str) -> None:
        meta = loaded.client.indices.get_mapping(index=loaded.name)[loaded.name]["mappings"][
            "_meta"
        ]
        meta[META][key] = "0" * 64
        loaded.client.indices.put_mapping(index=loaded.name, body={"_meta": meta})
        assert failed(loaded) == {check.MAPPING}

    @pytest.mark.parametrize(
        ("part", "value"),
        [("space_type", "cosinesimil"), ("parameters", {"m": 4, "ef_construction": 100})],
    )
    def test_another_graph(self, loaded: Loaded, part: str, value: object) -> None:
        def change(mappings: dict[str, Any]) -> None:
            mappings["properties"][VECTOR]["method"][part] = value

        rebuild(loaded, change)
        assert failed(loaded) == {check.MAPPING}

    def test_another_dimension(self, loaded: Loaded) -> None:
        def change(mappings: dict[str, Any]) -> None:
            mappings["properties"][VECTOR]["dimension"] = 16

        rebuild(loaded, change, lambda document: document.update(vector=document[VECTOR][:16]))
        checks = examine(loaded)
        graph = {check.MAPPING, check.READBACK, check.THEMSELVES, check.RECALL}
        assert {n for n, one in checks.items() if not one.ok} == graph
        assert "dimension" in checks[check.MAPPING].detail
        # The server refuses a question of another dimension; that is an answer, too.
        assert "refuses" in checks[check.RECALL].detail

    def test_an_index_of_somebody_else(self, loaded: Loaded) -> None:
        loaded.client.indices.put_mapping(index=loaded.name, body={"_meta": {}})
        assert failed(loaded) == {check.COUNT, check.MAPPING}


class TestGraph:
    def test_vectors_swapped_between_some_documents(self, loaded: Loaded) -> None:
        ids = sampled(loaded)[:20]
        vectors = [loaded.document(row_id)[VECTOR] for row_id in ids]
        for row_id, vector in zip(ids, [*vectors[1:], vectors[0]], strict=True):
            loaded.change(row_id, lambda document, new=vector: document.update(vector=new))
        assert failed(loaded) == {check.READBACK, check.THEMSELVES}

    def test_vectors_permuted_among_all_documents(self, loaded: Loaded) -> None:
        hits = loaded.client.search(index=loaded.name, body={"size": ROWS})["hits"]["hits"]
        vectors = [hit["_source"][VECTOR] for hit in hits]
        random.Random(0).shuffle(vectors)
        pool = iter(vectors)
        rebuild(loaded, lambda _: None, lambda document: document.update(vector=next(pool)))
        checks = examine(loaded)
        graph = {check.READBACK, check.THEMSELVES, check.RECALL}
        assert {n for n, one in checks.items() if not one.ok} == graph
        assert (checks[check.RECALL].figure or 0) < 0.5

    def test_a_graph_too_thin_to_be_searched(
        self, client: OpenSearch, opensearch_url: str, index_name: str, tmp_path: Path
    ) -> None:
        make_output(tmp_path, rows=3000, dim=128, splits=1)
        graph = {"engine": "lucene", "m": 2, "ef_construction": 2}
        loaded = load(client, spec_for(tmp_path, opensearch_url, alias=index_name, graph=graph))
        checks = examine(loaded)
        assert not checks[check.RECALL].ok, checks[check.RECALL].detail
        assert {n for n, one in checks.items() if not one.ok} <= {check.RECALL, check.THEMSELVES}


class TestCounters:
    def test_an_error_counted_since_the_load_began(self, loaded: Loaded) -> None:
        assert failed(loaded) == set()
        # A redrive takes a generation too, and keeps no counters of its own.
        ledger_of(loaded).claim_generation(run="redrive", host="here")
        script = {"lang": "knn", "source": "knn_score", "params": {"field": VECTOR}}
        script["params"] |= {"query_value": [1.0], "space_type": "l2"}
        body = {"query": {"script_score": {"query": {"match_all": {}}, "script": script}}}
        with pytest.raises(RequestError):
            loaded.client.search(index=loaded.name, body=body)
        checks = examine(loaded)
        assert {n for n, one in checks.items() if not one.ok} == {check.COUNTERS}
        detail = checks[check.COUNTERS].detail
        assert detail.startswith("since the load began, on the whole cluster: ")
        assert "script_query_errors +" in detail


class TestProfile:
    @pytest.mark.parametrize(
        "left_on",
        [
            {"knn__advanced__approximate_threshold": -1},
            {"knn__advanced__approximate_threshold": 15000},
            {"knn__advanced__approximate_threshold": None},
            {"refresh_interval": "-1"},
            {"number_of_replicas": 1},
        ],
    )
    def test_a_setting_left_on(self, loaded: Loaded, left_on: dict[str, object]) -> None:
        loaded.settings(**left_on)
        assert failed(loaded) == {check.PROFILE}

    def test_a_server_from_before_the_threshold(self, loaded: Loaded, proxy: Proxy) -> None:
        """Before 2.18 there is no such setting, neither set nor among the defaults."""
        loaded.settings(knn__advanced__approximate_threshold=None)
        proxy.rules.append(
            Rule(
                without_threshold,
                where=lambda request: request.target.startswith(f"/{loaded.name}?"),
                times=None,
            )
        )
        older = replace(loaded, client=OpenSearch(proxy.url, max_retries=0))
        assert failed(loaded) == {check.PROFILE}
        checks = examine(older)
        assert [n for n, one in checks.items() if not one.ok] == []
        assert "no threshold on this server" in checks[check.PROFILE].detail
        loaded.settings(refresh_interval="-1")
        assert failed(older) == {check.PROFILE}

    def test_replicas_that_the_server_sets_itself(self, loaded: Loaded) -> None:
        loaded.settings(auto_expand_replicas="0-all", number_of_replicas=0)
        assert failed(replace(loaded, target=of_replicas(loaded, 1))) == set()

    def test_a_profile_that_is_still_recorded(self, loaded: Loaded) -> None:
        meta = loaded.client.indices.get_mapping(index=loaded.name)[loaded.name]["mappings"][
            "_meta"
        ]
        meta[META]["profile"] = {
            "refresh_interval": None,
            "number_of_replicas": "0",
            "approximate_threshold": None,
        }
        loaded.client.indices.put_mapping(index=loaded.name, body={"_meta": meta})
        assert failed(loaded) == {check.PROFILE}


class TestAlias:
    def test_two_indexes(self, loaded: Loaded, index_name: str) -> None:
        other = f"{index_name}-other"
        loaded.client.indices.create(index=other, body={"settings": {"number_of_replicas": 0}})
        loaded.client.indices.put_alias(index=other, name=index_name)
        assert failed(loaded) == set()
        loaded.client.indices.put_alias(index=loaded.name, name=index_name)
        checks = examine(loaded)
        assert {n for n, one in checks.items() if not one.ok} == {check.ALIAS}
        assert other in checks[check.ALIAS].detail

    def test_a_name_that_is_an_index(self, loaded: Loaded, index_name: str) -> None:
        loaded.client.indices.create(index=index_name)
        assert failed(loaded) == {check.ALIAS}


def test_there_is_no_index(loaded: Loaded) -> None:
    loaded.client.indices.delete(index=loaded.name)
    with pytest.raises(OutputError, match="no such index"):
        examine(loaded)


class TestAnswers:
    """Verify through a proxy that breaks what the server answers."""

    def through(self, proxy: Proxy, loaded: Loaded) -> Loaded:
        return replace(loaded, client=OpenSearch(proxy.url, max_retries=0))

    def test_searches_that_get_lost_are_asked_again(self, loaded: Loaded, proxy: Proxy) -> None:
        for kind in ("/_search", "/_msearch", "/_search/point_in_time"):
            proxy.rules.append(Rule(reset_after(), where=asks(kind)))
        assert failed(self.through(proxy, loaded)) == set()
        assert not [rule for rule in proxy.rules if rule.times]

    @pytest.mark.parametrize(
        ("kind", "fails"),
        [
            ("/_search", {check.IDENTITY}),
            ("/_count", {check.COUNT}),
            ("/_msearch", {check.THEMSELVES, check.RECALL}),
        ],
    )
    def test_a_part_of_the_shards_is_never_the_whole(
        self, loaded: Loaded, proxy: Proxy, kind: str, fails: set[str]
    ) -> None:
        proxy.rules.append(Rule(one_shard_fails, where=asks(kind), times=None))
        checks = examine(self.through(proxy, loaded))
        assert {n for n, one in checks.items() if not one.ok} == fails
        assert all("a part of its shards" in checks[name].detail for name in fails)


def asks(kind: str) -> Callable[[Request], bool]:
    return lambda request: request.target.partition("?")[0].endswith(kind)


async def without_threshold(request: Request, forward: Forward) -> Answer:
    answer = await forward(request)
    told = orjson.loads(answer.body)
    for index in told.values():
        for settings in (index["settings"], index.get("defaults", {})):
            settings.pop(THRESHOLD, None)
    return Answer(answer.status, orjson.dumps(told), {"content-type": "application/json"})


def of_replicas(loaded: Loaded, replicas: int) -> IndexTarget:
    output = loaded.target.output.model_copy(update={"replicas": replicas})
    return IndexTarget(output, loaded.target.dataset)


async def one_shard_fails(request: Request, forward: Forward) -> Answer:
    answer = await forward(request)
    body = answer.body.replace(b'"failed":0', b'"failed":1')
    return Answer(answer.status, body, {"content-type": "application/json"})


class TestServerless:
    """Against the stand-in of a collection, which has no `_id`, refresh, settings or counters."""

    @pytest.fixture
    def loaded(self, opensearch_url: str, index_name: str, folder: Path) -> Iterator[Loaded]:
        with serverless_stand_in(opensearch_url) as collection, OpenSearch(collection.url) as aoss:
            options = {"alias": index_name, "service": "aoss", "auth": "none"}
            yield load(aoss, spec_for(folder, collection.url, **options))

    def test_what_can_be_asked_is_checked(self, loaded: Loaded, client: OpenSearch) -> None:
        checks = examine(loaded)
        assert [n for n, one in checks.items() if not one.ok] == []
        skipped = {name for name, one in checks.items() if one.skipped}
        assert skipped == {check.COUNTERS, check.PROFILE}
        # A second copy, as an ambiguous failure may leave it.
        [hit] = client.search(index=loaded.name, body={"size": 1})["hits"]["hits"]
        client.index(index=loaded.name, body=hit["_source"], params={"refresh": "true"})
        checks = examine(loaded)
        assert {n for n, one in checks.items() if not one.ok} == {check.COUNT, check.IDENTITY}
        assert checks[check.IDENTITY].detail == "1 a second time"


class TestCommand:
    @pytest.fixture
    def spec(self, folder: Path, opensearch_url: str, index_name: str) -> Path:
        return spec_file(folder, opensearch_url, alias=index_name)

    def test_output_and_index_in_one_list(
        self, spec: Path, loaded: Loaded, capfdbinary: Any
    ) -> None:
        assert embed_job("verify", spec, "--json") == ExitCode.OK
        said = printed(capfdbinary)
        assert said["ok"] is True
        assert len(said["checks"]) == 16
        assert all(one["name"].startswith("index: ") for one in said["checks"][7:])
        recall = next(one for one in said["checks"] if one["name"] == check.RECALL)
        assert recall["figure"] == pytest.approx(1, abs=0.02)
        kept = last_verified(loaded.dataset.store, ledger_of(loaded))
        assert kept is not None
        assert kept.rows == ROWS
        assert [one.name for one in kept.checks] == [one["name"] for one in said["checks"][7:]]

    def test_a_damaged_index_fails(self, spec: Path, loaded: Loaded, capfd: Any) -> None:
        loaded.client.delete(index=loaded.name, id=sampled(loaded)[0])
        assert embed_job("verify", spec, "--only", "parquet") == ExitCode.OK
        assert embed_job("verify", spec, "--only", "index") == ExitCode.INCOMPLETE
        shown = capfd.readouterr().out
        assert "3 of 9 checks failed" in shown

    def test_no_index_there(self, spec: Path, loaded: Loaded, capfd: Any) -> None:
        loaded.client.indices.delete(index=loaded.name)
        assert embed_job("verify", spec) == ExitCode.OUTPUT
        assert "no such index" in capfd.readouterr().err
