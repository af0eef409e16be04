"""The end of a job, made from here: where no host could do it, or the one that did has died."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from embed_job.errors import InputError
from embed_job.fleet.order import LISTING_FILE, ORDER_FILE, JobOrder, read_order
from embed_job.storage import Store, join
from launcher.watch.jobs import JobState, output_of

if TYPE_CHECKING:
    from embed_job.commit.finalize import Verdict
    from embed_job.report.model import Report

_READ_BYTES = 1 << 20


def prefix_of(job: JobState) -> str:
    """Where a job's own files are. Raises InputError where the job is none of ours."""
    if job.prefix is None:
        raise InputError(
            job.name,
            "has no order among its inputs",
            "Name a job that `embed-job submit` has made.",
        )
    return job.prefix


def finalize(
    store: Store, job: str, prefix: str, *, check: Callable[[str], None] | None = None
) -> tuple[Verdict, Report]:
    """Check the whole output and commit the job, by the order and listing of its prefix.

    check: gets the spec's name first, and raises where its output is not to be touched.
    Idempotent. Raises InputError where the order is gone.
    """
    from embed_job.fleet.finalize import finalize_job

    with tempfile.TemporaryDirectory(prefix="embed-job-") as folder:
        order = fetch_order(store, prefix, Path(folder))
        if check is not None:
            check(order.spec.name)
        listing = Path(folder) / LISTING_FILE
        return finalize_job(
            store,
            output_of(prefix),
            job,
            order,
            listing if order.listed else None,
            host=None,
        )


def fetch_order(store: Store, prefix: str, folder: Path) -> JobOrder:
    """Bring a job's order, and its listing where it has one, into a folder."""
    try:
        _fetch(store, join(prefix, "input", ORDER_FILE), folder / ORDER_FILE)
        order = read_order(folder)
        if order.listed:
            _fetch(store, join(prefix, "input", LISTING_FILE), folder / LISTING_FILE)
    except FileNotFoundError as error:
        raise InputError(
            str(error),
            "is not there",
            "The job's own files were removed; submit again, which skips what is committed.",
        ) from error
    return order


def _fetch(store: Store, key: str, path: Path) -> None:
    with path.open("wb") as out:
        for part in _parts(store, key):
            out.write(part)


def _parts(store: Store, key: str) -> Iterator[bytes]:
    stream = store.open_range(key)
    try:
        while part := stream.read(_READ_BYTES):
            yield part
    finally:
        stream.close()
