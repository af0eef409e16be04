"""The end of a job, and of its index, made from here: where no host could do it, or the one that
did has died."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embed_job.errors import InputError, SpecError, UserError
from embed_job.fleet.order import LISTING_FILE, ORDER_FILE, JobOrder, read_order
from embed_job.storage import Store, join
from launcher.watch.jobs import JobState, output_of

if TYPE_CHECKING:
    from embed_job.commit.finalize import Verdict
    from embed_job.report.model import Report
    from embed_job.spec import JobSpec

_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class IndexPart:
    """What became of a spec's index. error: why it could not even be looked at; else None."""

    name: str
    finished: bool
    problems: tuple[str, ...]
    error: UserError | None = None

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"name": self.name, "finished": self.finished}


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
        )


def spec_named(text: str, overrides: Sequence[str]) -> JobSpec | None:
    """The spec in a file of that name; None: it is a job's name."""
    from embed_job.spec.file import load_spec

    path = Path(text)
    if path.suffix.lower() in (".yaml", ".yml") or path.is_file():
        return load_spec(path, overrides)
    return None


def is_local(spec: JobSpec) -> bool:
    """Whether no job of SageMaker can be of this spec, and it has an index to be ended."""
    elsewhere = spec.compute is not None and spec.parquet.uri.startswith("s3://")
    return spec.opensearch is not None and not elsewhere


def spec_of_job(store: Store, prefix: str) -> JobSpec:
    """The spec that a job was ordered with."""
    with tempfile.TemporaryDirectory(prefix="embed-job-") as folder:
        return fetch_order(store, prefix, Path(folder)).spec


def finalize_index(
    spec: JobSpec, *, named: str, progress: Callable[[str], None], stopping: Callable[[], bool]
) -> IndexPart:
    """End the load of a spec's index, as of :func:`embed_job.opensearch.ending.end_load`.

    named: the spec, as the user types it.
    Trouble with the cluster is a problem of the result: the output itself may be committed by now.
    """
    from embed_job.dataset.of_spec import open_spec_output
    from embed_job.opensearch.client import connect
    from embed_job.opensearch.ending import end_load
    from embed_job.opensearch.errors import explained
    from embed_job.opensearch.target import IndexTarget

    output = spec.opensearch
    if output is None:
        raise SpecError("outputs", "names no opensearch output", "There is no index to be ended.")
    name = output.index or str(output.alias)
    try:
        dataset = open_spec_output(spec, named=named)
        target = IndexTarget(output, dataset.descriptor)
        name = target.name
        with explained(f"{output.url}/{name}"), connect(output) as client:
            ended = end_load(client, target, dataset, progress=progress, stopping=stopping)
    except UserError as error:
        return IndexPart(name, finished=False, problems=(str(error),), error=error)
    return IndexPart(name, ended.finished, ended.problems)


def fetch_order(store: Store, prefix: str, folder: Path) -> JobOrder:
    """Bring a job's order, and its listing where it has one, into a folder."""
    try:
        _fetch(store, join(prefix, "input", ORDER_FILE), folder / ORDER_FILE)
        order = read_order(folder)
        if order.listed:
            _fetch(store, join(prefix, "input", order.listing_file), folder / LISTING_FILE)
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
