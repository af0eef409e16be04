"""An output as others read it: pyarrow, pandas, polars and DuckDB see the same rows and vectors."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from embed_job.dataset import open_dataset, vectors_of
from embed_job.errors import ExitCode
from embed_job.progress import choose_progress
from embed_job.run import run_job
from embed_job.spec import (
    ExecutionSpec,
    Fields,
    InputSpec,
    JobSpec,
    ModelSpec,
    Output,
    ParquetOutput,
)
from embed_job.storage.local import LocalStore

DOCUMENTS = 60


@dataclass
class Written:
    """What an output holds by its manifests. vectors: float32 [rows, dimension]."""

    folder: Path
    vector_type: str
    rows: list[dict[str, Any]]
    vectors: np.ndarray

    @property
    def glob(self) -> str:
        return str(self.folder / "part-*.parquet")

    def assert_same(self, rows: list[dict[str, Any]], vectors: np.ndarray) -> None:
        assert vectors.dtype == self.vector_type
        assert vectors.shape == self.vectors.shape
        order = sorted(range(len(rows)), key=lambda row: rows[row]["id"])
        assert [rows[row] for row in order] == self.rows
        np.testing.assert_array_equal(vectors[order].astype(np.float32), self.vectors)


@pytest.fixture(scope="module", params=["float32", "float16"])
def written(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path
) -> Written:
    """An output of two files of input, with missing metadata and documents of several chunks."""
    root = tmp_path_factory.mktemp("readers")
    (root / "in").mkdir()
    for half in range(2):
        lines = [json.dumps(_document(number)) for number in range(half, DOCUMENTS, 2)]
        (root / f"in/{half}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    parquet = ParquetOutput(uri=str(root / "out"), text=True, vector_type=request.param)
    metadata = {"lang": "string", "year": "int64", "open": "bool", "weight": "float64"}
    spec = JobSpec(
        name="readers",
        input=InputSpec(uri=str(root / "in"), fields=Fields(metadata=metadata)),
        model=ModelSpec(bundle=tiny_bundle),
        outputs=(Output(parquet=parquet),),
        execution=ExecutionSpec(workers=1),
    )
    progress = choose_progress(sys.stderr, quiet=True)
    result = run_job(spec, progress=progress, report_dir=root / "report")
    assert result.exit_code == ExitCode.OK
    return _read_by_manifests(root / "out", request.param)


def _document(number: int) -> dict[str, Any]:
    few = {
        "id": f"doc-{number:03} ü",
        "text": f"How do I read file {number}? 日本 " * (number % 9 + 1),
    }
    if number % 3:
        few |= {"lang": "en", "year": 2000 + number, "open": number % 2 == 0, "weight": number / 7}
    return few


def _read_by_manifests(folder: Path, vector_type: str) -> Written:
    batches = list(open_dataset(LocalStore(), str(folder)).iter_rows())
    rows = [row for batch in batches for row in batch.drop_columns(["vector"]).to_pylist()]
    vectors = np.concatenate([vectors_of(batch) for batch in batches])
    order = sorted(range(len(rows)), key=lambda row: rows[row]["id"])
    return Written(folder, vector_type, [rows[row] for row in order], vectors[order])


def test_there_is_something_to_read(written: Written) -> None:
    documents = {row["doc_id"] for row in written.rows}
    assert len(documents) == DOCUMENTS
    assert len(written.rows) > DOCUMENTS
    assert any(row["year"] is None for row in written.rows)
    np.testing.assert_allclose(np.linalg.norm(written.vectors, axis=1), 1, atol=1e-3)


def test_pyarrow(written: Written) -> None:
    paths = sorted(written.folder.glob("part-*.parquet"))
    assert len(paths) == 2
    table = pa.concat_tables([pq.read_table(path) for path in paths])
    kind = table.schema.field("vector").type
    assert pa.types.is_fixed_size_list(kind)
    flat = table.column("vector").combine_chunks().flatten().to_numpy()
    written.assert_same(
        table.drop_columns(["vector"]).to_pylist(), flat.reshape(-1, kind.list_size)
    )


def test_pyarrow_takes_the_folder_as_it_is(written: Written) -> None:
    table = ds.dataset(written.folder, format="parquet").to_table(columns=["id"])
    assert sorted(table.column("id").to_pylist()) == [row["id"] for row in written.rows]


def test_pandas(written: Written) -> None:
    frame = pd.read_parquet(written.folder)
    vectors = np.stack(frame.pop("vector").to_list())
    plain = frame.astype(object).where(frame.notna(), None)
    written.assert_same(plain.to_dict("records"), vectors)


def test_polars(written: Written) -> None:
    frame = pl.read_parquet(written.glob)
    assert isinstance(frame.schema["vector"], pl.Array)
    vectors = frame.get_column("vector").to_numpy()
    written.assert_same(frame.drop("vector").to_dicts(), vectors)


def test_duckdb(written: Written) -> None:
    with duckdb.connect() as connection:
        found = connection.sql("select * from read_parquet($1)", params=[written.glob])
        table = found.to_arrow_table()
    # DuckDB has no half floats; it widens them, which loses nothing.
    vectors = np.array(table.column("vector").to_pylist()).astype(written.vector_type)
    written.assert_same(table.drop_columns(["vector"]).to_pylist(), vectors)


def test_duckdb_finds_the_nearest(written: Written) -> None:
    nearest = """
        select id from read_parquet($1)
        order by list_inner_product(vector::float[], $2::float[]) desc, id limit 1
    """
    with duckdb.connect() as connection:
        query = written.vectors[7].tolist()
        [(found,)] = connection.sql(nearest, params=[written.glob, query]).fetchall()
    scores = written.vectors @ written.vectors[7]
    near = {written.rows[row]["id"] for row in np.flatnonzero(scores > scores.max() - 1e-5)}
    assert found in near
