"""SageMaker Processing on this machine: the same CreateProcessingJob request, carried out here.

What is as on AWS, and what is not, stands in ``docs/local-service.md``.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embed_job.stop import StopSignals
from launcher.local.access import access_of, patient_s3
from launcher.local.described import Described
from launcher.local.runner import DEFAULT_IMAGE, RunnerKind, choose_runner
from launcher.local.service import LocalService
from launcher.local.tail import Tail

if TYPE_CHECKING:
    from launcher.aws.clients import Clients

__all__ = ["DEFAULT_IMAGE", "LOCAL_FOLDER", "Described", "RunnerKind", "submit_local"]

LOCAL_FOLDER = Path("out/local")


def submit_local(
    request: Mapping[str, Any],
    *,
    clients: Clients,
    runner: RunnerKind = "auto",
    image: str = DEFAULT_IMAGE,
    bundle: Path | None = None,
    folder: Path = LOCAL_FOLDER,
    quiet: bool = False,
) -> Described:
    """Carry out a CreateProcessingJob request on this machine; returns when the job has ended.

    request: as it would go to SageMaker. clients: of the S3 where its input lies and its output
    goes; the hosts get its endpoint and credentials in their environment.
    runner: "docker" for a container an instance, "process" for a process with its own root,
    "auto" for containers where Docker works and has the image; standard error says which.
    image: the local tag that stands for the request's ImageUri. bundle: a model bundle in place
    of the image's; processes have no image and take models/default. folder: gets
    <job>/request.json, <job>/describe.json and <job>/logs/<host>.log. quiet: no tail of the logs.

    Called from the main thread: SIGINT and SIGTERM stop the job as StopProcessingJob would, a
    second one kills its hosts. Only ``completed`` is success. Raises UserError where nothing
    could be started.
    """
    tail = Tail(sys.stderr, quiet=quiet)
    chosen = choose_runner(runner, image=image, bundle=bundle, note=tail.note)
    s3 = patient_s3(clients)
    with StopSignals() as stop:
        service = LocalService(
            runner=chosen,
            s3=s3,
            access=access_of(s3, clients.session),
            folder=folder,
            tail=tail,
            stopping=lambda: stop.requested,
        )
        ended = service.carry_out(request)
        return replace(ended, stopped_by=stop.exit_code) if ended.status == "Stopped" else ended
