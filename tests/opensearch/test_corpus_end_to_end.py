"""A real corpus, whole way: documents, engine, Parquet and index in one run, checks, promotion,
questions. No part of it is a stand-in."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from opensearchpy import OpenSearch

from embed_job.dry_run.stdlib_docs import FIRST_MODULES, write_stdlib_docs
from embed_job.errors import ExitCode
from embed_job.opensearch import check
from tests.opensearch.loading import embed_job, printed

MAX_DOCS_A_MODULE = 8
MAX_CHARS = 800
"""Of a document, so that all of them are embedded in seconds."""
QUESTIONS = {
    "how do I read and write zip archives": "zipfile",
    "parse command line arguments": "argparse",
    "push an item onto a heap and pop the smallest": "heapq",
    "write rows to a comma separated file": "csv",
    "run another program and capture its output": "subprocess",
    "compute the median of a list of numbers": "statistics",
}
"""Question and the module whose documentation answers it."""


def write_corpus(path: Path) -> None:
    """Some documentation of each module that people ask about."""
    write_stdlib_docs(path)
    kept, of_module = [], Counter[str]()
    for line in path.read_bytes().splitlines():
        doc = orjson.loads(line)
        if doc["module"] in FIRST_MODULES.split() and len(doc["body"]) <= MAX_CHARS:
            of_module[doc["module"]] += 1
            if of_module[doc["module"]] <= MAX_DOCS_A_MODULE:
                kept.append(line)
    assert len(kept) > 200
    path.write_bytes(b"\n".join(kept))


@pytest.fixture(scope="module")
def alias(client: OpenSearch) -> Iterator[str]:
    name = f"t-{uuid.uuid4().hex[:12]}"
    yield name
    client.indices.delete(index=f"{name}*", params={"ignore_unavailable": "true"})


@pytest.fixture(scope="module")
def spec(
    tmp_path_factory: pytest.TempPathFactory, default_bundle: Path, opensearch_url: str, alias: str
) -> Path:
    """The job over documentation of Python's standard library, embedded and loaded."""
    folder = tmp_path_factory.mktemp("end-to-end")
    write_corpus(folder / "in/docs.jsonl")
    index = {"url": opensearch_url, "alias": alias, "graph": {"engine": "lucene"}, "replicas": 0}
    fields = {"text": ["title", "body"], "metadata": {"module": "string"}}
    said = {
        "name": "stdlib",
        "input": {"uri": str(folder / "in"), "fields": fields},
        "model": {"bundle": str(default_bundle)},
        "outputs": [
            {"parquet": {"uri": str(folder / "out"), "text": True}},
            {"opensearch": index},
        ],
        "execution": {"workers": 1},
    }
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(said))
    assert embed_job("run", path, "--report", folder / "report", "--quiet") == ExitCode.OK
    return path


def search(capfdbinary: Any, question: str, spec: Path, *options: str) -> dict[str, Any]:
    assert embed_job("search", question, "--in", spec, "--json", *options) == ExitCode.OK
    answer: dict[str, Any] = printed(capfdbinary)
    return answer


def test_documents_to_answers(spec: Path, alias: str, capfdbinary: Any) -> None:
    capfdbinary.readouterr()
    assert embed_job("verify", spec, "--json") == ExitCode.OK
    checks = {one["name"]: one for one in printed(capfdbinary)["checks"]}
    assert len(checks) == 16
    # Over 250 queries, against an exact search by numpy of the Parquet parts.
    assert checks[check.RECALL]["figure"] >= 0.99
    before = search(capfdbinary, "anything", spec)
    assert "not there yet" in before["note"]

    assert embed_job("promote", spec, "--json") == ExitCode.OK
    capfdbinary.readouterr()
    for question, module in QUESTIONS.items():
        answer = search(capfdbinary, question, spec, "--top", "3")
        assert answer["note"] is None
        assert answer["index"].startswith(alias)
        assert module in {hit["metadata"]["module"] for hit in answer["hits"]}, question


def test_index_and_output_give_the_same_answers(spec: Path, capfdbinary: Any) -> None:
    capfdbinary.readouterr()
    exactly = spec.parent / "out"
    for question in QUESTIONS:
        answers = [search(capfdbinary, question, where)["hits"] for where in (spec, exactly)]
        assert [hit["id"] for hit in answers[0]] == [hit["id"] for hit in answers[1]]
        for here, there in zip(*answers, strict=True):
            assert here.pop("score") == pytest.approx(there.pop("score"), abs=1e-5)
            assert here == there


def test_filters_and_words(spec: Path, capfdbinary: Any) -> None:
    capfdbinary.readouterr()
    answer = search(capfdbinary, "read a file", spec, "--filter", "module=zipfile", "--top", "4")
    assert {hit["metadata"]["module"] for hit in answer["hits"]} == {"zipfile"}
    # A word that says little of its text's subject is found by its letters.
    answer = search(capfdbinary, "abracadabra", spec, "--hybrid", "--top", "3")
    assert any("abracadabra" in hit["text"] for hit in answer["hits"])


def test_the_output_need_not_be_within_reach(spec: Path, capfdbinary: Any) -> None:
    capfdbinary.readouterr()
    away = spec.with_name("away.yaml")
    away.write_text(spec.read_text().replace(str(spec.parent / "out"), str(spec.parent / "gone")))
    answer = search(capfdbinary, "parse command line arguments", away)
    assert "argparse" in {hit["metadata"]["module"] for hit in answer["hits"]}


def test_another_model_is_refused(spec: Path, tiny_bundle: Path, capfd: Any) -> None:
    options = ("--in", spec, "--bundle", tiny_bundle)
    assert embed_job("search", "anything", *options) == ExitCode.BUNDLE
    assert "not the model that made these vectors" in capfd.readouterr().err
