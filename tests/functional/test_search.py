"""Reading an output back and searching it: through manifests alone, exactly, refusing mixtures."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embed_job.bundle import open_bundle
from embed_job.cli import app
from embed_job.cli.program import run_program
from embed_job.commit.commits import Commits
from embed_job.dataset import Dataset, open_dataset, vectors_of
from embed_job.dataset.nearest import nearest
from embed_job.dataset.query import bundle_for, embed_query, find_output
from embed_job.dataset.search import neighbour_examples, search
from embed_job.errors import BundleError, ExitCode, OutputError, UserError
from embed_job.excerpt import excerpt
from embed_job.manifest import (
    DatasetDescriptor,
    JobManifest,
    SplitCounts,
    SplitManifest,
    SplitSource,
    StageTimes,
)
from embed_job.rows import content_hash, output_schema
from embed_job.sink.parquet import ParquetSink
from embed_job.storage.local import LocalStore

DIMENSION = 8
DESCRIPTOR = DatasetDescriptor(
    name="test",
    input_uri="/nowhere",
    fingerprint="f" * 64,
    model_fingerprint="m" * 64,
    bundle="models/none",
    engine="onnx",
    precision="fp32",
    prompt="",
    dimension=DIMENSION,
    normalized=True,
    max_tokens=256,
    vector_type="float32",
    text=True,
    columns={"lang": "string"},
    created_at=0.0,
)
Row = tuple[str, int, str]
"""doc_id, chunk and text."""


class Output:
    """A folder that splits are committed to."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.store = LocalStore()
        self.folder = folder
        self.descriptor = DESCRIPTOR.model_copy(update=changes)
        self.commits = Commits(self.store, str(folder))
        self.commits.claim(self.descriptor)

    def write(self, stem: str, rows: Sequence[Row], vectors: np.ndarray, **sink: Any) -> list[Any]:
        schema = output_schema(self.descriptor)
        parquet = ParquetSink(
            self.store,
            str(self.folder),
            schema=schema,
            footer={"embed_job.fingerprint": self.descriptor.fingerprint},
            spool=self.folder.parent,
            stem=stem,
            **sink,
        )
        for at in range(0, len(rows), 100):
            parquet.write(_batch(schema, rows[at : at + 100], vectors[at : at + 100]))
        return parquet.close()

    def commit(self, split: str, rows: Sequence[Row], vectors: np.ndarray, **sink: Any) -> None:
        parts = self.write(f"part-{split}", rows, vectors, **sink)
        manifest = SplitManifest(
            split=split,
            attempt="1",
            fingerprint=self.descriptor.fingerprint,
            source=SplitSource(files=(), start=0, end=0, bytes=0),
            counts=SplitCounts(),
            parts=tuple(parts),
            ids=None,
            dead_letters=None,
            worker=0,
            host="here",
            started_at=0,
            finished_at=0,
            stages_s=StageTimes(),
            peak_rss_bytes=0,
        )
        assert self.commits.commit(manifest)

    def finish(self, *splits: str, fingerprint: str = DESCRIPTOR.fingerprint) -> None:
        job = JobManifest(
            name="test",
            fingerprint=fingerprint,
            splits=splits,
            counts=SplitCounts(),
            duplicates_across_splits=0,
            finished_at=0,
        )
        assert self.commits.commit_job(job, tag=None)

    def open(self) -> Dataset:
        return open_dataset(self.store, str(self.folder))


def _batch(schema: pa.Schema, rows: Sequence[Row], vectors: np.ndarray) -> pa.RecordBatch:
    columns = {
        "id": [f"{doc_id}#{chunk}" for doc_id, chunk, _ in rows],
        "doc_id": [doc_id for doc_id, _, _ in rows],
        "chunk": [chunk for _, chunk, _ in rows],
        "char_start": [0] * len(rows),
        "char_end": [len(text) for _, _, text in rows],
        "n_tokens": [3] * len(rows),
        "content_hash": [content_hash(text) for _, _, text in rows],
        "split": ["0" * 16] * len(rows),
        "text": [text for _, _, text in rows],
        "lang": ["en"] * len(rows),
        "vector": list(vectors.astype(schema.field("vector").type.value_type.to_pandas_dtype())),
    }
    return pa.record_batch([pa.array(columns[f.name], f.type) for f in schema], schema=schema)


def random_vectors(count: int, *, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((count, DIMENSION)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def texts(count: int, stem: str = "doc") -> list[Row]:
    return [(f"{stem}{number}.x", 0, f"text {number} of {stem}") for number in range(count)]


@pytest.fixture
def output(tmp_path: Path) -> Output:
    return Output(tmp_path / "vectors")


class TestDataset:
    def test_rows_of_committed_splits_alone(self, output: Output) -> None:
        output.commit("b", texts(3, "b"), random_vectors(3))
        output.commit("a", texts(2, "a"), random_vectors(2))
        output.write("part-orphan", texts(5, "orphan"), random_vectors(5))
        dataset = output.open()
        ids = [
            name
            for batch in dataset.iter_rows(columns=["doc_id"])
            for name in batch.column("doc_id").to_pylist()
        ]
        assert ids == ["a0.x", "a1.x", "b0.x", "b1.x", "b2.x"]
        assert dataset.rows == 5
        assert dataset.complete is False

    def test_the_job_says_which_splits_count(self, output: Output) -> None:
        output.commit("old", texts(3), random_vectors(3))
        output.commit("new", texts(2), random_vectors(2))
        output.finish("new")
        dataset = output.open()
        assert [manifest.split for manifest in dataset.manifests()] == ["new"]
        assert dataset.complete is True

    @pytest.mark.parametrize("vector_type", ["float32", "float16"])
    def test_vectors_come_back(self, tmp_path: Path, vector_type: str) -> None:
        output = Output(tmp_path / "vectors", vector_type=vector_type)
        vectors = random_vectors(250)
        output.commit("a", texts(250), vectors, max_part_bytes=1)
        dataset = output.open()
        assert len(list(dataset.parts())) == 3
        batches = list(dataset.iter_rows(columns=["vector"], batch_rows=64))
        assert max(batch.num_rows for batch in batches) <= 64
        found = np.concatenate([vectors_of(batch) for batch in batches])
        assert found.dtype == np.float32
        stored = vectors.astype(vector_type).astype(np.float32)
        np.testing.assert_array_equal(found, stored)

    def test_a_slice_has_its_own_vectors(self, output: Output) -> None:
        vectors = random_vectors(10)
        output.commit("a", texts(10), vectors)
        batch = next(output.open().iter_rows())
        np.testing.assert_array_equal(vectors_of(batch.slice(3, 4)), vectors[3:7])

    def test_an_empty_output(self, output: Output) -> None:
        output.finish()
        dataset = output.open()
        assert list(dataset.iter_rows()) == []
        assert search(dataset, random_vectors(1)[0], top=3) == []
        assert neighbour_examples(dataset) == []

    def test_no_output(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match="is not an output"):
            open_dataset(LocalStore(), str(tmp_path))

    def test_another_fingerprint(self, output: Output) -> None:
        output.finish(fingerprint="0" * 64)
        with pytest.raises(OutputError, match="fingerprint"):
            output.open()

    def test_a_lost_manifest(self, output: Output) -> None:
        output.finish("gone")
        with pytest.raises(OutputError, match=r"gone\.json"):
            output.open()

    @pytest.mark.parametrize(
        ("damage", "says"),
        [
            (lambda path: path.unlink(), "not there"),
            (lambda path: path.write_bytes(path.read_bytes()[:-200]), "damaged"),
            (lambda path: path.write_bytes(b""), "damaged"),
        ],
    )
    def test_a_part_that_is_gone_or_damaged(
        self, output: Output, damage: Callable[[Path], object], says: str
    ) -> None:
        output.commit("a", texts(50), random_vectors(50))
        [path] = output.folder.glob("*.parquet")
        damage(path)
        with pytest.raises(OutputError, match=says):
            list(output.open().iter_rows())

    def test_a_part_of_another_fingerprint(self, output: Output, tmp_path: Path) -> None:
        output.commit("a", texts(5), random_vectors(5))
        other = Output(tmp_path / "other", fingerprint="0" * 64)
        other.commit("a", texts(5), random_vectors(5))
        [mine], [theirs] = output.folder.glob("*.parquet"), other.folder.glob("*.parquet")
        mine.write_bytes(theirs.read_bytes())
        with pytest.raises(OutputError, match="fingerprint"):
            list(output.open().iter_rows())


class TestNearest:
    @given(st.integers(0, 60), st.integers(0, 20), st.integers(0, 2**32))
    def test_it_is_the_head_of_a_full_sort(self, rows: int, k: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        # Few distinct directions, so that there are ties.
        matrix = rng.integers(-1, 2, (rows, 2)).astype(np.float32)
        query = np.array([1, 0.5], np.float32)
        scores, found = nearest(matrix, query, k)
        lengths = np.maximum(np.linalg.norm(matrix, axis=1), 1e-9)
        full = (matrix @ query / lengths / np.linalg.norm(query)).round(5)
        expected = sorted(range(rows), key=lambda row: (-full[row], row))[:k]
        assert full[found].tolist() == full[expected].tolist()
        assert len(set(found.tolist())) == len(found) == min(k, rows)
        np.testing.assert_allclose(scores, full[found], atol=1e-4)

    def test_of_equals_the_first(self) -> None:
        _, rows = nearest(np.ones((9, 2), np.float32), np.ones(2, np.float32), 3)
        assert rows.tolist() == [0, 1, 2]

    def test_lengths_play_no_part_and_nan_is_never_near(self) -> None:
        matrix = np.array([[3, 4], [np.nan, 1], [0, 0], [np.inf, 0], [0.1, 0]], np.float32)
        scores, rows = nearest(matrix, np.array([5, 0], np.float32), 5)
        assert rows.tolist() == [4, 0, 2]
        np.testing.assert_allclose(scores, [1, 0.6, 0], atol=1e-6)


class TestSearch:
    def test_it_is_exact_over_splits_and_batches(self, output: Output) -> None:
        vectors = random_vectors(9000)
        output.commit("a", texts(4500, "a"), vectors[:4500])
        output.commit("b", texts(4500, "b"), vectors[4500:])
        query = random_vectors(1, seed=5)[0]
        hits = search(output.open(), query, top=7)
        names = [f"a{n}.x" for n in range(4500)] + [f"b{n}.x" for n in range(4500)]
        expected = np.argsort(-(vectors @ query), kind="stable")[:7]
        assert [hit.doc_id for hit in hits] == [names[row] for row in expected]
        np.testing.assert_allclose([h.score for h in hits], (vectors @ query)[expected], atol=1e-6)

    def test_a_hit_says_where_it_is_from(self, output: Output) -> None:
        vectors = random_vectors(3)
        output.commit("a", texts(3), vectors)
        hit = search(output.open(), vectors[1], top=1)[0]
        assert (hit.id, hit.doc_id, hit.chunk) == ("doc1.x#0", "doc1.x", 0)
        assert (hit.char_start, hit.char_end) == (0, len("text 1 of doc"))
        assert (hit.text, hit.metadata) == ("text 1 of doc", {"lang": "en"})
        assert hit.score == pytest.approx(1, abs=1e-6)

    def test_without_a_text_column(self, tmp_path: Path) -> None:
        output = Output(tmp_path / "vectors", text=False)
        vectors = random_vectors(4)
        output.commit("a", texts(4), vectors)
        assert search(output.open(), vectors[1], top=1)[0].text is None
        assert neighbour_examples(output.open(), count=1)[0].query.startswith("doc")


class TestExamples:
    def test_neighbours_are_other_documents_with_other_texts(self, output: Output) -> None:
        base = random_vectors(1)[0]
        near, far = base + 0.1 * random_vectors(1, seed=1)[0], random_vectors(1, seed=2)[0]
        rows = [
            ("a", 0, "same"),
            ("copy", 0, "same"),
            ("a", 1, "more of a"),
            ("b", 0, "near"),
            ("b", 1, "nearer"),
            ("c", 0, "far"),
        ]
        output.commit("x", rows, np.stack([base, base, base, near, base, far]))
        examples = {e.query: e for e in neighbour_examples(output.open(), count=9, k=9)}
        found = [(near.doc_id, near.text) for near in examples["same"].neighbours]
        others = {"a", "copy"} & {name for name, _ in found}
        assert ("b", "nearer") in found
        assert ("b", "near") not in found
        assert [name for name, _ in found if name not in others] == ["b", "c"]
        scores = [near.score for near in examples["same"].neighbours]
        assert scores == sorted(scores, reverse=True)

    def test_they_are_drawn_by_seed_whatever_the_order(self, tmp_path: Path) -> None:
        vectors, rows = random_vectors(300), texts(300)
        forth, back = Output(tmp_path / "1/vectors"), Output(tmp_path / "2/vectors")
        forth.commit("a", rows, vectors)
        back.commit("a", rows[::-1], vectors[::-1])
        first, second = (neighbour_examples(output.open()) for output in (forth, back))
        assert first == second
        assert len(first) == 3
        assert all(len(example.neighbours) == 3 for example in first)
        assert first != neighbour_examples(forth.open(), seed=1)

    def test_they_are_of_unlike_ids(self, output: Output) -> None:
        rows = [(f"json.f{n}", 0, f"json {n}") for n in range(12)]
        rows += [("zip.f", 0, "zip"), ("csv.f", 0, "csv")]
        output.commit("a", rows, random_vectors(14))
        queries = [example.query.split()[0] for example in neighbour_examples(output.open())]
        assert sorted(queries) == ["csv", "json", "zip"]


class TestQuery:
    def test_a_report_folder_leads_to_its_vectors(self, tmp_path: Path) -> None:
        output = Output(tmp_path / "dry-run/vectors")
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        report = {"outputs": [{"kind": "parquet", "uri": str(output.folder)}]}
        (elsewhere / "report.json").write_text(json.dumps(report))
        for named in (tmp_path / "dry-run", output.folder, elsewhere):
            assert find_output(str(named)) == str(output.folder)

    @pytest.mark.parametrize("report", [None, "{", "[]", '{"outputs": 3}'])
    def test_nothing_to_search(self, tmp_path: Path, report: str | None) -> None:
        if report is not None:
            (tmp_path / "report.json").write_text(report)
        with pytest.raises(OutputError, match="neither an output"):
            find_output(str(tmp_path))

    def test_another_model_is_refused(self, tiny_bundle: Path) -> None:
        with pytest.raises(BundleError, match="not the model that made these vectors"):
            bundle_for(DESCRIPTOR, tiny_bundle)

    def test_a_missing_bundle(self, tmp_path: Path) -> None:
        with pytest.raises(BundleError, match="not a model bundle"):
            bundle_for(DESCRIPTOR.model_copy(update={"bundle": str(tmp_path)}), None)

    def test_the_null_engine_is_refused(self, tiny_bundle: Path) -> None:
        with pytest.raises(OutputError, match="null"):
            bundle_for(DESCRIPTOR.model_copy(update={"engine": "null"}), tiny_bundle)

    @pytest.mark.parametrize("precision", ["fp16", "bf16"])
    def test_an_output_of_half_precision_is_asked_in_fp32(
        self, tiny_bundle: Path, precision: str
    ) -> None:
        """No GPU is needed to ask what one has made."""
        made = open_bundle(tiny_bundle, verify=False).fingerprint(precision)
        told = {"precision": precision, "model_fingerprint": made, "engine": "any"}
        bundle = bundle_for(DESCRIPTOR.model_copy(update=told), tiny_bundle)
        half, whole = (
            embed_query(bundle, "what is this", precision=asked) for asked in (precision, "fp32")
        )
        assert np.array_equal(half, whole)
        with pytest.raises(BundleError, match="not the model"):
            bundle_for(DESCRIPTOR.model_copy(update=told | {"precision": "fp32"}), tiny_bundle)

    @pytest.mark.parametrize("query", ["", "  \n", "\udcff"])
    def test_a_question_that_is_none(self, default_bundle: Path, query: str) -> None:
        bundle = bundle_for(_made_by(default_bundle), default_bundle)
        with pytest.raises(UserError, match="QUERY"):
            embed_query(bundle, query, precision="fp32")

    def test_the_bundles_prompt_for_questions_is_used(self, tiny_bundle: Path) -> None:
        bundle = bundle_for(_made_by(tiny_bundle), tiny_bundle)
        asked = embed_query(bundle, "a zip file", precision="fp32")
        assert bundle.prompt_text("query") == "query: "
        plain = _embed(tiny_bundle, ["query: a zip file", "a zip file"])
        np.testing.assert_allclose(asked, plain[0], atol=1e-6)
        assert not np.allclose(asked, plain[1], atol=1e-3)


class TestCommand:
    @pytest.fixture
    def answered(self, tmp_path: Path, default_bundle: Path) -> Path:
        """A dry run's folder with a few documents, of the real model."""
        rows = [
            ("zipfile", 0, "Read and write ZIP files. [bold]\x1b[31mnot red\u202e"),
            ("json", 0, "Encode and decode JavaScript objects."),
            ("socket", 0, "Low-level network connections between two hosts."),
        ]
        made = _made_by(default_bundle)
        output = Output(
            tmp_path / "dry-run/vectors",
            bundle=str(default_bundle),
            model_fingerprint=made.model_fingerprint,
            dimension=384,
        )
        output.commit("a", rows, _embed(default_bundle, [text for _, _, text in rows]))
        output.finish("a")
        return tmp_path / "dry-run"

    def run(self, *arguments: str) -> int:
        return run_program(app, ["search", *arguments], name="embed-job")

    def test_it_answers_sensibly(self, answered: Path, capfdbinary: Any) -> None:
        code = self.run("how do I read a zip file", "--in", str(answered), "--top", "2", "--json")
        assert code == ExitCode.OK
        answer = json.loads(capfdbinary.readouterr().out)
        assert answer["complete"] is True
        assert len(answer["hits"]) == 2
        assert answer["hits"][0]["doc_id"] == "zipfile"
        assert answer["hits"][0]["metadata"] == {"lang": "en"}
        assert answer["hits"][0]["score"] > answer["hits"][1]["score"]

    def test_what_it_prints_is_plain(self, answered: Path, capfd: Any) -> None:
        assert self.run("how do I read a zip file", "--in", str(answered)) == ExitCode.OK
        shown = capfd.readouterr().out
        assert "zipfile#0" in shown.splitlines()[0]
        assert r"ZIP files. [bold]\x1b[31mnot red\u202e" in shown
        assert "\x1b[31m" not in shown

    @pytest.mark.parametrize("flag", [("--filter", "lang=en"), ("--hybrid",)])
    def test_what_only_an_index_can(
        self, answered: Path, flag: tuple[str, ...], capfd: Any
    ) -> None:
        assert self.run("a zip file", "--in", str(answered), *flag) == ExitCode.USAGE
        assert "is for an index" in capfd.readouterr().err

    def test_nothing_there(self, tmp_path: Path, capfd: Any) -> None:
        assert self.run("anything", "--in", str(tmp_path)) == ExitCode.OUTPUT
        assert "neither an output" in capfd.readouterr().err


def _made_by(bundle_path: Path) -> DatasetDescriptor:
    from embed_job.bundle import open_bundle

    made = open_bundle(bundle_path, verify=False).fingerprint("fp32")
    return DESCRIPTOR.model_copy(update={"model_fingerprint": made})


def _embed(bundle_path: Path, documents: list[str]) -> np.ndarray:
    from embed_job.bundle import open_bundle
    from embed_job.engine.onnx import OnnxEngine
    from embed_job.tokenizer import Tokenizer

    bundle = open_bundle(bundle_path, verify=False)
    tokens = Tokenizer(bundle).encode(documents)
    return OnnxEngine(bundle, precision="fp32", threads=1).embed(tokens)


class TestExcerpt:
    def test_white_space_is_folded_and_control_characters_escaped(self) -> None:
        assert excerpt(" a\n\tb\x00c\u200ed\x9b ") == r"a b\x00c\u200ed\x9b"

    @given(st.text(max_size=900), st.integers(2, 200))
    def test_it_is_one_printable_line_of_bounded_length(self, text: str, limit: int) -> None:
        found = excerpt(text, limit=limit)
        assert len(found) <= limit
        assert all(char.isprintable() or char == " " for char in found)
