"""What a host is given, as files: the order, its documents, the manifests of earlier runs."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from container.contract import Folders
from embed_job.errors import OutputError, SpecError, output_error
from embed_job.fleet import PROTOCOL

if TYPE_CHECKING:
    from embed_job.fleet.order import JobOrder
    from embed_job.fleet.planning import InputSet

SPOOL = "embed-job-spool"
SPOOL_BYTES = 2**30
"""Free space with which a file system is good enough for the spool; a split needs far less."""


def take_order(folders: Folders) -> JobOrder:
    """The job's order. Raises SpecError where it is missing, damaged, or of another version."""
    from embed_job.fleet.order import read_order

    order = read_order(folders.job)
    if order.protocol != PROTOCOL:
        raise SpecError(
            f"{folders.job}: protocol",
            f"is {order.protocol}, and this image speaks {PROTOCOL}",
            "Submit with the same version of embed-job as the image's.",
        )
    return order


def inputs_of(order: JobOrder, folders: Folders, listing: Path) -> InputSet:
    """What this host may embed, and where it reads it. listing: the folder of the job's listing.

    Shared out before the start: what lies in its folder, which is missing where there are fewer
    objects than hosts. Balanced: all of the input, in S3.
    """
    from embed_job.fleet.listing import listing_of_order, local_share
    from embed_job.fleet.planning import InputSet

    earlier = folders.committed if folders.committed.is_dir() else None
    uri = order.spec.input.uri
    if order.shares_one_plan:
        return InputSet(uri, listing_of_order(listing, order, source_uri=uri), earlier)
    share = local_share(folders.documents, listing, order)
    return InputSet(str(folders.documents), share, earlier)


def target_of(order: JobOrder, folders: Folders) -> str:
    """Where vectors go: the output's URI, or the folder that SageMaker uploads."""
    return str(folders.vectors) if order.is_uploaded else order.spec.parquet.uri


def bundle_of(order: JobOrder, folders: Folders) -> Path | None:
    """The model bundle: where the spec says, if that is in the image, else the image's own.

    None: neither is there, and whoever opens it says so. A spec names the bundle of the machine
    that it was written on; that it is the same model is checked by its fingerprint.
    """
    named = order.spec.model.bundle
    default = folders.models / "default"
    for folder in (named if named.is_absolute() else default, default):
        if (folder / "bundle.json").is_file():
            return folder
    return None


@dataclass(frozen=True, slots=True)
class SpoolPlace:
    """Where unfinished files lie. free_bytes: room on its file system when it was chosen."""

    folder: Path
    free_bytes: int


def _temporary() -> Iterator[Path]:
    """The system's folder for such; none where the root file system is read-only."""
    with suppress(FileNotFoundError):
        yield Path(tempfile.gettempdir())


def choose_spool(folders: Folders) -> SpoolPlace:
    """A writable folder outside the output, on the same volume if there is room.

    Raises OutputError where there is none.
    """
    found: list[SpoolPlace] = []
    failure: OSError | None = None
    for parent in (folders.processing, *_temporary()):
        try:
            folder = parent / SPOOL
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as probe:
                probe.write(b"?")
        except OSError as error:
            failure = failure or error
            continue
        found.append(SpoolPlace(folder, shutil.disk_usage(folder).free))
    roomy = [place for place in found if place.free_bytes >= SPOOL_BYTES]
    if found:
        return roomy[0] if roomy else max(found, key=lambda place: place.free_bytes)
    where = str(folders.processing)
    explained = output_error(failure, where) if failure else None
    raise explained or OutputError(where, "can't be written", "Make it writable.") from failure
