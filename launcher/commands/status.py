"""``embed-job status``: how a job stands."""

from __future__ import annotations

import os

from launcher.commands.arguments import AsJson, JobTarget, Overrides, Region


def status_command(
    target: JobTarget,
    overrides: Overrides = None,
    region: Region = None,
    as_json: AsJson = False,
) -> None:
    """Say how a job stands, and how much of its input is committed."""
    from launcher.aws.errors import explained
    from launcher.commands.arguments import print_facts, print_json
    from launcher.watch.status import status_of_job
    from launcher.watch.target import find_target

    found = find_target(target, overrides=overrides or [], region=region, environment=os.environ)
    with explained(found.spec, region=found.clients.known_region):
        status = status_of_job(found.clients, found.job)
    if as_json:
        print_json(status.as_json())
    else:
        print_facts(list(status.lines()))
