"""Which job a command is about: the latest of a spec, or one by its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from embed_job.errors import UserError
from launcher.aws.errors import explained
from launcher.job.finalizing import spec_named
from launcher.watch.jobs import JobState, describe_job, latest_job

if TYPE_CHECKING:
    from embed_job.spec import JobSpec
    from launcher.aws.clients import Clients


@dataclass(frozen=True, slots=True)
class Target:
    """A job that exists. spec: None where it was named without one."""

    job: JobState
    spec: JobSpec | None
    clients: Clients


def find_target(
    text: str,
    *,
    overrides: Sequence[str] = (),
    region: str | None = None,
    environment: Mapping[str, str],
) -> Target:
    """The job that a spec's path or a job's name stands for.

    region: over the spec's. Raises UserError where there is no such job, or AWS does not say.
    """
    from launcher.aws.clients import make_clients

    spec = _spec(text, overrides)
    wanted = region or (spec.compute.region if spec and spec.compute else None)
    clients = make_clients(wanted, environment=environment)
    with explained(spec, region=clients.known_region):
        name = text if spec is None else latest_job(clients.sagemaker, spec.name)
        return Target(describe_job(clients.sagemaker, name), spec, clients)


def _spec(text: str, overrides: Sequence[str]) -> JobSpec | None:
    spec = spec_named(text, overrides)
    if spec is None and overrides:
        raise UserError("--set", "needs a spec to override", "Give the spec's file.")
    return spec
