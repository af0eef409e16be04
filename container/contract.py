"""What SageMaker tells a container: its config files, its environment, its folders.

Keys may be missing, null, or of a kind we don't know; only what can't be guessed is asked for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embed_job.errors import UserError
from embed_job.fleet import Host

ROOT_VARIABLE = "EMBED_JOB_ROOT"
"""The folder that stands for the container's root; so one process can be one container."""

HINT = "SageMaker writes it, and so does embed-job submit --on local: run the image by one of them."

MAX_HOSTS = 100

_JOB = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,61}[A-Za-z0-9])?")
_ARN = re.compile(r"arn:[^:]+:sagemaker:(?P<region>[a-z0-9-]+):\d*:processing-job/(?P<name>[^/]+)")


class ContractError(UserError):
    """The container was not started as SageMaker starts one."""


@dataclass(frozen=True, slots=True)
class Folders:
    """The folders of a container below its root."""

    root: Path

    @property
    def processing(self) -> Path:
        return self.root / "opt/ml/processing"

    @property
    def job(self) -> Path:
        """The order of the job, and its listing."""
        return self.processing / "input/job"

    @property
    def documents(self) -> Path:
        """This host's objects of the input; missing or empty where it got none."""
        return self.processing / "input/documents"

    @property
    def committed(self) -> Path:
        """Manifests of earlier runs; missing where there are none."""
        return self.processing / "input/committed"

    @property
    def vectors(self) -> Path:
        """What SageMaker uploads."""
        return self.processing / "output/vectors"

    @property
    def config(self) -> Path:
        return self.root / "opt/ml/config"

    @property
    def message(self) -> Path:
        return self.root / "opt/ml/output/message"

    @property
    def models(self) -> Path:
        return self.root / "models"


@dataclass(frozen=True, slots=True)
class Contract:
    """Which host of which job this is. region: None where nothing tells it."""

    host: Host
    region: str | None
    instance_type: str | None


def folders_of(environment: Mapping[str, str]) -> Folders:
    return Folders(Path(environment.get(ROOT_VARIABLE) or "/"))


def read_contract(config: Path, environment: Mapping[str, str]) -> Contract:
    """Read resourceconfig.json and processingjobconfig.json in a folder.

    Raises ContractError where a file is missing or not JSON, or where it stays unknown which host
    of which job this is.
    """
    resources = _read(config / "resourceconfig.json")
    job = _read(config / "processingjobconfig.json")
    arn = _ARN.fullmatch(_text(job, "ProcessingJobArn") or "")
    return Contract(
        host=_host(resources, _job_name(job, arn, config), _instances(job), config),
        region=_text(environment, "AWS_REGION")
        or _text(environment, "AWS_DEFAULT_REGION")
        or (arn["region"] if arn else None),
        instance_type=_text(resources, "current_instance_type"),
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise ContractError(str(path), f"can't be read ({error.strerror})", HINT) from None
    except (ValueError, RecursionError):
        raise ContractError(str(path), "is not JSON", HINT) from None
    if not isinstance(found, dict):
        raise ContractError(str(path), "is not a JSON object", HINT)
    return found


def _text(found: Mapping[str, Any], key: str) -> str | None:
    value = found.get(key)
    return value.strip() or None if isinstance(value, str) else None


def _job_name(job: Mapping[str, Any], arn: re.Match[str] | None, config: Path) -> str:
    name = _text(job, "ProcessingJobName") or (arn["name"] if arn else "")
    if not _JOB.fullmatch(name):  # it becomes part of keys
        where = f"{config / 'processingjobconfig.json'}: ProcessingJobName"
        raise ContractError(where, "is missing, or no name of a job", HINT)
    return name


def _instances(job: Mapping[str, Any]) -> int | None:
    """The number of machines by the job's config; None where it does not say."""
    found: object = job
    for key in ("ProcessingResources", "ClusterConfig", "InstanceCount"):
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, int) and 1 <= found <= MAX_HOSTS else None


def _host(resources: Mapping[str, Any], job: str, instances: int | None, config: Path) -> Host:
    where = str(config / "resourceconfig.json")
    listed = resources.get("hosts")
    hosts = {host for host in listed if isinstance(host, str)} if isinstance(listed, list) else {}
    me = _text(resources, "current_host") or (min(hosts) if len(hosts) == 1 else None)
    if me is None:
        raise ContractError(f"{where}: current_host", "does not say which host this is", HINT)
    if not hosts:
        named = {f"algo-{number}" for number in range(1, (instances or 1) + 1)}
        hosts = named if instances and me in named else {me}
    if me not in hosts:
        raise ContractError(f"{where}: hosts", f"does not hold current_host {me[:63]!r}", HINT)
    for host in hosts:
        if not _HOST.fullmatch(host):  # it becomes part of keys
            raise ContractError(f"{where}: hosts", f"{host[:63]!r} is no name of a host", HINT)
    # Ranks must be the same everywhere; the order of the list is promised nowhere.
    order = sorted(hosts, key=lambda host: (len(host), host))
    return Host(job=job, name=me, rank=order.index(me), count=len(order))
