"""A CreateProcessingJob request, read into what this machine is to do for it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from embed_job.errors import SpecError


@dataclass(frozen=True, slots=True)
class InputChannel:
    """Objects under a prefix, copied to a folder of each host before it starts."""

    name: str
    s3_uri: str
    local_path: str
    sharded: bool


@dataclass(frozen=True, slots=True)
class OutputChannel:
    """A folder of each host, uploaded to a prefix: at the end, or as files appear."""

    name: str
    s3_uri: str
    local_path: str
    continuous: bool


@dataclass(frozen=True, slots=True)
class LocalOrder:
    """What is asked for. entrypoint None: the image's own. max_runtime_s: from the hosts' start."""

    job: str
    arn: str
    hosts: tuple[str, ...]
    entrypoint: tuple[str, ...] | None
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    inputs: tuple[InputChannel, ...]
    outputs: tuple[OutputChannel, ...]
    output_kms_key: str | None
    max_runtime_s: float
    isolated: bool


DEFAULT_MAX_RUNTIME_S = 86400
"""The service's own, where a request names none."""


def read_request(request: Mapping[str, Any]) -> LocalOrder:
    """The order of a request. Raises SpecError where it asks for what is not done here."""
    job = request["ProcessingJobName"]
    app = request["AppSpecification"]
    entrypoint = app.get("ContainerEntrypoint")
    outputs = request.get("ProcessingOutputConfig") or {}
    stopping = request.get("StoppingCondition") or {}
    return LocalOrder(
        job=job,
        arn=_arn(request),
        hosts=tuple(f"algo-{number}" for number in range(1, instance_count(request) + 1)),
        entrypoint=tuple(entrypoint) if entrypoint else None,
        arguments=tuple(app.get("ContainerArguments") or ()),
        environment=dict(request.get("Environment") or {}),
        inputs=tuple(_input(channel) for channel in request.get("ProcessingInputs") or ()),
        outputs=tuple(_output(channel) for channel in outputs.get("Outputs") or ()),
        output_kms_key=outputs.get("KmsKeyId"),
        max_runtime_s=stopping.get("MaxRuntimeInSeconds", DEFAULT_MAX_RUNTIME_S),
        isolated=bool((request.get("NetworkConfig") or {}).get("EnableNetworkIsolation")),
    )


def instance_count(request: Mapping[str, Any]) -> int:
    """How many hosts: those of the first preference, for here there is always capacity."""
    cluster = request["ProcessingResources"]["ClusterConfig"]
    preferences: Sequence[Mapping[str, Any]] = cluster.get("InstancePreferences") or ()
    chosen = preferences[0] if preferences else cluster
    return int(chosen.get("InstanceCount") or 1)


def _input(channel: Mapping[str, Any]) -> InputChannel:
    name, source = channel["InputName"], channel.get("S3Input")
    if source is None:
        raise _not_here(name, "has no S3Input")
    for key, done in _DONE_HERE.items():
        if source.get(key, done) not in (done, None):
            raise _not_here(name, f"has {key} {source[key]}")
    return InputChannel(
        name=name,
        s3_uri=source["S3Uri"],
        local_path=source["LocalPath"],
        sharded=source.get("S3DataDistributionType") == "ShardedByS3Key",
    )


_DONE_HERE = {"S3DataType": "S3Prefix", "S3InputMode": "File", "S3CompressionType": "None"}


def _output(channel: Mapping[str, Any]) -> OutputChannel:
    name, target = channel["OutputName"], channel.get("S3Output")
    if target is None:
        raise _not_here(name, "has no S3Output")
    return OutputChannel(
        name=name,
        s3_uri=target["S3Uri"],
        local_path=target["LocalPath"],
        continuous=target["S3UploadMode"] == "Continuous",
    )


def _not_here(name: str, what: str) -> SpecError:
    return SpecError(
        f"the request's channel '{name}'",
        f"{what}, which is not carried out on this machine",
        "Inputs are S3 prefixes in File mode, outputs are S3 prefixes.",
    )


def _arn(request: Mapping[str, Any]) -> str:
    """As AWS would name the job; the account from the role, the region from the image."""
    role = re.fullmatch(r"arn:(aws[a-z-]*):iam::(\d{12}):role/.+", request["RoleArn"])
    partition, account = role.groups() if role else ("aws", "000000000000")
    image = re.search(r"\.dkr\.ecr\.([a-z0-9-]+)\.", request["AppSpecification"]["ImageUri"])
    region = (request.get("Environment") or {}).get("AWS_REGION")
    region = region or (image[1] if image else "us-east-1")
    name = request["ProcessingJobName"].lower()
    return f"arn:{partition}:sagemaker:{region}:{account}:processing-job/{name}"
