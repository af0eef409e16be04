"""``embed-job finalize``: end a job from here, and its index, where none of its hosts could."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from launcher.commands.arguments import AsJson, JobTarget, Overrides, Region

if TYPE_CHECKING:
    from embed_job.spec import JobSpec
    from launcher.job.finalizing import IndexPart


def finalize_command(
    target: JobTarget,
    overrides: Overrides = None,
    region: Region = None,
    index_only: Annotated[
        bool,
        typer.Option("--index", help="End the index alone, and ask nothing of SageMaker."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check a job's whole output and commit it; then finish its index, where the spec has one.

    Does nothing twice, and nothing while a job of the same spec runs. An index that holds its
    output whole gets its graphs built, its settings back, its replicas and its memory warm.
    Where rows are missing, the settings of the load are put back, exit code 6 says so, and
    `embed-job load` sends them. A spec without compute, or whose Parquet is a local folder, has
    no job of SageMaker: of that only the index is ended. Not while a load of it runs.
    """
    from embed_job.cli.spec_argument import as_typed
    from embed_job.errors import SpecError
    from launcher.commands.arguments import print_facts, print_json
    from launcher.job.finalizing import is_local, spec_named

    spec = spec_named(target, overrides or [])
    if spec is not None and spec.compute is None and spec.opensearch is None:
        raise SpecError(
            target,
            "has neither compute nor an opensearch output: nothing to finalize",
            f"A run on this machine ends itself: embed-job run {target} goes on where it stopped.",
        )
    facts: dict[str, Any] = {}
    problems: list[str] = []
    if spec is None or not (index_only or is_local(spec)):
        facts, problems, spec = _end_job(target, overrides or [], region)
    named = "SPEC" if spec is None else as_typed(target, overrides)
    index = _end_index(spec, named, required=not facts)
    if index is not None:
        problems += index.problems
        facts["index"] = index.plain()
    if as_json:
        print_json({"ok": not problems, "problems": problems} | facts)
    else:
        print_facts(_told(facts, problems))
    raise typer.Exit(_exit_code(problems, index))


def _end_job(
    target: str, overrides: list[str], region: str | None
) -> tuple[dict[str, Any], list[str], JobSpec]:
    """Commit the output of a SageMaker job: facts, problems, and the spec that it was made of."""
    from launcher.aws.errors import explained
    from launcher.job.finalizing import finalize, prefix_of, spec_of_job
    from launcher.job.submit import refuse_second_run
    from launcher.watch.target import find_target

    found = find_target(target, overrides=overrides, region=region, environment=os.environ)
    job, clients = found.job, found.clients
    with explained(found.spec, region=clients.known_region):
        verdict, _ = finalize(
            clients.store,
            job.name,
            prefix_of(job),
            check=partial(refuse_second_run, clients=clients),
        )
        spec = found.spec or spec_of_job(clients.store, prefix_of(job))
    facts = {
        "job": job.name,
        "documents": verdict.counts.documents.model_dump(),
        "retired": verdict.retired,
        "swept": verdict.swept,
        "report": f"{job.prefix}report.html",
    }
    return facts, list(verdict.problems), spec


def _end_index(spec: JobSpec | None, named: str, *, required: bool) -> IndexPart | None:
    """The index's end; None where the spec has none, which is an error where nothing else was to
    be ended. named: the spec, as the user types it."""
    from embed_job.errors import SpecError
    from embed_job.stop import StopSignals
    from launcher.commands.arguments import tell
    from launcher.job.finalizing import finalize_index

    if spec is None or spec.opensearch is None:
        if required:
            raise SpecError(
                "embed-job finalize",
                "there is nothing to end: no job of SageMaker, and no index",
                "A run on this machine ends itself: `embed-job run SPEC` goes on where it stopped.",
            )
        return None
    with StopSignals() as stop:
        return finalize_index(spec, named=named, progress=tell, stopping=lambda: stop.requested)


def _exit_code(problems: list[str], index: IndexPart | None) -> int:
    from embed_job.errors import ExitCode

    if index is not None and index.error is not None:
        return index.error.exit_code
    return ExitCode.INCOMPLETE if problems else ExitCode.OK


def _told(facts: dict[str, Any], problems: list[str]) -> list[tuple[str, str]]:
    lines = [("job", facts["job"])] if "job" in facts else []
    lines += [("problem", problem) for problem in problems]
    if "documents" in facts:
        documents = facts["documents"]
        written = f"{documents['written']:,} written of {documents['read']:,} read"
        lines += [("documents", written), ("report", facts["report"])]
    if "index" in facts:
        state = "finished" if facts["index"]["finished"] else "not finished"
        lines.append(("index", f"{facts['index']['name']} {state}"))
    return lines
