"""The listing of a job that was ordered without one, as a schedule's is: made when the job runs,
by one host for all."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from embed_job.errors import InputError
from embed_job.fleet import Host
from embed_job.fleet.order import (
    LISTING_FILE,
    LISTING_SCHEMA,
    MAX_IGNORED_NAMES,
    ORDER_FILE,
    JobOrder,
    encode_order,
    read_order,
    write_listing,
)
from embed_job.fleet.records import JobFolder
from embed_job.source import SourceFile, version_of_etag
from embed_job.source.listing import Listing, list_input
from embed_job.storage import Store, resolve, store_for

_BATCH_ROWS = 32 << 10
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a host waits for the first one's listing before it lists the input itself, and how
    often it looks. Seconds."""

    wait_s: float = 120.0
    poll_s: float = 1.0


def complete_order(
    order: JobOrder,
    host: Host,
    folder: Path,
    *,
    stopping: Callable[[], bool],
    patience: Patience = Patience(),
    clock: Callable[[], float] = time.time,
) -> JobOrder | None:
    """The order with a listing, the same on every host; LISTING_FILE lies in `folder` then, which
    is made where it is missing.

    The host of rank 0 lists the input, the others wait for it; who has waited in vain lists too.
    All take the listing of whoever first left an order in the job's folder, by conditional
    creation. There `embed-job finalize` finds both as it does those of a submitted job.

    None where the host is to stop before there is a listing. Raises InputError where the input
    holds nothing to embed: that is a mistake more often than the wish to delete everything.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target_uri = order.spec.parquet.uri
    room = JobFolder(store_for(target_uri), resolve(target_uri), host.job)
    if host.rank and not _appears(room, patience, stopping):
        return None
    if (left := _left(room, folder)) is not None:
        return left
    listing = _listing(order.spec.input.uri)
    mine = order.model_copy(
        update={
            "listed": True,
            "listing_file": f"listing-{host.name}.parquet",
            "files": len(listing.files),
            "bytes": sum(file.size for file in listing.files),
            "ignored": listing.ignored[:MAX_IGNORED_NAMES],
            "hidden": listing.hidden,
            "created_at": clock(),
        }
    )
    _leave(room, mine, listing, folder)
    return _left(room, folder)


def _listing(uri: str) -> Listing:
    """The input. Raises InputError where it holds nothing to embed."""
    listing = list_input(store_for(uri), uri)
    if any(file.size for file in listing.files):
        return listing
    empty = f" ({len(listing.files)} files, all empty)" if listing.files else ""
    raise InputError(
        uri,
        f"holds nothing to embed{empty}",
        "Nothing was deleted: output and index stay as they are. Check who fills it.",
    )


def _appears(room: JobFolder, patience: Patience, stopping: Callable[[], bool]) -> bool:
    """Wait until an order is left, but not for ever; False where the host is to stop."""
    until = time.monotonic() + patience.wait_s
    while not stopping():
        try:
            room.store.stat(room.key("input", ORDER_FILE))
        except FileNotFoundError:
            if time.monotonic() < until:
                time.sleep(patience.poll_s)
                continue
        return True
    return False


def _left(room: JobFolder, folder: Path) -> JobOrder | None:
    """The order that counts, with its listing fetched; None where nobody has left one."""
    try:
        (folder / ORDER_FILE).write_bytes(room.store.read(room.key("input", ORDER_FILE)))
    except FileNotFoundError:
        return None
    order = read_order(folder)
    _fetch(room.store, room.key("input", order.listing_file), folder / LISTING_FILE)
    return order


def _leave(room: JobFolder, order: JobOrder, listing: Listing, folder: Path) -> None:
    """Leave listing and order, in this order; the listing goes where another host was first."""
    path, key = folder / order.listing_file, room.key("input", order.listing_file)
    write_listing(path, _batches(listing.files))
    room.store.upload(path, key)
    if not room.store.create(room.key("input", ORDER_FILE), encode_order(order)):
        room.store.delete(key)


def _batches(files: tuple[SourceFile, ...]) -> Iterator[pa.RecordBatch]:
    mark = version_of_etag("")
    for start in range(0, len(files), _BATCH_ROWS):
        some = files[start : start + _BATCH_ROWS]
        rows = [(file.name, file.size, file.version.removeprefix(mark)) for file in some]
        columns = zip(zip(*rows, strict=True), LISTING_SCHEMA.types, strict=True)
        arrays = [pa.array(column, kind) for column, kind in columns]
        yield pa.RecordBatch.from_arrays(arrays, schema=LISTING_SCHEMA)


def _fetch(store: Store, key: str, path: Path) -> None:
    stream = store.open_range(key)
    try:
        with path.open("wb") as out:
            shutil.copyfileobj(stream, out, _BLOCK_BYTES)
    finally:
        stream.close()
