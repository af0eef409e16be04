"""`submit --wait`: a job to its end, and what Ctrl-C means on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from embed_job.errors import ExitCode
from embed_job.spec import JobSpec
from launcher.aws.clients import Clients
from launcher.aws.errors import explained
from launcher.watch.follow import Follower, Tell, tail_of
from launcher.watch.jobs import JobState

Choice = Literal["detach", "stop"]


@dataclass(frozen=True, slots=True)
class Ended:
    """How waiting ended. job: None where it was given up and the job goes on."""

    job: JobState | None
    exit_code: ExitCode


def wait_for(job: str, follower: Follower, *, ask: Callable[[], Choice]) -> Ended:
    """Follow a job to its end. Only Completed is success.

    ask: called after Ctrl-C; to stop, the job is told so and followed to the end that this takes.
    """
    while True:
        try:
            state = follower.to_the_end(job)
            break
        except KeyboardInterrupt:
            if _choice(ask) == "detach":
                tell_detached(job, follower.tell)
                return Ended(None, ExitCode.INTERRUPTED)
            stop_job(follower.clients, job, spec=follower.spec)
            follower.tell(f"{job}: told to stop; what is committed stays")
    if state.completed:
        return Ended(state, ExitCode.OK)
    tell_failure(state, follower)
    return Ended(state, ExitCode.INCOMPLETE)


def stop_job(clients: Clients, job: str, *, spec: JobSpec | None) -> None:
    """Tell SageMaker to stop a job; returns at once. Raises UserError where it refuses."""
    with explained(spec, region=clients.known_region):
        clients.sagemaker.stop_processing_job(ProcessingJobName=job)


def tell_detached(job: str, tell: Tell) -> None:
    tell(f"{job} goes on by itself.")
    tell(f"  embed-job status {job}")
    tell(f"  embed-job logs {job} --follow")
    tell(f"  embed-job stop {job}")


def tell_failure(state: JobState, follower: Follower) -> None:
    """Why a job is no success, as far as the service and its log say."""
    tell = follower.tell
    if not follower.show_logs:
        for line in tail_of(follower.clients, state, spec=follower.spec):
            tell(line)
    tell(f"{state.name} ended as {state.status}, which is no success.")
    if state.exit_message:
        tell(f"Exit message: {state.exit_message}")
    if state.failure_reason:
        tell(f"Reason: {state.failure_reason}")
    if state.status == "Stopped":
        tell("Stopped by someone, or by its time limit (compute.max_runtime_s).")
    tell("What it committed stays: submit again, and it goes on from there.")


def _choice(ask: Callable[[], Choice]) -> Choice:
    """A second Ctrl-C means: leave me alone, and the job too."""
    try:
        return ask()
    except KeyboardInterrupt:
        return "detach"
