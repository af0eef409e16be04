"""Rows as lines of a bulk: vectors exact, values by their type, what JSON can't hold refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from embed_job.opensearch.delivery.chunks import Operation
from embed_job.opensearch.delivery.encode import Encoder, Storage
from embed_job.opensearch.delivery.results import Refused
from embed_job.opensearch.delivery.tier import Domain
from embed_job.spec.opensearch import BulkSpec


def batch_of(vectors: npt.NDArray[Any], **columns: Any) -> pa.RecordBatch:
    """Rows with these vectors. columns: beside id and doc_id, which are made up if not given."""
    count, dimension = vectors.shape
    ids = [f"r{number}" for number in range(count)]
    flat = pa.array(vectors.reshape(-1))
    given = {"id": ids, "doc_id": ids} | columns
    given["vector"] = pa.FixedSizeListArray.from_arrays(flat, dimension)
    return pa.record_batch(given)


def encoded(batch: pa.RecordBatch, storage: Storage = "float32") -> list[Operation | Refused]:
    return list(Encoder(Domain(BulkSpec()), storage, 3).encode(batch))


def documents(batch: pa.RecordBatch, storage: Storage = "float32") -> list[dict[str, Any]]:
    found = encoded(batch, storage)
    assert not [row for row in found if isinstance(row, Refused)]
    return [orjson.loads(row.document) for row in found if isinstance(row, Operation)]


FLOATS = arrays.arrays(
    np.float32,
    st.tuples(st.integers(1, 5), st.integers(1, 8)),
    elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
)


@settings(deadline=None)
@given(FLOATS)
def test_a_vector_comes_back_bit_by_bit(vectors: npt.NDArray[np.float32]) -> None:
    found = np.array([one["vector"] for one in documents(batch_of(vectors))], np.float32)
    # -0.0 and 0.0 are equal and both right; all others have one pattern of bits.
    assert np.array_equal(found, vectors)
    assert np.array_equal(np.signbit(found), np.signbit(vectors))


def test_halves_of_parquet_are_widened_exactly() -> None:
    vectors = np.array([[0.1, -1.5, 65504]], np.float16)
    (found,) = documents(batch_of(vectors))
    assert np.array_equal(np.array([found["vector"]], np.float32), vectors.astype(np.float32))


@settings(deadline=None)
@given(FLOATS)
def test_bytes_are_rounded_and_stay_within_127(vectors: npt.NDArray[np.float32]) -> None:
    found = [one["vector"] for one in documents(batch_of(vectors), "byte")]
    with np.errstate(over="ignore"):
        wanted = np.clip(np.rint(vectors * np.float32(127)), -127, 127)
    assert all(type(number) is int for row in found for number in row)
    assert np.array_equal(np.array(found), wanted)


def test_a_row_is_its_id_its_version_and_its_columns() -> None:
    batch = batch_of(
        np.ones((2, 2), np.float32),
        id=["a", 'b"\\\n'],
        doc_id=["A", "B"],
        chunk=pa.array([0, 1], pa.int32()),
        split=["0123456789abcdef"] * 2,
        text=["eins", None],
        score=pa.array([0.1, None], pa.float64()),
        free=[True, None],
        at=pa.array(
            [datetime(2026, 1, 2, 3, 4, 5, 678901, UTC), None], pa.timestamp("us", tz="UTC")
        ),
    )
    first, second = encoded(batch)
    assert isinstance(first, Operation)
    assert isinstance(second, Operation)
    assert orjson.loads(first.action) == {
        "index": {"_id": "a", "version": 3, "version_type": "external_gte"}
    }
    assert orjson.loads(second.action)["index"]["_id"] == 'b"\\\n'
    assert second.action.count(b"\n") == second.document.count(b"\n") == 1
    assert orjson.loads(first.document) == {
        "doc_id": "A",
        "chunk": 0,
        "text": "eins",
        "score": 0.1,
        "free": True,
        "at": "2026-01-02T03:04:05.678901Z",
        "split": "0123456789abcdef",
        "vector": [1.0, 1.0],
    }
    assert orjson.loads(second.document)["at"] is None
    assert orjson.loads(second.document)["score"] is None


def test_times_before_1970_and_of_early_years_have_four_digits() -> None:
    moments = [datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC)]
    batch = batch_of(np.ones((2, 1), np.float32), at=pa.array(moments, pa.timestamp("us", "UTC")))
    assert [one["at"] for one in documents(batch)] == [
        "1969-12-31T23:59:59.000000Z",
        "0001-01-01T00:00:00.000000Z",
    ]


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_a_number_that_json_lacks_is_refused_and_its_neighbours_are_not(number: float) -> None:
    vectors = np.ones((4, 2), np.float32)
    vectors[2, 1] = number
    found = encoded(batch_of(vectors, score=[0.5, number, 0.5, None]))
    assert [type(row) for row in found] == [Operation, Refused, Refused, Operation]
    assert found[1] == Refused("r1", "r1", "not_finite: score", 0)
    assert found[2] == Refused("r2", "r2", "not_finite: vector", 0)


def test_an_id_for_which_the_server_refuses_a_whole_bulk_is_refused_alone() -> None:
    ids = ["", "x" * 512, "x" * 513, "é" * 256, "é" * 257]
    found = encoded(batch_of(np.ones((5, 1), np.float32), id=ids))
    assert [type(row) for row in found] == [Refused, Operation, Refused, Operation, Refused]
    assert found[4] == Refused(ids[4], "r4", "bad_id: 514 bytes, an _id has 1 to 512", 0)
