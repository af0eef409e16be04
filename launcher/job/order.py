"""What hosts are handed: the order of a job as files in a folder, beside the listing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from embed_job import __version__
from embed_job.fleet.order import MAX_IGNORED_NAMES, ORDER_FILE, JobOrder, encode_order
from embed_job.source.metadata import ConcreteType
from embed_job.spec import JobSpec


class Listed(Protocol):
    """What an order says of a listing; :class:`launcher.planning.listing.ListingFacts` is one."""

    @property
    def files(self) -> int: ...

    @property
    def bytes(self) -> int: ...

    @property
    def ignored_names(self) -> tuple[str, ...]: ...

    @property
    def hidden(self) -> int: ...


def make_order(
    spec: JobSpec,
    listed: Listed | None,
    *,
    columns: Mapping[str, ConcreteType] | None,
    model_fingerprint: str | None,
    created_at: float,
) -> JobOrder:
    """One order for all hosts.

    listed: None where hosts list the input themselves. columns, model_fingerprint: as in
    :class:`embed_job.fleet.order.JobOrder`. created_at in Unix seconds; 0 where it is not known
    before the job runs.
    """
    return JobOrder(
        program_version=__version__,
        spec=spec,
        columns=None if columns is None else dict(columns),
        model_fingerprint=model_fingerprint,
        listed=listed is not None,
        files=listed.files if listed else 0,
        bytes=listed.bytes if listed else 0,
        ignored=listed.ignored_names[:MAX_IGNORED_NAMES] if listed else (),
        hidden=listed.hidden if listed else 0,
        created_at=created_at,
    )


def write_order(folder: Path, order: JobOrder) -> Path:
    """Write order.json into the folder where :func:`launcher.planning.listing.list_objects` has
    written listing.parquet; the file's path."""
    path = folder / ORDER_FILE
    path.write_bytes(encode_order(order))
    return path
