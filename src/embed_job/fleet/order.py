"""What the launcher hands to the hosts, as files: the job's spec and the listing of its input."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from embed_job.errors import SpecError
from embed_job.fleet import PROTOCOL
from embed_job.manifest import FORMAT_VERSION, Record
from embed_job.source.metadata import ConcreteType
from embed_job.spec import JobSpec

ORDER_FILE = "order.json"
LISTING_FILE = "listing.parquet"
MAX_IGNORED_NAMES = 1000
"""Of files that are not embedded, as an order holds them."""

LISTING_SCHEMA = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("etag", pa.string(), nullable=False),
    ]
)
"""The input's objects in order of their names: name below the input's folder, size in bytes, ETag
as S3 gives it, without quotes. Objects of unknown ending are left out, and counted in the order."""


class JobOrder(Record):
    """One job for all of its hosts.

    spec: with the URIs of S3, as its user wrote it. columns: metadata columns with the types that
    the launcher found, None where the hosts are to find them. model_fingerprint: of the bundle
    that the user has tried, None where he has none; hosts with another bundle refuse to work.
    files, bytes: of the listing; ignored, hidden: as in :class:`embed_job.source.listing.Listing`.
    listed: whether a listing lies beside the order, called listing_file there; without, hosts make
    one (:func:`embed_job.fleet.first_listing.complete_order`) or list the input themselves.
    created_at in Unix seconds, 0 where the job did not exist when the order was made.
    """

    format_version: int = FORMAT_VERSION
    protocol: int = PROTOCOL
    program_version: str
    spec: JobSpec
    columns: dict[str, ConcreteType] | None = None
    model_fingerprint: str | None = None
    listed: bool
    listing_file: str = LISTING_FILE
    files: int = 0
    bytes: int = 0
    ignored: tuple[str, ...] = ()
    hidden: int = 0
    created_at: float

    @property
    def shares_one_plan(self) -> bool:
        """Whether hosts take splits of one plan from S3, instead of each having its own files."""
        return self.spec.compute is not None and self.spec.compute.sharing == "balanced"

    @property
    def awaits_listing(self) -> bool:
        """Whether its hosts are to make the listing that all of them go by."""
        return not self.listed and self.shares_one_plan and not self.is_uploaded

    @property
    def is_uploaded(self) -> bool:
        """Whether SageMaker uploads the output, so that hosts can't see what others have done."""
        compute = self.spec.compute
        return compute is not None and compute.delivery == "processing_output"


def encode_order(order: JobOrder) -> bytes:
    """An order as its file holds it."""
    return order.model_dump_json(indent=1).encode() + b"\n"


def read_order(folder: Path) -> JobOrder:
    """The order in a folder. Raises SpecError where there is none, or one of another version."""
    path = folder / ORDER_FILE
    try:
        return JobOrder.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise SpecError(
            str(path), "is not there", "Submit the job with embed-job submit, which brings it."
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "content"
        raise SpecError(
            f"{path}: {where}",
            f"is not an order of this version ({first['msg']})",
            "Submit with the same version of embed-job as the image's.",
        ) from None


def write_listing(path: Path, batches: Iterable[pa.RecordBatch]) -> None:
    """A listing file of batches of LISTING_SCHEMA."""
    with pq.ParquetWriter(path, LISTING_SCHEMA, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch)
