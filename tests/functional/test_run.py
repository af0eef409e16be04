"""A whole run on real processes and files: counts, resume, refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embed_job.dataset.verify import verify_output
from embed_job.engine.torch import has_gpu
from embed_job.errors import ExitCode, InputError, OutputError, SpecError
from embed_job.storage import store_for


def verified(job: Any) -> bool:
    return verify_output(store_for(str(job.output)), str(job.output)).ok


def test_every_document_becomes_a_row(job: Any) -> None:
    job.write_corpus(files=3, documents=50)
    result = job.run()
    assert result.exit_code is ExitCode.OK
    documents = result.report.counts.documents
    assert (documents.read, documents.written, documents.rejected, documents.skipped) == (
        150,
        150,
        0,
        0,
    )
    assert sorted(job.rows()) == [f"d{n:06}" for n in range(150)]
    assert verified(job)


def test_another_engine_goes_on_where_the_first_has_stopped(job: Any) -> None:
    """What ran is in the report, and not in the fingerprint: engines differ by rounding alone."""
    job.spec["model"]["engine"] = "onnx"
    job.write_corpus(files=1, documents=8)
    first = job.run()
    assert [str(engine) for engine in first.report.engines] == ["onnx on CPU"]
    job.spec["model"]["engine"] = "auto"
    job.write("later.jsonl", [{"id": "new", "text": "a new text"}])
    second = job.run()
    assert second.exit_code is ExitCode.OK
    assert second.report.fingerprint == first.report.fingerprint
    assert (second.report.resumed.splits_reused, second.report.resumed.splits_embedded) == (1, 1)
    (ran,) = second.report.engines
    assert ran.engine in ("native", "onnx")
    assert ran.device == "CPU"


@pytest.mark.skipif(has_gpu(), reason="fp16 can be computed here")
def test_half_precision_without_a_gpu_leaves_the_output_to_whatever_comes(job: Any) -> None:
    job.spec["model"] |= {"engine": "auto", "precision": "fp16"}
    job.write_corpus(files=1, documents=8)
    with pytest.raises(SpecError, match="needs a GPU") as refused:
        job.run()
    assert refused.value.where == "model.precision"
    assert "fp32" in refused.value.hint
    job.spec["model"]["precision"] = "fp32"
    assert job.run().exit_code is ExitCode.OK


def test_a_second_run_embeds_nothing_and_changes_no_file(job: Any) -> None:
    job.write_corpus(files=2, documents=30)
    job.run()
    before = job.parts()
    result = job.run()
    assert result.exit_code is ExitCode.OK
    assert result.report.resumed.splits_embedded == 0
    assert result.report.counts.documents.written == 60
    assert job.parts() == before


def test_rows_do_not_depend_on_workers_or_batches(make_job: Callable[[str], Any]) -> None:
    one, other = make_job("one"), make_job("other")
    for job in (one, other):
        job.write_corpus(files=4, documents=40)
    one.spec["execution"] = {"workers": 1, "batch_tokens": 64, "window_mib": 0.001}
    other.spec["execution"] = {"workers": 3}
    one.run()
    other.run()
    assert one.rows() == other.rows()


def test_what_changed_is_embedded_anew_and_the_old_rows_are_gone(job: Any) -> None:
    job.write_corpus(files=3, documents=20)
    job.allow_deletions()
    job.run()
    job.write("001.jsonl", [{"id": "new", "text": "a new text"}])
    result = job.run()
    assert result.exit_code is ExitCode.OK
    assert (result.report.resumed.splits_reused, result.report.resumed.splits_embedded) == (2, 1)
    kept = [f"d{n:06}" for n in [*range(20), *range(40, 60)]]
    assert sorted(job.rows()) == [*kept, "new"]
    assert len(job.parts()) == 3
    assert verified(job)


def test_orphans_of_a_lost_attempt_are_never_read_and_swept(job: Any) -> None:
    job.write_corpus(files=1, documents=20)
    job.run()
    part = next(iter(job.parts()))
    orphan = job.output / part.replace("-000.parquet", "-007.parquet")
    orphan.write_bytes((job.output / part).read_bytes())
    assert len(job.rows()) == 20
    assert not verified(job)
    job.run()
    assert not orphan.exists()
    assert verified(job)


def test_nothing_of_the_users_is_ever_removed(job: Any) -> None:
    job.write_corpus(files=1, documents=5)
    job.allow_deletions()
    job.output.mkdir()
    theirs = [job.output / name for name in ("part-00000.jsonl", "notes.md", "_embed_job.txt")]
    for path in theirs:
        path.write_text("mine")
    job.run()
    job.write("000.jsonl", [{"id": "new", "text": "a new text"}])
    assert job.run().exit_code is ExitCode.OK
    assert [path.read_text() for path in theirs] == ["mine"] * 3


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("chunk", {"max_tokens": 16, "overlap_tokens": 4}),
        ("name", "another"),
        ("model", {"prompt": "document"}),
    ],
)
def test_another_jobs_output_is_refused(job: Any, key: str, value: Any) -> None:
    job.write_corpus(files=1, documents=5)
    job.run()
    before = job.parts()
    job.spec[key] = {**job.spec[key], **value} if key == "model" else value
    with pytest.raises(OutputError, match="belongs to another job"):
        job.run()
    assert job.parts() == before


def test_a_folder_of_somebody_elses_parquet_is_refused(job: Any) -> None:
    job.write_corpus(files=1, documents=5)
    job.output.mkdir()
    pq.write_table(pa.table({"a": [1]}), job.output / "theirs.parquet")
    with pytest.raises(OutputError, match=r"theirs\.parquet"):
        job.run()


def test_an_output_inside_the_input_is_refused(job: Any) -> None:
    job.write_corpus(files=1, documents=5)
    job.spec["outputs"][0]["parquet"]["uri"] = str(job.input / "vectors")
    with pytest.raises(SpecError, match="lies inside the input"):
        job.run()


def test_a_missing_input_is_named(job: Any) -> None:
    job.spec["input"]["uri"] = str(job.input / "absent.jsonl")
    with pytest.raises(InputError, match=r"absent\.jsonl"):
        job.run()


def test_an_empty_input_is_a_success_of_zero_documents(job: Any) -> None:
    job.write("empty.jsonl", [])
    result = job.run()
    assert result.exit_code is ExitCode.OK
    assert result.report.counts.documents.read == 0
    assert job.parts() == {}


def test_an_input_that_became_empty_removes_nothing(job: Any) -> None:
    job.write_corpus(files=1, documents=5)
    job.run()
    before = job.parts()
    job.write("000.jsonl", [])
    with pytest.raises(OutputError, match="the input is empty now"):
        job.run()
    assert job.parts() == before


DOUBLED = [
    {"id": "a", "text": "first a"},
    {"id": "b", "text": "only b"},
    {"id": "a", "text": "second a"},
    {"id": "a", "text": "third a"},
]


@pytest.mark.parametrize(
    ("policy", "texts", "counts"),
    [
        ("reject", {"a": "first a", "b": "only b"}, (4, 2, 2, 0)),
        ("last_wins", {"b": "only b", "a": "third a"}, (4, 2, 0, 2)),
        (
            "suffix",
            {"a": "first a", "b": "only b", "a~2": "second a", "a~3": "third a"},
            (4, 4, 0, 0),
        ),
    ],
)
def test_an_id_twice_in_a_split_follows_the_policy(
    job: Any, policy: str, texts: dict[str, str], counts: tuple[int, ...]
) -> None:
    job.write("a.jsonl", DOUBLED)
    job.spec["input"] |= {"on_duplicate_id": policy, "max_rejected_fraction": 1}
    documents = job.run().report.counts.documents
    assert {key: text for key, (text, _) in job.rows().items()} == texts
    assert (documents.read, documents.written, documents.rejected, documents.skipped) == counts
    assert verified(job)


def test_a_suffixed_id_never_meets_another(job: Any) -> None:
    job.write(
        "a.jsonl",
        [{"id": name, "text": f"text {n}"} for n, name in enumerate(["a", "a~2", "a", "a~2"])],
    )
    job.spec["input"]["on_duplicate_id"] = "suffix"
    job.run()
    assert sorted(job.rows()) == ["a", "a~2", "a~2~2", "a~3"]


def test_an_id_in_two_splits_fails_the_run_unless_allowed(job: Any) -> None:
    job.write("a.jsonl", [{"id": "twin", "text": "here"}, {"id": "x", "text": "x"}])
    job.write("b.jsonl", [{"id": "twin", "text": "and there"}])
    result = job.run()
    assert result.exit_code is ExitCode.INCOMPLETE
    assert result.report.duplicates_across_splits == 1
    assert result.report.duplicate_examples == ("twin",)
    assert "'twin'" in result.report.problems[0]
    job.spec["input"]["allow_duplicates_across_splits"] = True
    again = job.run()
    assert again.exit_code is ExitCode.OK
    assert again.report.resumed.splits_embedded == 0


def test_too_many_rejected_fail_the_run_and_a_higher_limit_accepts_what_is_there(job: Any) -> None:
    job.write("a.jsonl", [{"id": "a", "text": "fine"}, {"id": "b"}])
    result = job.run()
    assert result.exit_code is ExitCode.INCOMPLETE
    assert "missing_text" in result.report.problems[0]
    job.spec["input"]["max_rejected_fraction"] = 0.5
    again = job.run()
    assert again.exit_code is ExitCode.OK
    assert again.report.resumed.splits_embedded == 0


def test_a_dead_letter_finds_its_record_again(job: Any) -> None:
    good = [{"id": f"g{n}", "text": f"good text {n}"} for n in range(4000)]
    path = job.write("a.jsonl", good)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[3210] = b'{"id": "broken", "text": \n'
    path.write_bytes(b"".join(lines))
    job.spec["input"]["split_mib"] = 0.02
    result = job.run()
    assert result.exit_code is ExitCode.OK
    assert result.report.rejected_by_reason == {"malformed_record": 1}
    (example,) = result.report.rejected_examples
    assert (example.file, example.line) == ("a.jsonl", 3211)
    (letter,) = job.letters()
    begin, length = letter["byte_offset"], letter["length"]
    assert path.read_bytes()[begin : begin + length] == lines[3210].rstrip(b"\n")
    assert letter["version"].startswith("sha256:")
    assert letter["key"] == str(path)
    assert len(job.rows()) == 3999


def test_one_unreadable_file_leaves_the_others_alone(job: Any) -> None:
    job.write_corpus(files=2, documents=30)
    (job.input / "cut.jsonl.gz").write_bytes(b"\x1f\x8b\x08\x00\x00\x00")
    (job.input / "cut.parquet").write_bytes(b"PAR1 and then nothing")
    job.spec["input"] |= {"max_rejected_fraction": 1, "fields": {"id": "id", "text": "text"}}
    result = job.run()
    assert result.exit_code is ExitCode.OK
    assert result.report.rejected_by_reason == {"unreadable_source": 2}
    assert len(job.rows()) == 60


def test_long_documents_are_chunked_with_offsets_into_their_text(job: Any) -> None:
    text = " ".join(f"Sentence number {n} speaks of rivers and stones." for n in range(40))
    job.write("a.jsonl", [{"id": "long", "text": text}, {"id": "short", "text": "brief"}])
    job.spec["chunk"] = {"max_tokens": 32, "overlap_tokens": 8}
    result = job.run()
    table = pa.concat_tables(pq.read_table(path) for path in job.output.glob("*.parquet"))
    rows = table.sort_by([("doc_id", "ascending"), ("chunk", "ascending")]).to_pylist()
    assert rows[-1]["id"] == "short"
    chunks = rows[:-1]
    assert [row["id"] for row in chunks] == [f"long#{n}" for n in range(len(chunks))]
    assert all(text[row["char_start"] : row["char_end"]] == row["text"] for row in chunks)
    assert (chunks[0]["char_start"], chunks[-1]["char_end"]) == (0, len(text))
    assert result.report.counts.chunks.written == len(rows) > 10


def test_truncation_is_counted(job: Any) -> None:
    job.write("a.jsonl", [{"id": "long", "text": "! " * 500}, {"id": "short", "text": "brief"}])
    job.spec["chunk"] = {"strategy": "truncate", "max_tokens": 16, "overlap_tokens": 0}
    report = job.run().report
    assert report.truncated.documents == 1
    assert report.truncated.tokens == 500 - 14
    assert report.counts.chunks.written == 2


def test_metadata_keeps_its_types_and_half_floats_are_half(job: Any) -> None:
    job.write(
        "a.jsonl",
        [
            {"id": "1", "text": "one", "lang": "en", "year": 2020, "score": 0.5, "new": True},
            {"id": "2", "text": "two", "lang": None, "year": 2021, "score": 1, "new": False},
        ],
    )
    job.spec["input"]["fields"] = {"metadata": ["lang", "year", "score", "new"]}
    job.spec["outputs"][0]["parquet"]["vector_type"] = "float16"
    assert job.run().exit_code is ExitCode.OK
    table = pq.read_table(next(job.output.glob("*.parquet")))
    assert [table.schema.field(name).type for name in ("lang", "year", "score", "new")] == [
        pa.string(),
        pa.int64(),
        pa.float64(),
        pa.bool_(),
    ]
    assert table.column("year").to_pylist() == [2020, 2021]
    assert table.schema.field("vector").type.value_type == pa.float16()
    assert verified(job)


def test_the_report_has_what_machines_read(job: Any) -> None:
    job.write_corpus(files=1, documents=10)
    job.run()
    report = job.report()
    assert report["counts"]["documents"] == {
        "read": 10,
        "written": 10,
        "rejected": 0,
        "skipped": 0,
    }
    for key in ("read", "written", "rejected", "skipped"):
        assert key in report["counts"]["chunks"]
    assert report["counts"]["tokens"] > 0
    assert set(report["throughput"]) >= {"tokens_per_s", "documents_per_s"}
    assert set(report["stages_s"]) == {"read", "carry", "tokenize", "embed", "write", "wait"}
    assert set(report["truncated"]) == {"documents", "tokens"}
    for key in ("padding_fraction", "rejected_by_reason", "peak_rss_bytes", "fingerprint"):
        assert key in report
    assert (job.folder / "report" / "report.html").stat().st_size > 1000


@pytest.mark.slow
def test_a_text_of_50_mb_and_strange_ones_beside_it(job: Any) -> None:
    text = job.prose(50_000_000)
    job.write(
        "a.jsonl",
        [
            {"id": "before", "text": "river"},
            {"id": "huge", "text": text},
            {"id": "nul", "text": "a\0b \u202egarden"},
            {"id": "k" * 10_000, "text": "stone"},
            {"id": "blank", "text": " \n\u200b"},
            {"id": "after", "text": "light"},
        ],
    )
    job.spec["input"]["max_rejected_fraction"] = 0.5
    job.spec["chunk"] = {"max_tokens": 48, "overlap_tokens": 0}
    result = job.run()
    assert result.exit_code is ExitCode.OK
    documents = result.report.counts.documents
    assert (documents.read, documents.written, documents.rejected) == (6, 4, 2)
    assert result.report.rejected_by_reason == {"empty_text": 1, "id_too_long": 1}
    assert result.report.peak_rss_bytes < 600 << 20
    ends = [
        row
        for path in job.output.glob("*.parquet")
        for row in pq.read_table(path, columns=["doc_id", "char_end"]).to_pylist()
    ]
    assert max(row["char_end"] for row in ends if row["doc_id"] == "huge") == len(text)
