"""The index of a spec as a candidate for the alias, and where its canary's page goes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from embed_job.opensearch.canary.run import Candidate
    from embed_job.spec import JobSpec

PAGE = "canary.html"


@contextmanager
def opened_candidate(
    path: Path, overrides: Sequence[str] | None, bundle: Path | None, *, same: bool = True
) -> Iterator[tuple[JobSpec, Candidate]]:
    """The index of a spec, the output that it was loaded from, and a connection until the end.

    bundle: None: the spec's. same: as of open_spec_output. The cluster's errors are OutputErrors.
    """
    from embed_job.cli.spec_argument import as_typed, spec_with_index
    from embed_job.dataset.of_spec import open_spec_output
    from embed_job.opensearch.canary.run import Candidate
    from embed_job.opensearch.client import connect
    from embed_job.opensearch.errors import explained
    from embed_job.opensearch.target import IndexTarget

    spec = spec_with_index(path, overrides or [])
    dataset = open_spec_output(spec, named=as_typed(path, overrides), same=same)
    assert spec.opensearch is not None  # noqa: S101 - spec_with_index has seen to it
    target = IndexTarget(spec.opensearch, dataset.descriptor)
    where = f"{target.output.url}/{target.name}"
    with explained(where), connect(target.output) as client:
        yield spec, Candidate(client, target, dataset, bundle or spec.model.bundle)


def write_page(page: bytes | None, folder: Path | None, spec: JobSpec) -> Path | None:
    """Write a canary's page, whole or not at all; where it is, None where there is none.

    folder: None: out/NAME, as of `embed-job run`. Raises OutputError where it can't be written.
    """
    from embed_job.errors import OutputError
    from embed_job.storage.local import LocalStore

    if page is None:
        return None
    path = (folder or Path("out") / spec.name) / PAGE
    try:
        LocalStore().replace(str(path.absolute()), page)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        hint = "Run again with --report DIR elsewhere."
        raise OutputError(str(path), f"the canary's page cannot be written: {why}", hint) from error
    return path
