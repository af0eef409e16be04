"""Which metadata columns there are, and of which type: found in the input where the spec says auto.

Also checks, before anything is embedded, that the fields of the spec are in the files that say
which columns they have.
"""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import pyarrow as pa

from embed_job.errors import InputError
from embed_job.source import Format, SourceFile, Split
from embed_job.source.blocks import Damaged
from embed_job.source.column_types import ConcreteType, arrow_type, convert
from embed_job.source.csv_rows import read_header
from embed_job.source.cutter import BOM
from embed_job.source.json_lines import parse_json
from embed_job.source.parquet_rows import open_parquet
from embed_job.source.record import Refused
from embed_job.source.split_cuts import split_cuts
from embed_job.spec import InputSpec
from embed_job.storage import Store

__all__ = ["ConcreteType", "arrow_type", "convert", "resolve_metadata"]

MAX_RECORDS = 1000
MAX_SPLITS = 8
BLOCK_BYTES = 64 << 10


def resolve_metadata(
    store: Store, splits: Sequence[Split], spec: InputSpec
) -> dict[str, ConcreteType]:
    """The type of each metadata column, in the order of the spec.

    auto: the schema of Parquet files; string for CSV; for JSONL what up to 1,000 records from
    the starts of up to 8 splits hold. Where they differ: float64 for integers and fractions,
    string otherwise. A column of lists or objects is a string of JSON.

    InputError: the id is missing from a CSV header or Parquet schema, all text fields are, or,
    where there is no JSONL, a text field or metadata column is in none of them.
    """
    files = {split.files[0].key: split.files[0] for split in splits}.values()
    tables = _tables(store, files, spec)
    lines = [split for split in splits if split.files[0].format is Format.JSONL]
    _check_fields(tables, spec, open_ended=bool(lines))
    wanted = [name for name, kind in spec.fields.metadata.items() if kind == "auto"]
    seen: dict[str, set[ConcreteType]] = defaultdict(set)
    for columns in tables.values():
        for name in wanted:
            if name in columns:
                seen[name].add(columns[name])
    if wanted:
        for record in _sampled(store, lines, spec):
            for name in wanted:
                if (value := record.get(name)) is not None:
                    seen[name].add(_type_of(value))
    return {
        name: _merged(seen[name]) if kind == "auto" else kind
        for name, kind in spec.fields.metadata.items()
    }


def _tables(
    store: Store, files: Iterable[SourceFile], spec: InputSpec
) -> dict[str, dict[str, ConcreteType]]:
    """Column names and types of each CSV and Parquet file, by key. Damaged files say nothing
    here; their readers reject them."""
    tables: dict[str, dict[str, ConcreteType]] = {}
    for file in files:
        try:
            if file.format in (Format.CSV, Format.TSV):
                header = read_header(store, file, max_bytes=spec.max_document_mib << 20)
                if header.names:
                    _check_unique(file, header.names, spec)
                    tables[file.key] = dict.fromkeys(header.names, "string")
            elif file.format is Format.PARQUET:
                with open_parquet(store, file) as parquet:
                    schema = parquet.schema_arrow
                _check_unique(file, schema.names, spec)
                tables[file.key] = {field.name: _type_in(field.type) for field in schema}
        except Damaged:
            continue
    return tables


def _check_unique(file: SourceFile, names: Sequence[str], spec: InputSpec) -> None:
    fields = spec.fields
    for name in (fields.id, *fields.text, *fields.metadata):
        if names.count(name) > 1:
            what = f"{names.count(name)} columns are called '{name}'"
            raise InputError(file.key, what, "Rename all but one.")


def _check_fields(
    tables: Mapping[str, Mapping[str, ConcreteType]], spec: InputSpec, *, open_ended: bool
) -> None:
    fields = spec.fields
    for key, columns in tables.items():
        if fields.id not in columns:
            raise _missing(key, "input.fields.id", fields.id, columns)
        if not any(name in columns for name in fields.text):
            raise _missing(key, "input.fields.text", fields.text[0], columns)
    if tables and not open_ended:
        known = dict.fromkeys(name for columns in tables.values() for name in columns)
        for where, names in (("text", fields.text), ("metadata", fields.metadata)):
            for name in names:
                if name not in known:
                    raise _missing(next(iter(tables)), f"input.fields.{where}", name, known)


def _missing(key: str, where: str, name: str, columns: Iterable[str]) -> InputError:
    names = list(columns)
    by_folded = {column.casefold(): column for column in names}
    near = difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.5)
    hint = f"Did you mean '{by_folded[near[0]]}'? " if near else ""
    shown = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
    return InputError(key, f"{where} names '{name}', which is no column", f"{hint}It has: {shown}.")


def _type_in(kind: pa.DataType) -> ConcreteType:
    types = pa.types
    if types.is_dictionary(kind):
        kind = kind.value_type
    if types.is_boolean(kind):
        return "bool"
    if types.is_integer(kind) and kind != pa.uint64():
        return "int64"
    if types.is_floating(kind) or types.is_decimal(kind):
        return "float64"
    if types.is_timestamp(kind) or types.is_date(kind):
        return "timestamp"
    return "string"


def _type_of(value: Any) -> ConcreteType:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int64" if -(2**63) <= value < 2**63 else "string"
    return "float64" if isinstance(value, float) else "string"


def _merged(seen: set[ConcreteType]) -> ConcreteType:
    if len(seen) == 1:
        return next(iter(seen))
    return "float64" if seen == {"int64", "float64"} else "string"


def _sampled(store: Store, splits: Sequence[Split], spec: InputSpec) -> Iterator[Mapping[str, Any]]:
    count = min(MAX_SPLITS, len(splits))
    for index in range(count):
        split = splits[index * len(splits) // count]
        yield from islice(_records(store, split, spec), MAX_RECORDS // count)


def _records(store: Store, split: Split, spec: InputSpec) -> Iterator[Mapping[str, Any]]:
    for piece in split.pieces:
        yield from _records_of_piece(store, piece, spec)


def _records_of_piece(store: Store, split: Split, spec: InputSpec) -> Iterator[Mapping[str, Any]]:
    max_bytes = spec.max_document_mib << 20
    cuts = split_cuts(store, split, max_bytes=max_bytes, block_bytes=BLOCK_BYTES)
    try:
        for offset, data in cuts:
            if isinstance(data, bytes) and data:
                try:
                    yield parse_json(data if offset else data.removeprefix(BOM))
                except Refused:
                    continue
    except Damaged:
        return
