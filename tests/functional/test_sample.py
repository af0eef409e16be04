"""A sample: the same each time, spread over the input, its records as they were."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embed_job.dry_run.sample import SampleInfo, SampleSize, parse_sample_size, write_sample
from embed_job.errors import SpecError
from embed_job.records import Document
from embed_job.source.listing import list_input
from embed_job.source.plan import plan_splits
from embed_job.source.reader import SplitReader
from embed_job.spec import InputSpec
from embed_job.storage.local import LocalStore

STORE = LocalStore()


def sample(folder: Path, out: Path, size: str, *, seed: int = 0, **spec: float) -> SampleInfo:
    wanted = InputSpec(uri=str(folder), **spec)  # type: ignore[arg-type]
    files = list_input(STORE, str(folder)).files
    chosen = parse_sample_size(size)
    return write_sample(STORE, files, wanted, size=chosen, seed=seed, folder=out)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def ids(folder: Path) -> list[str]:
    spec = InputSpec(uri=str(folder))
    splits = plan_splits(STORE, list_input(STORE, spec.uri).files, spec)
    found = [item for split in splits for item in SplitReader(STORE, split, spec, {})]
    assert all(isinstance(item, Document) for item in found)
    return [str(item.doc_id) for item in found]


def record(doc_id: str) -> bytes:
    return json.dumps({"id": doc_id, "text": "text " * 20}).encode() + b"\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2000", SampleSize(documents=2000)),
        (" 1% ", SampleSize(fraction=0.01)),
        ("0.5%", SampleSize(fraction=0.005)),
        ("100%", SampleSize(fraction=1.0)),
    ],
)
def test_sizes(text: str, expected: SampleSize) -> None:
    assert parse_sample_size(text) == expected


@pytest.mark.parametrize("text", ["", "0", "0%", "101%", "-5", "1.5", "ten", "1e3", "5 %%", "٣"])
def test_sizes_that_make_no_sense(text: str) -> None:
    with pytest.raises(SpecError, match="--sample 2000 or --sample 1%"):
        parse_sample_size(text)


def test_it_is_spread_seeded_and_the_same_each_time(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for name in "abc":
        (source / f"{name}.jsonl").write_bytes(
            b"".join(record(f"{name}{number}") for number in range(20_000))
        )
    info = sample(source, tmp_path / "one", "300")
    assert info == sample(source, tmp_path / "two", "300")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert info.documents == 300
    assert info.of_bytes == sum(path.stat().st_size for path in source.iterdir())
    assert info.bytes == (tmp_path / "one/sample.jsonl").stat().st_size
    found = ids(tmp_path / "one")
    assert len(set(found)) == 300
    assert all(90 <= sum(i.startswith(name) for i in found) <= 110 for name in "abc")
    assert max(int(i[1:]) for i in found) > 10_000
    small = {"split_mib": 0.02}
    sample(source, tmp_path / "three", "300", seed=1, **small)
    sample(source, tmp_path / "four", "300", seed=2, **small)
    assert contents(tmp_path / "three") != contents(tmp_path / "four")


def test_a_percentage_is_of_the_bytes(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    (source / "a.jsonl").write_bytes(b"".join(record(str(number)) for number in range(20_000)))
    info = sample(source, tmp_path / "out", "10%", split_mib=0.02)
    assert info.bytes == pytest.approx(info.of_bytes / 10, rel=0.1)
    assert sample(source, tmp_path / "all", "100%").documents == 20_000


def test_a_small_input_is_copied_whole_with_its_mistakes(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    data = b'\xef\xbb\xbf{"id": 1}\r\n\n{"id\n\xff\xfe\n{"id": 2}'
    (source / "a.jsonl").write_bytes(data)
    (source / "b.jsonl.gz").write_bytes(gzip.compress(b'{"id": 3}\n'))
    (source / "c.csv").write_bytes(b'id,text\r\n1,"a\r\nb"\r\n2,c,d,e\r\n')
    (source / "d.csv.gz").write_bytes(gzip.compress(b"id,text\n3,x\n"))
    (source / "e.csv").write_bytes(b'id,"text, long"\n4,y\n')
    (source / "f").mkdir()
    (source / "f/g.md.gz").write_bytes(gzip.compress(b"# G"))
    info = sample(source, tmp_path / "out", "1000")
    assert contents(tmp_path / "out") == {
        "f/g.md": b"# G",
        "sample-1.csv": b'id,text\n1,"a\r\nb"\n2,c,d,e\n3,x\n',
        "sample-2.csv": b'id,"text, long"\n4,y\n',
        "sample.jsonl": b'{"id": 1}\r\n{"id\n\xff\xfe\n{"id": 2}\n{"id": 3}\n',
    }
    assert info.documents == 10
    assert info.files == ("f/g.md", "sample-1.csv", "sample-2.csv", "sample.jsonl")


def test_parquet_keeps_its_schema(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    table = pa.table(
        {"id": [f"d{i}" for i in range(10_000)], "text": ["x"] * 10_000, "tags": [["a"]] * 10_000}
    )
    pq.write_table(table, source / "a.parquet", row_group_size=500)
    pq.write_table(table.select(["id", "text"]).slice(0, 7), source / "b.parquet")
    (source / "0.parquet").write_bytes(b"damaged")
    info = sample(source, tmp_path / "out", "100", split_mib=0.001)
    assert info.documents == 100
    tables = [pq.read_table(tmp_path / "out" / name) for name in info.files]
    assert sum(len(found) for found in tables) == 100
    assert tables[0].schema.equals(table.schema)
    sample(source, tmp_path / "again", "100", split_mib=0.001)
    assert contents(tmp_path / "out") == contents(tmp_path / "again")


def test_an_empty_input_is_an_empty_sample(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.jsonl").touch()
    assert sample(tmp_path / "in", tmp_path / "out", "10") == SampleInfo(0, 0, 0, ())
