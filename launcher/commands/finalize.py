"""``embed-job finalize``: end a job from here, where none of its hosts could."""

from __future__ import annotations

import os
from functools import partial

import typer

from launcher.commands.arguments import AsJson, JobTarget, Overrides, Region


def finalize_command(
    target: JobTarget,
    overrides: Overrides = None,
    region: Region = None,
    as_json: AsJson = False,
) -> None:
    """Check a job's whole output and commit it. Does nothing twice, and nothing while a job of
    the same spec runs."""
    from embed_job.errors import ExitCode
    from launcher.aws.errors import explained
    from launcher.commands.arguments import print_facts, print_json
    from launcher.job.finalizing import finalize, prefix_of
    from launcher.job.submit import refuse_second_run
    from launcher.watch.target import find_target

    found = find_target(target, overrides=overrides or [], region=region, environment=os.environ)
    job, clients = found.job, found.clients
    with explained(found.spec, region=clients.known_region):
        verdict, _ = finalize(
            clients.store,
            job.name,
            prefix_of(job),
            check=partial(refuse_second_run, clients=clients),
        )
    documents = verdict.counts.documents
    if as_json:
        print_json(
            {
                "job": job.name,
                "ok": not verdict.problems,
                "problems": list(verdict.problems),
                "documents": documents.model_dump(),
                "swept": verdict.swept,
                "report": f"{job.prefix}report.html",
            }
        )
    else:
        facts = [("job", job.name), *(("problem", problem) for problem in verdict.problems)]
        facts.append(("documents", f"{documents.written:,} written of {documents.read:,} read"))
        facts.append(("report", f"{job.prefix}report.html"))
        print_facts(facts)
    raise typer.Exit(ExitCode.INCOMPLETE if verdict.problems else ExitCode.OK)
