"""The listing that a host was given, whole or the part of it that lies in its folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from embed_job.errors import InputError, SpecError
from embed_job.fleet.order import LISTING_FILE, LISTING_SCHEMA, JobOrder
from embed_job.source import SourceFile, version_of_etag
from embed_job.source.listing import (
    ListedFile,
    Listing,
    is_hidden,
    key_of,
    kind_of,
    list_input,
    relative_name,
)
from embed_job.storage import store_for
from embed_job.storage.local import LocalStore

_BATCH_ROWS = 1 << 16


def listing_of_order(folder: Path, order: JobOrder, *, source_uri: str) -> Listing:
    """All files of a job, their keys below source_uri; from the store where nothing was listed.

    folder: where order and listing lie. Raises SpecError where the listing is missing or damaged.
    """
    if not order.listed:
        return list_input(store_for(source_uri), source_uri)
    files = tuple(
        _source_file(key_of(source_uri, name), (name, size, version))
        for name, size, version in iter_listed(folder / LISTING_FILE)
    )
    return Listing(files, order.ignored, order.hidden)


def local_share(folder: Path, order_folder: Path, order: JobOrder) -> Listing:
    """The files in folder, which is a part of the input, with the versions of the listing.

    Memory: the share and one batch of the listing. Raises InputError where a file is not in the
    listing or has another size there. What is hidden, or of an unknown ending, is passed over, as
    in the listing. A folder that is missing or empty is an empty share.
    """
    sizes = _sizes_in(folder)
    whole: Callable[[], Iterator[ListedFile]]
    if order.listed:
        path = order_folder / LISTING_FILE
        found = _matching(path, list(sizes))
        whole = partial(iter_listed, path)
    else:
        listing = list_input(store_for(order.spec.input.uri), order.spec.input.uri)
        found, whole = listing.everything(), listing.everything
    files: list[SourceFile] = []
    for listed in found:
        name, size, _ = listed
        if name not in sizes:
            continue
        if sizes[name] != size:
            raise InputError(
                name,
                f"has {sizes[name]} bytes here and had {size} when the job was submitted",
                "Something changed the input meanwhile: submit again.",
            )
        del sizes[name]
        files.append(_source_file(str(folder / name), listed))
    if sizes:
        raise InputError(
            min(sizes),
            f"is not in the job's listing ({len(sizes)} such files here)",
            "It came after the job was submitted, or lies outside input.uri: submit again.",
        )
    return Listing(tuple(files), order.ignored, order.hidden, whole)


def iter_listed(path: Path) -> Iterator[ListedFile]:
    """The files of a listing file, in its order, a batch at a time. Raises SpecError."""
    for batch in _batches(path):
        yield from _listed(batch)


def _matching(path: Path, names: list[str]) -> Iterator[ListedFile]:
    wanted = pa.array(names, pa.string())
    for batch in _batches(path):
        yield from _listed(batch.filter(pc.is_in(batch.column("name"), value_set=wanted)))


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    try:
        with pq.ParquetFile(path) as file:
            if file.schema_arrow.names != LISTING_SCHEMA.names:
                raise SpecError(
                    str(path), "is not a listing of this version", "Submit the job again."
                )
            yield from file.iter_batches(batch_size=_BATCH_ROWS)
    except FileNotFoundError:
        raise SpecError(str(path), "is not there", "Submit the job again.") from None
    except pa.ArrowInvalid as error:
        raise SpecError(str(path), f"is damaged ({error})", "Submit the job again.") from error


def _listed(batch: pa.RecordBatch) -> Iterator[ListedFile]:
    names, sizes, etags = (batch.column(name).to_pylist() for name in LISTING_SCHEMA.names)
    for name, size, etag in zip(names, sizes, etags, strict=True):
        yield name, size, version_of_etag(etag)


def _source_file(key: str, listed: ListedFile) -> SourceFile:
    name, size, version = listed
    kind = kind_of(name)
    if kind is None:
        raise SpecError(
            name, "is listed, but of an unknown ending", "Submit with the image's version."
        )
    return SourceFile(key, name, size, version, *kind)


def _sizes_in(folder: Path) -> dict[str, int]:
    if not folder.is_dir():
        return {}
    stored = (
        (relative_name(file.key, str(folder)), file) for file in LocalStore().list(str(folder))
    )
    return {name: file.size for name, file in stored if not is_hidden(name) and kind_of(name)}
