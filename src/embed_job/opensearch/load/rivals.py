"""Others at work on the same output or index: what this load would spoil for them, it leaves."""

from __future__ import annotations

from collections.abc import Set

from embed_job.commit.commits import Commits
from embed_job.errors import OutputError
from embed_job.opensearch.load.opening import IndexLoad


class OvertakenError(OutputError):
    """What was seen of the output is not what counts any more, or soon won't be."""


def check_alone(load: IndexLoad, live: Set[str]) -> None:
    """Raise OvertakenError where another run has committed other splits than the live ones.

    A run commits a split before it sends a row of it, and the job after its last row. So whoever
    has seen a document of a run, sees here a split that is not live, or another job.
    """
    rows = load.rows
    commits = Commits(rows.store, rows.folder)
    # In this order: the end of a run removes the manifests that its job does not name.
    names = commits.committed_names()
    job = commits.job()
    if job is None or set(job.splits) != live:
        raise OvertakenError(
            rows.folder,
            "another run has committed it during this load, so nothing more was deleted "
            "or finished",
            "Load again.",
        )
    if not names <= live:
        raise OvertakenError(
            rows.folder,
            "another run is under way on this output, or was not brought to its end, so nothing "
            "more was deleted or finished",
            "Let it end, or run the job again; then load again.",
        )


def last_generation(load: IndexLoad) -> int:
    """Of all who have written to the index; 0: nobody has."""
    return max(load.ledger.generations(), default=0)
