"""What bad input gets: each record a document or a rejection with its place, the rest intact."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embed_job.errors import InputError
from embed_job.records import Document, Reason, Rejection
from embed_job.source.listing import list_input
from embed_job.source.metadata import ConcreteType
from embed_job.source.plan import plan_splits
from embed_job.source.reader import SplitReader
from embed_job.spec import Fields, InputSpec
from embed_job.storage.local import LocalStore

STORE = LocalStore()
Items = list[Document | Rejection]


def make_spec(path: Path, **changes: Any) -> InputSpec:
    fields = Fields(**changes.pop("fields", {}))
    return InputSpec(uri=str(path), fields=fields, **changes)


def read(path: Path, metadata: Mapping[str, ConcreteType] | None = None, **changes: Any) -> Items:
    spec = make_spec(path, **changes)
    splits = plan_splits(STORE, list_input(STORE, str(path)).files, spec)
    return [item for split in splits for item in SplitReader(STORE, split, spec, metadata or {})]


def lines(path: Path, *records: bytes) -> Path:
    path.write_bytes(b"".join(record + b"\n" for record in records))
    return path


def reasons(items: Items) -> list[str]:
    return [item.text if isinstance(item, Document) else item.reason.value for item in items]


def only_rejection(items: Items) -> Rejection:
    [found] = [item for item in items if isinstance(item, Rejection)]
    return found


GOOD = b'{"id": "good", "text": "fine"}'


@pytest.mark.parametrize(
    ("record", "reason", "detail"),
    [
        (b'{"id": 1, "text": "x"', Reason.MALFORMED, "column 22"),
        (b'["a"]', Reason.MALFORMED, "not an object"),
        (b'{"id": "a", "text": "\x1b[31m', Reason.MALFORMED, r"\x1b[31m"),
        (b"[" * 5000, Reason.MALFORMED, "depth"),
        (b'{"id": NaN, "text": "x"}', Reason.MALFORMED, "column 8"),
        (b'{"id": "a", "text": "x\xff"}', Reason.ENCODING, "byte 22 of the record is 0xff"),
        (b'{"id": "a", "text": "\\ud800"}', Reason.ENCODING, "surrogate"),
        (b'{"id": "a", "text": "\\udc00x"}', Reason.ENCODING, "surrogate"),
        (b'{"id": "a", "text": "\xed\xa0\x80"}', Reason.ENCODING, "0xed"),
        (b'{"text": "x"}', Reason.MISSING_ID, "'id'"),
        (b'{"id": null, "text": "x"}', Reason.MISSING_ID, "'id'"),
        (b'{"id": "", "text": "x"}', Reason.MISSING_ID, "'id'"),
        (b'{"id": 1.5, "text": "x"}', Reason.BAD_ID, "a number"),
        (b'{"id": true, "text": "x"}', Reason.BAD_ID, "true or false"),
        (b'{"id": ["a"], "text": "x"}', Reason.BAD_ID, "a list"),
        (b'{"id": "%s", "text": "x"}' % (b"i" * 10_000), Reason.ID_TOO_LONG, "10000 bytes"),
        (b'{"id": "a"}', Reason.MISSING_TEXT, "'text'"),
        (b'{"id": "a", "text": null}', Reason.MISSING_TEXT, "'text'"),
        (b'{"id": "a", "text": 7}', Reason.BAD_TEXT, "a number"),
        (b'{"id": "a", "text": {"b": 1}}', Reason.BAD_TEXT, "an object"),
        (b'{"id": "a", "text": ""}', Reason.EMPTY_TEXT, "empty"),
        ('{"id": "a", "text": " \\u0000\\n\u200b\u202e\u3000"}'.encode(), Reason.EMPTY_TEXT, "6"),
    ],
)
def test_a_bad_record_is_refused_and_its_neighbours_are_read(
    tmp_path: Path, record: bytes, reason: Reason, detail: str
) -> None:
    path = lines(tmp_path / "in.jsonl", GOOD, record, GOOD)
    first, refused, last = read(path)
    assert isinstance(first, Document)
    assert isinstance(refused, Rejection)
    assert isinstance(last, Document)
    assert (refused.reason, refused.line, refused.ordinal) == (reason, 2, 1)
    assert detail in refused.detail
    assert len(refused.detail) < 400
    assert refused.detail.isprintable()
    assert len(refused.doc_id or "") < 100
    assert refused.byte_offset is not None
    assert refused.length is not None
    whole = path.read_bytes()
    assert whole[refused.byte_offset : refused.byte_offset + refused.length] == record
    assert last.byte_offset == len(GOOD) + len(record) + 2


def test_odd_text_is_data(tmp_path: Path) -> None:
    texts = ["a\0b", "a\u202eb", "👩\u200d🚀", "e\u0301", "…", "\U0010ffff"]
    path = lines(
        tmp_path / "in.jsonl",
        *(json.dumps({"id": i, "text": text}).encode() for i, text in enumerate(texts)),
    )
    found = read(path)
    assert reasons(found) == texts
    assert [item.doc_id for item in found] == list("012345")


def test_text_fields_are_joined_and_what_is_absent_is_counted(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "in.jsonl",
        b'{"id": 1, "title": "t", "body": "b"}',
        b'{"id": 2, "body": "b"}',
        b'{"id": 3, "title": null, "body": "b"}',
        b'{"id": 4, "title": "", "body": "b", "m": null}',
        b'{"id": 5, "title": 1, "body": "b"}',
        b'{"id": 6}',
    )
    spec = make_spec(path, fields={"text": ["title", "body"], "metadata": ["m"]})
    [split] = plan_splits(STORE, list_input(STORE, str(path)).files, spec)
    reader = SplitReader(STORE, split, spec, {"m": "string"})
    assert reasons(list(reader)) == ["t\nb", "b", "b", "b", "bad_text", "missing_text"]
    assert reader.absent_fields == {"title": 2, "m": 3}
    assert reader.lines == 6


def test_metadata_has_the_types_of_its_columns(tmp_path: Path) -> None:
    row = {"id": 1, "text": "x", "s": {"a": [1]}, "i": "42", "f": 3, "b": True}
    path = lines(
        tmp_path / "in.jsonl",
        json.dumps(row | {"t": "2024-02-29T12:00:00+02:00"}).encode(),
        json.dumps(row | {"i": 2**63}).encode(),
        json.dumps(row | {"b": 3}).encode(),
        json.dumps(row | {"t": "yesterday"}).encode(),
    )
    types: dict[str, ConcreteType] = {
        "s": "string", "i": "int64", "f": "float64", "b": "bool", "t": "timestamp"
    }  # fmt: skip
    found = read(path, types)
    noon = int(datetime(2024, 2, 29, 10, tzinfo=UTC).timestamp()) * 1_000_000
    assert isinstance(found[0], Document)
    assert found[0].metadata == ('{"a":[1]}', 42, 3.0, True, noon)
    assert type(found[0].metadata[2]) is float
    assert reasons(found)[1:] == ["bad_metadata"] * 3
    details = [item.detail for item in found[1:] if isinstance(item, Rejection)]
    assert [detail.split(":")[0] for detail in details] == ["'i'", "'b'", "'t'"]


def test_csv_rows_that_do_not_fit_their_header(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_bytes(
        b'\xef\xbb\xbfid,text,n\r\n1,one,5\r\n2,two,5,6\r\n3\r\n4,"a\r\nb"\r\n5,\xff,1\r\n'
    )
    found = read(path, {"n": "int64"})
    assert reasons(found) == [
        "one", "malformed_record", "missing_text", "a\r\nb", "invalid_utf8"
    ]  # fmt: skip
    assert [item.line for item in found] == [2, 3, 4, 5, 7]


def test_a_record_over_the_limit_is_passed_over_in_little_memory(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "in.jsonl", GOOD, b'{"id": "big", "text": "' + b"x" * (40 << 20) + b'"}', GOOD
    )
    tracemalloc.start()
    found = read(path, max_document_mib=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert reasons(found) == ["fine", "document_too_large", "fine"]
    assert only_rejection(found).length == (40 << 20) + 25
    assert peak < 12 << 20


def test_a_text_of_50_mb_is_read(tmp_path: Path) -> None:
    big = b"x y " * 13_000_000
    jsonl = lines(tmp_path / "in.jsonl", GOOD, b'{"id": "b", "text": "' + big + b'"}', GOOD)
    assert [len(text) for text in reasons(read(jsonl))] == [4, len(big), 4]
    jsonl.unlink()
    table = tmp_path / "in.csv"
    table.write_bytes(b'id,text\n1,fine\n2,"' + big + b'"\n3,fine\n')
    assert [len(text) for text in reasons(read(table))] == [4, len(big), 4]


def test_an_open_quote_or_long_row_over_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    rows = [b'1,"open', b"2,two", *[b"9," + b"nine" * 99] * 4000]
    rows += [b"3," + b"x" * (3 << 20), b"4,four"]
    path.write_bytes(b"\n".join([b"id,text", *rows]))
    found = read(path, max_document_mib=1)
    assert len(found) == len(rows)
    assert reasons([*found[:2], *found[-2:]]) == [
        "malformed_record", "two", "document_too_large", "four"
    ]  # fmt: skip


def test_mixed_line_breaks_do_not_take_quadratic_time(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_bytes(b"id,text\r" + b"1,one\n" * 100_000)
    assert len(read(path)) == 100_000


RECORDS = [b'{"id": %d, "text": "text number %d"}' % (i, i * i) for i in range(30_000)]


def compress(data: bytes, kind: str) -> bytes:
    return gzip.compress(data) if kind == "gz" else pa.compress(data, codec="zstd", asbytes=True)


@pytest.mark.parametrize("kind", ["gz", "zst"])
def test_compressed_files(tmp_path: Path, kind: str) -> None:
    data = b"\n".join(RECORDS)
    path = tmp_path / f"in.jsonl.{kind}"
    members = [data[:500_000], data[500_000:]]
    path.write_bytes(b"".join(compress(member, kind) for member in members))
    assert [item.doc_id for item in read(path)] == [str(i) for i in range(30_000)]
    table = tmp_path / f"in.csv.{kind}"
    table.write_bytes(compress(b'id,text\n1,"a\nb"\n2,c\n', kind))
    found = read(table)
    assert (reasons(found), [item.line for item in found]) == (["a\nb", "c"], [2, 4])
    note = tmp_path / f"note.md.{kind}"
    note.write_bytes(compress(b"# Hello", kind))
    [document] = read(note)
    assert (document.doc_id, reasons([document])) == (f"note.md.{kind}", ["# Hello"])


@pytest.mark.parametrize("kind", ["gz", "zst"])
@pytest.mark.parametrize("damage", ["cut", "corrupt"])
def test_damaged_compression_keeps_what_came_before(tmp_path: Path, kind: str, damage: str) -> None:
    first, second = b"\n".join(RECORDS[:20_000]) + b"\n", b"\n".join(RECORDS[20_000:])
    end = compress(second, kind)
    end = end[: len(end) // 2] if damage == "cut" else b"no header" + end
    path = tmp_path / f"in.jsonl.{kind}"
    path.write_bytes(compress(first, kind) + end)
    found = read(path)
    rejection = only_rejection(found)
    assert found[-1] == rejection
    assert rejection.reason is Reason.UNREADABLE
    assert {"gz": "gzip", "zst": "zstd"}[kind] in rejection.detail
    assert [item.doc_id for item in found[:-1]] == [str(i) for i in range(len(found) - 1)]
    # zstd may lose the last 64 KiB of text before the damage, gzip nothing.
    assert len(found) > (20_000 if kind == "gz" else 18_000)


@pytest.mark.parametrize("name", ["in.jsonl.zst", "in.csv.zst", "in.txt.gz"])
def test_a_decompression_bomb_costs_no_memory(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    members = [compress(b"id,text\n", path.suffix[1:])]
    members += [compress(b"\0" * (64 << 20), path.suffix[1:])] * 17
    path.write_bytes(b"".join(members))
    assert path.stat().st_size < 2 << 20
    tracemalloc.start()
    found = read(path, max_document_mib=4)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 << 20
    last = found[-1]
    assert isinstance(last, Rejection)
    # A text file is one document: it is too large long before it is a bomb.
    expected = Reason.TOO_LARGE if "txt" in name else Reason.UNREADABLE
    assert last.reason is expected
    assert "bomb: " in last.detail or "txt" in name


def parquet(path: Path, rows: int = 100, *, group: int = 10) -> pa.Table:
    table = pa.table(
        {
            "id": pa.array([f"d{i}" for i in range(rows)]),
            "text": pa.array([f"text {i}" for i in range(rows)]),
            "when": pa.array([datetime(2024, 1, 1, tzinfo=UTC)] * rows, pa.timestamp("ns", "UTC")),
            "price": pa.array([Decimal("1.25")] * rows),
            "tags": pa.array([["a", "b"]] * rows),
        }
    )
    pq.write_table(table, path, row_group_size=group)
    return table


def test_parquet_row_groups(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    parquet(path)
    types: dict[str, ConcreteType] = {"when": "timestamp", "price": "float64", "tags": "string"}
    for split_mib in (1e-6, 0.001, 16):
        found = read(path, types, split_mib=split_mib)
        assert [(item.line, item.doc_id) for item in found] == [
            (i + 1, f"d{i}") for i in range(100)
        ]
        assert isinstance(found[7], Document)
        assert found[7].metadata == (1704067200000000, 1.25, '["a","b"]')
    spec = make_spec(path, split_mib=1e-6)
    splits = plan_splits(STORE, list_input(STORE, str(path)).files, spec)
    assert [(split.start, split.end) for split in splits] == [(i, i + 1) for i in range(10)]


def test_a_parquet_file_cut_short_does_not_stop_the_others(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet")
    whole = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "b.parquet").write_bytes(whole[: len(whole) // 2])
    found = read(tmp_path)
    assert len(found) == 101
    assert only_rejection(found).reason is Reason.UNREADABLE
    assert only_rejection(found).key.endswith("b.parquet")


def test_a_damaged_row_group_keeps_those_before(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    parquet(path)
    data = bytearray(path.read_bytes())
    place = pq.ParquetFile(path).metadata.row_group(5).column(1).data_page_offset
    data[place : place + 20] = b"\xff" * 20
    path.write_bytes(data)
    found = read(path)
    assert [item.doc_id for item in found[:50]] == [f"d{i}" for i in range(50)]
    assert reasons(found[50:]) == ["unreadable_source"]


def test_parquet_values_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    bad = pa.array([b"fine", b"\xff", None]).view(pa.string())
    pq.write_table(pa.table({"id": [1, 2, 3], "text": bad}), path)
    assert reasons(read(path)) == ["fine", "invalid_utf8", "missing_text"]


def test_text_files(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/a.md").write_bytes(b"\xef\xbb\xbfa\r\n")
    (tmp_path / "b.txt").write_bytes(b"\xff")
    (tmp_path / "c.txt").write_bytes(b"  \n")
    (tmp_path / "d.txt").write_bytes(b"")
    (tmp_path / "e.txt").write_bytes(b"x" * (1 << 21))
    found = read(tmp_path, {"lang": "string"}, fields={"text": ["a", "b"]}, max_document_mib=1)
    assert [item.doc_id for item in found[1:]] == ["c.txt", "e.txt", "sub/a.md"]
    assert reasons(found) == ["invalid_utf8", "empty_text", "document_too_large", "a\r\n"]
    assert isinstance(found[3], Document)
    assert found[3].metadata == (None,)


@pytest.mark.parametrize("name", ["in.jsonl", "in.csv", "in.txt"])
def test_a_file_that_changes_meanwhile_stops_the_run(tmp_path: Path, name: str) -> None:
    path = lines(tmp_path / name, b"id,text", b"1,2")
    spec = make_spec(path)
    [split] = plan_splits(STORE, list_input(STORE, str(path)).files, spec)
    path.write_bytes(b"longer than it was before")
    with pytest.raises(InputError, match="changed while the run was reading it"):
        list(SplitReader(STORE, split, spec, {}))
    path.unlink()
    with pytest.raises(InputError, match="it is gone"):
        list(SplitReader(STORE, split, spec, {}))
