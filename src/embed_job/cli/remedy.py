"""What to do about checks that failed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from embed_job.dataset.verify import Check


def remedy(failed: Sequence[Check], *, named: str) -> str | None:
    """The first thing to do, as what comes after it may be mended by that; None: nothing failed.

    named: the spec, as the user types it.
    """
    from embed_job.opensearch import check

    names = {one.name for one in failed}
    for some, line in (
        (names - _of_index() - _of_canary(), "The output itself is at fault: embed-job run {} "
         "commits what is not committed yet; restore files that are lost or damaged, or embed into "
         "an empty folder."),
        ({check.MAPPING}, "The index is not the spec's: undo the change of the spec, or set "
         "another index and embed-job load {}."),
        ({check.COUNT}, "embed-job load {} sends what is missing and deletes what is too much."),
        ({check.IDENTITY, check.READBACK, check.THEMSELVES},
         "embed-job load {} --all sends every row again."),
        ({check.PROFILE}, "embed-job finalize {} builds the graphs and puts the settings back."),
        ({check.RECALL}, "Raise graph.m and graph.ef_construction and load into another index, or "
         "lower gates.min_recall; then embed-job verify {}."),
        ({check.COUNTERS}, "The log of the cluster's nodes tells of the errors; when they are "
         "gone, embed-job verify {}."),
        (names & _unasked(), "Once the canary has what it lacks, embed-job promote {}."),
        (names & _of_canary(), "Look at both answers on the canary's page. If the new ones are as "
         "good, lower gates.canary's limits, or embed-job promote {} --force."),
        ({check.ALIAS}, "Point the alias to one index alone with _aliases, or set another alias; "
         "then embed-job promote {}."),
    ):  # fmt: skip
        if some & names:
            return line.format(named)
    return None


def _of_canary() -> set[str]:
    """The names of the canary's checks."""
    from embed_job.opensearch.canary import gates

    return {gates.OVERLAP, gates.JUDGED, gates.LATENCY} | _unasked()


def _unasked() -> set[str]:
    from embed_job.opensearch.canary import gates

    return {gates.ASKED}


def _of_index() -> set[str]:
    """The names of the index's checks."""
    from embed_job.opensearch import check

    return {
        check.COUNT, check.IDENTITY, check.READBACK, check.MAPPING, check.THEMSELVES,
        check.RECALL, check.COUNTERS, check.PROFILE, check.ALIAS,
    }  # fmt: skip
