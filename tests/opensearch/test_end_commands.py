"""The commands that end a load and move the alias, as a user gives them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from opensearchpy import OpenSearch

from embed_job.cli.program import run_program
from embed_job.dataset import open_dataset
from embed_job.opensearch.index.open import open_index
from embed_job.opensearch.index.profile import begin_load
from embed_job.opensearch.load.committed import load_committed
from embed_job.opensearch.load.opening import Writer
from embed_job.opensearch.target import IndexTarget
from embed_job.progress import SilentProgress
from embed_job.spec.file import load_spec
from embed_job.storage import store_for
from launcher.cli import app
from tests.opensearch import corpora
from tests.opensearch.test_finish import FINISHED, segments_of
from tests.opensearch.test_index import AT_REST, LOADING, record_of, settings_of


class Job:
    """A spec of an output and an index, and the commands on it."""

    def __init__(
        self,
        folder: Path,
        url: str,
        client: OpenSearch,
        index: str,
        capture: pytest.CaptureFixture[str],
    ) -> None:
        self.client = client
        self.capture = capture
        self.index = index
        self.alias = f"{index.rpartition('-')[0]}-live"
        options = {"index": index, "alias": self.alias}
        spec = corpora.spec_file(folder, url, **options)
        self.path = spec.rename(spec.with_name(f"{index}.yaml"))
        self.spec = load_spec(self.path)
        dataset = open_dataset(store_for(str(folder / "out")), str(folder / "out"))
        assert self.spec.opensearch is not None
        self.target = IndexTarget(self.spec.opensearch, dataset.descriptor)
        self.dataset = dataset

    def load(self, *, finishing: bool = True) -> None:
        """As `embed-job load`, and with finishing False, as if killed before its end."""
        result = load_committed(
            self.spec,
            self.dataset,
            Writer.alone("here"),
            finishing=finishing,
            progress=SilentProgress(),
            stopping=lambda: False,
        )
        assert not result.problems

    def begin(self) -> None:
        """As a load that was killed before its first row."""
        begin_load(self.client, open_index(self.client, self.target, create=True))

    def said(self, command: str, *options: str) -> tuple[int, Any]:
        """The exit code of a command, and the JSON that it printed."""
        self.capture.readouterr()
        code = run_program(app, [command, str(self.path), "--json", *options], name="embed-job")
        out = self.capture.readouterr().out
        return code, orjson.loads(out) if out else None

    def told(self, command: str, *options: str) -> tuple[int, str]:
        """The exit code of a command, and what it printed for people."""
        self.capture.readouterr()
        code = run_program(app, [command, str(self.path), *options], name="embed-job")
        out, err = self.capture.readouterr()
        return code, out + err

    def holders(self) -> list[str]:
        if not self.client.indices.exists_alias(name=self.alias):
            return []
        return sorted(self.client.indices.get_alias(name=self.alias))


@pytest.fixture
def job(
    corpus: Path,
    opensearch_url: str,
    client: OpenSearch,
    index_name: str,
    capfd: pytest.CaptureFixture[str],
) -> Iterator[Job]:
    made = Job(corpus, opensearch_url, client, f"{index_name}-blue", capfd)
    yield made
    made.path.unlink()


def test_a_load_that_was_not_finished_is_finished(client: OpenSearch, job: Job) -> None:
    job.load(finishing=False)
    assert settings_of(client, job.index) == LOADING
    code, facts = job.said("finalize")
    assert (code, facts) == (
        0,
        {"ok": True, "problems": [], "index": {"name": job.index, "finished": True}},
    )
    assert settings_of(client, job.index) == FINISHED
    assert len(segments_of(client, job.index)) == 1
    code, told = job.told("finalize")
    assert code == 0
    assert f"{job.index} finished" in told


def test_a_load_that_is_not_whole_gets_its_settings_back(client: OpenSearch, job: Job) -> None:
    job.begin()
    assert settings_of(client, job.index) == LOADING
    code, facts = job.said("finalize")
    assert code == 6
    splits = len(job.dataset.splits)
    assert facts["problems"] == [
        f"{splits} of {splits} splits are not in {job.index}: `embed-job load SPEC` goes on"
    ]
    assert settings_of(client, job.index) == AT_REST
    assert record_of(client, job.index).profile is None


def test_lost_and_foreign_documents_are_told_of(client: OpenSearch, job: Job) -> None:
    job.load(finishing=False)
    client.indices.refresh(index=job.index)
    one = client.search(index=job.index, params={"size": 2})["hits"]["hits"]
    client.delete(index=job.index, id=one[0]["_id"])
    foreign = one[1]["_source"] | {"split": "0" * 16}
    client.index(index=job.index, id="foreign", body=foreign)
    code, facts = job.said("finalize")
    assert code == 6
    lost, stale = facts["problems"]
    assert "has lost documents of 1 of 6 splits" in lost
    assert "holds 1 documents that are not in the output" in stale
    job.load()
    assert job.said("finalize")[0] == 0


def test_a_missing_index_and_a_missing_server_are_told_of(job: Job) -> None:
    code, facts = job.said("finalize")
    assert code == 4
    assert "there is no such index" in facts["problems"][0]
    code, told = job.told("finalize", "--set", "outputs.1.opensearch.url=http://127.0.0.1:9")
    assert code == 4
    assert "the connection was refused" in told


def test_there_must_be_something_to_end(job: Job, tmp_path: Path) -> None:
    plain = tmp_path / "plain.yaml"
    lines = [
        "name: plain",
        f"input: {{uri: {tmp_path}}}",
        f"outputs: [{{parquet: {{uri: {tmp_path}/out}}}}]",
    ]
    plain.write_text("\n".join(lines))
    code = run_program(app, ["finalize", str(plain), "--index"], name="embed-job")
    assert code == 2
    said = job.capture.readouterr().err
    assert "has neither compute nor an opensearch output: nothing to finalize" in said


def test_an_index_that_passes_is_promoted_once(client: OpenSearch, job: Job) -> None:
    job.load()
    code, said = job.said("promote")
    assert code == 0
    assert said["promotion"] == {
        "alias": job.alias, "index": job.index, "previous": None, "changed": True,
        "unfinished": False,
    }  # fmt: skip
    assert len(said["checks"]) == 9
    assert all(check["ok"] for check in said["checks"])
    assert job.holders() == [job.index]
    code, told = job.told("promote")
    assert code == 0
    assert f"{job.alias} → {job.index} already" in told


def test_an_index_that_fails_a_check_is_not_promoted(client: OpenSearch, job: Job) -> None:
    job.load()
    client.delete(index=job.index, id=corpora.row_id(3))
    code, told = job.told("promote")
    assert code == 6
    assert "ids and contents agree" in told
    assert f"{job.index} is not promoted: " in told
    assert f"failed. {job.alias} stays where it is." in told
    assert f"embed-job load {job.path} sends what is missing" in told
    assert job.holders() == []
    code, said = job.said("promote")
    assert code == 6
    assert said["ok"] is False
    assert said["promotion"] is None


def test_an_unfinished_index_is_not_promoted(job: Job) -> None:
    job.load(finishing=False)
    code, told = job.told("promote")
    assert code == 6
    assert "no load profile is on" in told
    assert f"embed-job finalize {job.path} builds the graphs" in told
    assert job.holders() == []


def test_recall_is_told_of_the_index_as_it_is_alone(client: OpenSearch, job: Job) -> None:
    def recall() -> Any:
        code, said = job.said("load", "--quiet")
        assert code == 0
        return said["index"]["recall"]

    job.load()
    assert recall() is None
    assert job.said("verify")[0] == 0
    assert recall() == pytest.approx(1, abs=0.05)
    client.delete(index=job.index, id=corpora.row_id(3), params={"refresh": "true"})
    assert recall() is None  # one split was sent again
    assert recall() is None
    assert job.said("verify")[0] == 0
    assert recall() is not None


def test_an_edited_spec_is_no_longer_the_index_s(job: Job) -> None:
    job.load()
    edit = ("--set", "chunk.max_tokens=100")
    for command in ("load", "verify", "promote", "finalize"):
        code, told = job.told(command, *edit)
        assert code == 4
        assert "was made with another prompt, chunking or choice of fields" in told
    assert job.holders() == []


def test_a_promotion_is_rolled_back_to_the_index_before(
    client: OpenSearch, corpus: Path, opensearch_url: str, job: Job
) -> None:
    name = job.index.replace("-blue", "-green")
    green = Job(corpus, opensearch_url, client, name, job.capture)
    job.load()
    green.load()
    assert job.said("promote")[0] == 0
    code, told = green.told("promote")
    assert code == 0
    assert f"{green.alias} → {green.index}, past 9 checks" in told
    assert f"{job.index} stays, out of use" in told
    code, said = green.said("rollback")
    assert code == 0
    assert said["promotion"]["index"] == job.index
    assert green.holders() == [job.index]
    code, told = green.told("rollback")
    assert code == 0
    assert f"{job.alias} → {job.index} already" in told
    green.path.unlink()


def test_what_can_t_be_rolled_back_is_told_of(job: Job) -> None:
    job.load()
    assert job.said("promote")[0] == 0
    code, told = job.told("rollback")
    assert code == 4
    assert f"{job.index} has replaced no index" in told
    assert job.holders() == [job.index]
