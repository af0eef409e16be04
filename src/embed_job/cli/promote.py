"""``embed-job promote`` and ``embed-job rollback``: which index the searches' alias is on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

SpecPath = Annotated[Path, typer.Argument(metavar="SPEC", help="The job's spec, in YAML.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the spec."),
]
BundlePath = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="The model bundle, where it is not where the spec says."),
]
PageFolder = Annotated[
    Path | None,
    typer.Option("--report", metavar="DIR", help="Where the canary's page goes: out/NAME."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print what came of it as JSON.")]


def promote_command(
    spec: SpecPath,
    force: Annotated[
        bool, typer.Option("--force", help="Promote whatever the checks say, and name those.")
    ] = False,
    bundle: BundlePath = None,
    report: PageFolder = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Point the alias to the spec's index, once that passes every gate.

    The gates are the nine checks of `verify` and, where the spec has one, the canary. One request
    moves the alias, so searches see the old index or the new one, never both or none. Then indexes
    beyond `keep_indexes` are deleted, never the one that `rollback` needs. Exit code 6, and nothing
    moved, where a gate does not hold. Where the alias is on the index already, nothing is checked.
    """
    from embed_job.cli.candidate import opened_candidate, write_page
    from embed_job.cli.program import print_line
    from embed_job.cli.promotion_summary import print_json, print_promoted
    from embed_job.cli.spec_argument import as_typed
    from embed_job.errors import ExitCode, OutputError
    from embed_job.opensearch.promotion.promote import promote_past_gates

    with opened_candidate(spec, overrides, bundle) as (job, candidate):
        promoted = promote_past_gates(candidate, force=force)
    passage, page = promoted.passage, None
    try:
        page = write_page(passage.page if passage else None, report, job)
    except OutputError as error:
        # The alias may have been moved: what became of that is told, whatever else fails.
        print_line("yellow", str(error))
    if as_json:
        print_json(promoted, page)
    else:
        print_promoted(promoted, candidate.target, page, named=as_typed(spec, overrides))
    raise typer.Exit(ExitCode.INCOMPLETE if promoted.promotion is None else ExitCode.OK)


def rollback_command(spec: SpecPath, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Point the alias back to the index that the spec's had replaced. Said twice, it is done once.

    Whatever is being written to either index. Refused where that index is gone, or where the alias
    is on an index of another spec by now.
    """
    from embed_job.cli.candidate import opened_candidate
    from embed_job.cli.promotion_summary import print_json, print_rollback
    from embed_job.opensearch.index.rollback import rollback
    from embed_job.opensearch.promotion.promote import Promoted

    # Back is wanted most where a new version is under way: the spec may have been edited since.
    with opened_candidate(spec, overrides, None, same=False) as (_, candidate):
        promotion = rollback(candidate.client, candidate.target)
    if as_json:
        print_json(Promoted(promotion), None)
    else:
        print_rollback(promotion)
