"""``embed-job stop``: end a job early."""

from __future__ import annotations

import os
import time
from typing import Annotated

import typer

from launcher.commands.arguments import AsJson, JobTarget, Overrides, Region


def stop_command(
    target: JobTarget,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it has stopped.")] = False,
    overrides: Overrides = None,
    region: Region = None,
    as_json: AsJson = False,
) -> None:
    """Stop a job. What it has committed stays; submitting the spec again goes on from there."""
    from launcher.commands.arguments import print_json, tell
    from launcher.watch.follow import Follower
    from launcher.watch.target import find_target
    from launcher.watch.wait import stop_job

    found = find_target(target, overrides=overrides or [], region=region, environment=os.environ)
    job, was_running = found.job, found.job.running
    if was_running:
        stop_job(found.clients, job.name, spec=found.spec)
        if wait:
            follower = Follower(found.clients, tell, found.spec, time.monotonic, time.sleep)
            job = follower.to_the_end(job.name)
    if as_json:
        print_json({"job": job.name, "status": job.status, "told_to_stop": was_running})
    elif was_running:
        tell(f"{job.name}: told to stop; what is committed stays.")
    else:
        tell(f"{job.name} has ended already, as {job.status}.")
