"""Rows drawn from a Parquet output, to be looked for in its index."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from embed_job.dataset import Dataset, vectors_of
from embed_job.engine import Vectors
from embed_job.ids import Hashes, hash_ids


@dataclass(frozen=True, slots=True)
class Sample:
    """Some rows. documents: all columns but the vector; vectors: float32 [rows, dimension]."""

    documents: tuple[Mapping[str, Any], ...]
    vectors: Vectors

    def __len__(self) -> int:
        return len(self.documents)

    @property
    def ids(self) -> list[str]:
        return [document["id"] for document in self.documents]


def draw_sample(dataset: Dataset, refused: Hashes, *, count: int, seed: int = 0) -> Sample:
    """`count` rows, each as likely as any other, less those that the server refused; all where
    there are no more. The same for the same output and seed.

    refused: hashes of ids. Reads the parts that rows were drawn from. Memory: the rows,
    and one batch.
    """
    total = dataset.rows
    chosen = sorted(random.Random(seed).sample(range(total), min(count, total)))  # noqa: S311
    documents: list[Mapping[str, Any]] = []
    vectors: list[Vectors] = [np.empty((0, dataset.descriptor.dimension), np.float32)]
    for batch in _drawn(dataset, refused, chosen):
        documents += batch.drop_columns(["vector"]).to_pylist()
        vectors.append(vectors_of(batch))
    return Sample(tuple(documents), np.concatenate(vectors))


def _drawn(dataset: Dataset, refused: Hashes, chosen: list[int]) -> Iterator[pa.RecordBatch]:
    """The rows of those numbers, counted over all parts; copied, so that no batch is kept."""
    wanted = np.array(chosen, np.int64)
    start = 0
    for manifest, part in dataset.parts():
        end = start + part.rows
        if np.searchsorted(wanted, start) < np.searchsorted(wanted, end):
            for batch in dataset.split_rows(manifest.model_copy(update={"parts": (part,)})):
                here = wanted[(wanted >= start) & (wanted < start + batch.num_rows)] - start
                rows = batch.take(pa.array(here))
                yield _less(rows, refused)
                start += batch.num_rows
        start = end


def _less(rows: pa.RecordBatch, refused: Hashes) -> pa.RecordBatch:
    if not len(refused):
        return rows
    kept = ~np.isin(hash_ids(rows.column("id").to_pylist()), refused)
    return rows.filter(pa.array(kept))
