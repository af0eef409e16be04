"""promote: auto: the run, or the host that ends a job, checks the index and moves the alias."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from opensearchpy import OpenSearch

from embed_job.errors import ExitCode
from embed_job.progress import SilentProgress
from embed_job.run import RunResult, run_job
from embed_job.spec.file import load_spec
from tests.functional.conftest import Fleet, Job
from tests.opensearch import corpora, models
from tests.opensearch.loading import embed_job

QUERIES = ({"query": "the quick brown fox"}, {"query": "how do I read a zip file"})


class Automatic:
    """Outputs in one folder, each of a model of its own, whose runs promote."""

    def __init__(self, folder: Path, url: str, alias: str, client: OpenSearch) -> None:
        self.folder, self.alias, self._url, self._client = folder, alias, url, client
        self._queries = models.write_queries(folder / "queries.jsonl", *QUERIES)

    def run(self, seed: int, *, rows: int = 40, min_overlap: float = 0) -> RunResult:
        """The job of a model over so many documents."""
        folder = self.folder / f"model-{seed}"
        if not folder.exists():
            folder.mkdir()
            corpora.make_bundle(folder, dim=models.DIM, seed=seed)
        corpora.write_corpus(folder, rows=rows, splits=1)
        spec = load_spec(self._spec(seed, min_overlap=min_overlap))
        return run_job(spec, progress=SilentProgress(), report_dir=self.report)

    def rollback(self, seed: int) -> None:
        assert embed_job("rollback", self._spec(seed)) == 0

    def promote(self, seed: int) -> None:
        assert embed_job("promote", self._spec(seed), "--report", self.report) == 0

    def _spec(self, seed: int, *, min_overlap: float = 0) -> Path:
        gates = {"canary": {"queries": self._queries, "min_overlap": min_overlap}}
        options: dict[str, Any] = {"alias": self.alias, "promote": "auto", "gates": gates}
        return models.Output(self.folder / f"model-{seed}").spec(self._url, **options)

    @property
    def report(self) -> Path:
        return self.folder / "report"

    def holder(self) -> str:
        (holder,) = self._client.indices.get_alias(name=self.alias)
        return str(holder)

    def indexes(self) -> set[str]:
        return set(self._client.indices.get(index=f"{self.alias}-*"))


@pytest.fixture
def automatic(
    tmp_path: Path, opensearch_url: str, index_name: str, client: OpenSearch
) -> Automatic:
    return Automatic(tmp_path, opensearch_url, index_name, client)


def index_of(result: RunResult) -> Any:
    return result.report.outputs[1].index


def test_a_model_change_is_promoted_past_its_gates_and_the_oldest_index_goes(
    automatic: Automatic,
) -> None:
    first = automatic.run(1)
    assert first.exit_code is ExitCode.OK, first.report.problems
    moved = index_of(first).promotion
    assert (moved.promoted, moved.previous, moved.checks) == (True, None, 9)
    assert automatic.holder() == index_of(first).index
    again = automatic.run(1, rows=41)
    assert (again.exit_code, index_of(again).promotion) == (ExitCode.OK, None), "it is live"
    assert automatic.holder() == index_of(first).index

    strict = automatic.run(2, min_overlap=1)
    assert strict.exit_code is ExitCode.INCOMPLETE
    [problem] = strict.report.problems
    assert f"{index_of(strict).index} is not promoted, {automatic.alias} stays" in problem
    assert "canary: the answers overlap (overlap@10" in problem
    assert problem.endswith(f"; both answers side by side: {automatic.report / 'canary.html'}")
    assert index_of(strict).promotion.failed == ("canary: the answers overlap",)
    assert automatic.holder() == index_of(first).index
    page = (automatic.report / "canary.html").read_text()
    assert f"{index_of(first).index} → {index_of(strict).index}" in page

    second = automatic.run(2)
    assert second.exit_code is ExitCode.OK, second.report.problems
    moved = index_of(second).promotion
    assert (moved.previous, moved.deleted) == (index_of(first).index, ())
    assert moved.canary.startswith("overlap@10")
    assert automatic.holder() == index_of(second).index

    automatic.rollback(2)
    assert automatic.holder() == index_of(first).index
    left = automatic.run(2, rows=42)
    assert left.exit_code is ExitCode.OK, "the index is kept true all the same"
    [note] = index_of(left).promotion.notes
    assert f"{index_of(second).index} was rolled back from: `embed-job promote SPEC`" in note
    assert automatic.holder() == index_of(first).index, "no run undoes a rollback"
    automatic.promote(2)
    assert automatic.holder() == index_of(second).index

    third = automatic.run(3)
    assert index_of(third).promotion.deleted == (index_of(first).index,)
    assert automatic.indexes() == {index_of(second).index, index_of(third).index}
    told = (automatic.report / "report.html").read_text()
    assert f"<dt>deleted index</dt><dd><code>{index_of(first).index}" in told


def test_two_models_runs_do_not_take_the_alias_from_each_other(automatic: Automatic) -> None:
    """The old one's schedule goes on, so that a rollback finds an index of today."""
    former = index_of(automatic.run(1)).index
    page = automatic.report / "canary.html"
    page.mkdir()
    moved = automatic.run(2)
    assert moved.exit_code is ExitCode.OK, moved.report.problems
    assert index_of(moved).promotion.page is None
    [note] = index_of(moved).promotion.notes
    assert "the canary's page could not be written" in note
    page.rmdir()
    live = index_of(moved).index
    left = automatic.run(1, rows=41)
    assert left.exit_code is ExitCode.OK, left.report.problems
    [note] = index_of(left).promotion.notes
    assert note.startswith(f"{former} was replaced by {live}: `embed-job promote SPEC`")
    assert automatic.holder() == live
    automatic.promote(1)
    assert automatic.holder() == former


def test_a_new_fingerprint_never_writes_into_the_live_index(
    automatic: Automatic, client: OpenSearch
) -> None:
    live = index_of(automatic.run(1)).index
    before = client.count(index=live)["count"]
    other = index_of(automatic.run(2, rows=30, min_overlap=1)).index
    assert other != live
    assert client.count(index=live)["count"] == before
    assert client.count(index=other)["count"] == 30


def test_queries_that_are_gone_cost_neither_output_nor_index(automatic: Automatic) -> None:
    (automatic.folder / "queries.jsonl").unlink()
    result = automatic.run(1)
    assert result.exit_code is ExitCode.INPUT
    [problem] = result.report.problems
    assert "is loaded, but what follows failed" in problem
    assert "there is no such file" in problem
    assert index_of(result).finished
    models.write_queries(automatic.folder / "queries.jsonl", *QUERIES)
    healed = automatic.run(1)
    assert (healed.exit_code, automatic.holder()) == (ExitCode.OK, index_of(healed).index)


def test_the_host_that_ends_a_job_promotes(
    tmp_path: Path, tiny_bundle: Path, opensearch_url: str, index_name: str, client: OpenSearch
) -> None:
    job = Job(tmp_path, tiny_bundle)
    index = {"url": opensearch_url, "alias": index_name, "promote": "auto"}
    job.spec["outputs"].append(
        {"opensearch": index | {"graph": {"engine": "lucene"}, "replicas": 0}}
    )
    job.write_corpus(files=2, documents=20)
    fleet = Fleet(job)
    (host,) = fleet.run("first", hosts=1)
    assert host.code == 0, host.errors
    (live,) = client.indices.get_alias(name=index_name)
    assert fleet.report("first")["outputs"][1]["index"]["promotion"]["promoted"]
    assert client.count(index=index_name)["count"] == 40
    assert orjson.loads((job.output / "_embed_job/job.json").read_bytes())
    job.write("new.jsonl", [{"id": "new", "text": "a new one."}])
    (host,) = fleet.run("second", hosts=1)
    assert host.code == 0, host.errors
    assert list(client.indices.get_alias(name=index_name)) == [live]
    client.indices.refresh(index=live)
    assert client.count(index=index_name)["count"] == 41
