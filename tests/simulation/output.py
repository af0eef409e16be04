"""The output's folder in S3 as any reader finds it, and what its manifests say was embedded."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow.parquet as pq

from tests.simulation.expected import Row

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BUCKET = "my-bucket"
Vector = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Output:
    """prefix: its folder in BUCKET, with a slash at its end."""

    s3: S3Client
    prefix: str

    @property
    def uri(self) -> str:
        return f"s3://{BUCKET}/{self.prefix}"

    def keys(self, below: str = "") -> Iterator[str]:
        """Names of its files, below the folder."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(
            Bucket=BUCKET, Prefix=f"{self.prefix}{below}"
        )
        for page in pages:
            for entry in page.get("Contents", []):
                yield entry["Key"].removeprefix(self.prefix)

    def read(self, name: str) -> bytes:
        return self.s3.get_object(Bucket=BUCKET, Key=f"{self.prefix}{name}")["Body"].read()

    def rows(self) -> dict[str, Row]:
        """Every row of every Parquet file that a reader of the folder comes upon: such a reader
        passes over what begins with _ and asks no manifest."""
        found: dict[str, Row] = {}
        for name in self.keys("part-"):
            table = pq.read_table(io.BytesIO(self.read(name)), columns=["id", *Row._fields])
            for row in table.to_pylist():
                row_id = row.pop("id")
                assert row_id not in found, f"{row_id} twice"
                found[row_id] = Row(**row)
        return found

    def vectors(self) -> dict[str, Vector]:
        """Row to vector."""
        found: dict[str, Vector] = {}
        for name in self.keys("part-"):
            table = pq.read_table(io.BytesIO(self.read(name)), columns=["id", "vector"])
            vectors = table.column("vector").combine_chunks().flatten().to_numpy()
            ids = table.column("id").to_pylist()
            found |= dict(zip(ids, vectors.reshape(len(ids), -1), strict=True))
        return found

    def committed(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Every split's manifest by split and attempt, what was retired included."""
        names = [name for name in self.keys("_embed_job/") if "/manifests/" in name]
        manifests = [orjson.loads(self.read(name)) for name in names]
        return {(one["split"], one["attempt"]): one for one in manifests}

    def generation(self) -> int:
        """That of the committed job; 0 before the first."""
        if "_embed_job/job.json" not in set(self.keys("_embed_job/job.json")):
            return 0
        generation: int = orjson.loads(self.read("_embed_job/job.json"))["generation"]
        return generation

    def holder(self) -> str:
        """The run that holds the lease; "" where none does."""
        if not list(self.keys("_embed_job/lease.json")):
            return ""
        lease = orjson.loads(self.read("_embed_job/lease.json"))
        return "" if lease["free"] else str(lease["run"])
