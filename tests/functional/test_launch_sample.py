"""A bounded look into the input, against what is really in it."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embed_job.errors import InputError
from embed_job.spec import JobSpec
from embed_job.storage.local import LocalStore
from launcher.planning.listing import list_objects
from launcher.planning.model import find_model
from launcher.planning.sample import MAX_FILES, PIECE_BYTES, Look, look_into

WORDS = "the quick brown fox jumps over lazy dogs while nine zebras vex them".split()  # noqa: SIM905


def records(count: int, *, first: int = 0) -> Iterator[dict[str, Any]]:
    for number in range(first, first + count):
        body = " ".join(WORDS[: 1 + number % len(WORDS)] * (1 + number % 7))
        yield {"id": f"d{number}", "text": body, "lang": "en", "year": 2000 + number % 20}


def write_jsonl(path: Path, count: int, *, first: int = 0) -> None:
    lines = [json.dumps(record) for record in records(count, first=first)]
    data = ("\n".join(lines) + "\n").encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def make_spec(source: Path, bundle: Path | None = None, **fields: Any) -> JobSpec:
    return JobSpec.model_validate(
        {
            "name": "kb",
            "input": {"uri": str(source), "fields": {"metadata": ["lang", "year"]} | fields},
            "model": {"bundle": str(bundle or source / "nothing")},
            "outputs": [{"parquet": {"uri": "s3://bucket/out"}}],
        }
    )


def look(spec: JobSpec, folder: Path) -> Look:
    store = LocalStore()
    facts = list_objects(store, spec.input.uri, folder)
    model, _ = find_model(spec)
    return look_into(store, facts, spec, chunker=model.chunker if model else None)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    return folder


def test_a_small_input_is_read_whole(source: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    write_jsonl(source / "a.jsonl", 60)
    (source / "b.txt").write_text("one text")
    found = look(make_spec(source, tiny_bundle), tmp_path)
    assert found.contents.documents == 61
    assert found.contents.sampled == 61
    assert found.contents.tokens is not None
    assert found.contents.chunks is not None
    assert found.contents.chunks >= 61
    assert found.columns == {"lang": "string", "year": "int64"}


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.parquet"])
def test_a_large_file_is_estimated(name: str, source: Path, tmp_path: Path) -> None:
    count = 20_000
    if name.endswith("parquet"):
        pq.write_table(pa.Table.from_pylist(list(records(count))), source / name)
    else:
        write_jsonl(source / name, count)
    found = look(make_spec(source), tmp_path).contents
    assert found.documents == pytest.approx(count, rel=0.25)
    assert found.sampled < count / 10
    assert found.tokens is None


def test_many_files_are_looked_into_a_few_at_a_time(source: Path, tmp_path: Path) -> None:
    for number in range(200):
        write_jsonl(source / f"{number:03}.jsonl", 30, first=number * 30)
    found = look(make_spec(source), tmp_path).contents
    assert found.sampled_files <= MAX_FILES
    assert found.documents == pytest.approx(6000, rel=0.1)


def test_text_files_are_counted(source: Path, tmp_path: Path) -> None:
    for number in range(300):
        (source / f"{number}.md").write_text("word " * (number + 1))
    assert look(make_spec(source), tmp_path).contents.documents == 300


def test_documents_longer_than_a_piece_are_not_counted_as_none(
    source: Path, tmp_path: Path
) -> None:
    record = {"id": "long", "text": "word " * PIECE_BYTES, "lang": "en", "year": 1}
    (source / "a.jsonl").write_text(json.dumps(record) + "\n")
    found = look(make_spec(source), tmp_path).contents
    assert found.documents is None or found.documents >= 1


def test_what_would_be_refused_is_counted(source: Path, tmp_path: Path) -> None:
    write_jsonl(source / "a.jsonl", 10)
    with (source / "a.jsonl").open("a") as stream:
        stream.write('{"id": "x", "text": ""}\nnot JSON\n')
    found = look(make_spec(source), tmp_path).contents
    assert (found.documents, found.refused) == (10, 2)


def test_fields_that_are_not_there_are_told_before_anything_runs(
    source: Path, tmp_path: Path
) -> None:
    (source / "a.csv").write_text("id,body,lang,year\n1,hello,en,2000\n")
    with pytest.raises(InputError, match="which is no column"):
        look(make_spec(source), tmp_path)


def test_a_bundle_that_is_not_here_leaves_tokens_unknown(source: Path) -> None:
    model, why = find_model(make_spec(source))
    assert model is None
    assert "is not a model bundle" in why


def test_planning_loads_no_model(source: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    import subprocess
    import sys

    write_jsonl(source / "a.jsonl", 60)
    code = (
        "import sys; from pathlib import Path; import launcher.planning.plan\n"
        "from embed_job.spec import JobSpec\n"
        "from embed_job.storage.local import LocalStore\n"
        "from launcher.planning.listing import list_objects\n"
        "from launcher.planning.model import find_model\n"
        "from launcher.planning.sample import look_into\n"
        "spec = JobSpec.model_validate_json(sys.argv[1])\n"
        "facts = list_objects(LocalStore(), spec.input.uri, Path(sys.argv[2]))\n"
        "model, _ = find_model(spec)\n"
        "print(look_into(LocalStore(), facts, spec, chunker=model.chunker).contents.tokens)\n"
        "heavy = {'onnxruntime', 'onnx', 'torch', 'sagemaker', 'opensearchpy'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)\n"
    )
    spec = make_spec(source, tiny_bundle).model_dump_json()
    command = [sys.executable, "-c", code, spec, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0
