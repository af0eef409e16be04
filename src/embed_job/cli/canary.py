"""``embed-job canary``: your own queries, asked of the live index and of the spec's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from embed_job.cli.promote import AsJson, BundlePath, Overrides, PageFolder, SpecPath

if TYPE_CHECKING:
    from embed_job.opensearch.canary.run import Canary, Candidate
    from embed_job.spec.gates import CanarySpec


def canary_command(
    spec: SpecPath,
    bundle: BundlePath = None,
    report: PageFolder = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Compare the spec's index with the live one by your own queries; moves nothing.

    The queries are those of `gates.canary.queries`. Leaves a page with both answers side by side.
    Of the live index itself it keeps the queries' vectors, so that an index of another model can be
    compared with it when its own bundle is gone. Exit code 6 where the canary's gates don't hold.
    """
    from embed_job.cli.candidate import opened_candidate, write_page
    from embed_job.cli.promotion_summary import print_canary, print_canary_json
    from embed_job.errors import ExitCode

    with opened_candidate(spec, overrides, bundle) as (job, candidate):
        canary = _run(candidate, _limits(candidate))
    page = write_page(canary.page, report, job)
    if as_json:
        print_canary_json(canary, page)
    else:
        print_canary(canary, candidate.target, page)
    ok = all(check.ok for check in canary.checks)
    raise typer.Exit(ExitCode.OK if ok else ExitCode.INCOMPLETE)


def _limits(candidate: Candidate) -> CanarySpec:
    from embed_job.errors import SpecError

    limits = candidate.target.output.gates.canary
    if limits is None:
        raise SpecError(
            "opensearch.gates.canary",
            "is not set, so there are no queries to ask",
            "Set gates.canary.queries to a file of one JSON object a line, such as "
            '{"query": "how do I read a zip file"}.',
        )
    return limits


def _run(candidate: Candidate, limits: CanarySpec) -> Canary:
    from embed_job.opensearch.canary.run import run_canary
    from embed_job.opensearch.index.alias import alias_of, holder_of

    alias, where = alias_of(candidate.target)
    return run_canary(candidate, limits, live=holder_of(candidate.client, alias, where=where))
