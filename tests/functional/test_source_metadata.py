"""Types of metadata columns, found in the input; fields that are nowhere, told up front."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embed_job.errors import InputError
from embed_job.source.listing import list_input
from embed_job.source.metadata import arrow_type, convert, resolve_metadata
from embed_job.source.plan import plan_splits
from embed_job.spec import Fields, InputSpec
from embed_job.storage.local import LocalStore


def resolve(folder: Path, **fields: Any) -> dict[str, Any]:
    store = LocalStore()
    spec = InputSpec(uri=str(folder), fields=Fields(**fields))
    return dict(
        resolve_metadata(store, plan_splits(store, list_input(store, spec.uri).files, spec), spec)
    )


def write_jsonl(path: Path, *records: dict[str, Any]) -> None:
    path.write_text("".join(json.dumps({"id": "a", "text": "b"} | r) + "\n" for r in records))


def test_jsonl_types_are_those_of_its_values(tmp_path: Path) -> None:
    first = {"b": True, "i": 1, "f": 1, "s": "x", "m": 1, "l": [1], "n": None, "big": 2**63}
    second = {"b": None, "i": -5, "f": 1.5, "s": None, "m": "x", "l": {}, "given": 1}
    write_jsonl(tmp_path / "a.jsonl", first, second)
    metadata = dict.fromkeys(["s", "b", "i", "f", "m", "l", "n", "big", "nowhere"], "auto")
    found = resolve(tmp_path, metadata=metadata | {"given": "timestamp"})
    assert found == {
        "s": "string",
        "b": "bool",
        "i": "int64",
        "f": "float64",
        "m": "string",
        "l": "string",
        "n": "string",
        "big": "string",
        "nowhere": "string",
        "given": "timestamp",
    }
    assert list(found) == [*metadata, "given"]


def test_all_parts_of_the_input_are_looked_at(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", *[{"v": 1}] * 2000)
    write_jsonl(tmp_path / "b.jsonl", {"v": 1.5})
    assert resolve(tmp_path, metadata=["v"]) == {"v": "float64"}


def test_bad_records_do_not_disturb(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'\xff\n{"id\n[]\n\n{"v": 1}\n')
    (tmp_path / "b.jsonl.gz").write_bytes(b"no gzip")
    (tmp_path / "c.parquet").write_bytes(b"no parquet")
    assert resolve(tmp_path, metadata=["v"]) == {"v": "int64"}


def test_parquet_types_are_those_of_its_schema(tmp_path: Path) -> None:
    columns = {
        "i": pa.array([1], pa.int32()),
        "u": pa.array([1], pa.uint64()),
        "f": pa.array([1], pa.float32()),
        "dec": pa.array([Decimal("1.5")]),
        "b": [True],
        "t": pa.array([datetime(2024, 1, 1, tzinfo=UTC)], pa.timestamp("ns")),
        "d": [date(2024, 1, 1)],
        "l": [["x"]],
        "dict": pa.array(["x"]).dictionary_encode(),
    }
    pq.write_table(pa.table({"id": ["a"], "text": ["b"]} | columns), tmp_path / "a.parquet")
    kinds = ["int64", "string", "float64", "float64", "bool", "timestamp", "timestamp"]
    expected = dict(zip(columns, [*kinds, "string", "string"], strict=True))
    assert resolve(tmp_path, metadata=list(columns)) == expected


def test_csv_columns_are_strings(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,text,n\n1,a,5\n")
    assert resolve(tmp_path, metadata=["n"]) == {"n": "string"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"id": "doc_id"}, r"input\.fields\.id names 'doc_id'.*Did you mean 'Doc-ID'"),
        ({"id": "Doc-ID", "text": ["titel"]}, r"input\.fields\.text.*Did you mean 'title'"),
        ({"id": "Doc-ID", "text": ["title", "zzz"]}, r"text names 'zzz'.*It has: Doc-ID, title"),
        (
            {"id": "Doc-ID", "text": "title", "metadata": ["land"]},
            r"input\.fields\.metadata names 'land'.*Did you mean 'lang'",
        ),
    ],
)
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_field_that_is_nowhere(
    tmp_path: Path, kind: str, fields: dict[str, Any], message: str
) -> None:
    if kind == "csv":
        (tmp_path / "a.csv").write_text("Doc-ID,title,lang\n1,a,b\n")
    else:
        table = pa.table({"Doc-ID": ["1"], "title": ["a"], "lang": ["b"]})
        pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(InputError, match=message):
        resolve(tmp_path, **fields)


def test_two_columns_of_one_name(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,text,text\n1,a,b\n")
    with pytest.raises(InputError, match="2 columns are called 'text'"):
        resolve(tmp_path)


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (None, "int64", None),
        ("", "int64", None),
        ("", "string", ""),
        (3.0, "int64", 3),
        (" 7 ", "int64", 7),
        ("TRUE", "bool", True),
        (0, "bool", False),
        ("1e3", "float64", 1000.0),
        (Decimal("0.5"), "float64", 0.5),
        ("1970-01-01T00:00:01.5Z", "timestamp", 1_500_000),
        ("1970-01-02", "timestamp", 86_400_000_000),
        (datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC), "timestamp", -1_000_000),
        (date(1970, 1, 2), "timestamp", 86_400_000_000),
        (1.5, "string", "1.5"),
        ({"a": "ß"}, "string", '{"a":"ß"}'),
        (date(1970, 1, 2), "string", "1970-01-02"),
        (Decimal("1.50"), "string", "1.50"),
    ],
)
def test_values_become_their_columns_type(value: Any, kind: Any, expected: Any) -> None:
    found = convert(value, kind)
    assert found == expected
    assert type(found) is type(expected)
    column = pa.array([found], arrow_type(kind))
    assert column.null_count == (expected is None)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (True, "int64"), ("x", "int64"), (1.5, "int64"), (2**63, "int64"), ("9" * 5000, "int64"),
        (True, "float64"), ("x", "float64"), ([], "float64"), (10**400, "float64"),
        (2, "bool"), ("yes", "bool"), (1.0, "bool"), (5, "timestamp"), ("soon", "timestamp"),
        (b"\x00", "string"),
    ],
)  # fmt: skip
def test_values_that_do_not_fit(value: Any, kind: Any) -> None:
    with pytest.raises(ValueError, match="is not") as caught:
        convert(value, kind)
    assert len(str(caught.value)) < 100
