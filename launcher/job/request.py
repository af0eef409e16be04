"""A job as SageMaker is asked for it: the CreateProcessingJob request, from the spec alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from embed_job.commit.commits import PRIVATE
from embed_job.errors import SpecError
from embed_job.spec import JobSpec
from embed_job.spec.compute import ComputeSpec
from embed_job.storage import join
from launcher.job.names import JobNames

__all__ = ["Channels", "JobNames", "build_request", "channels_of", "compute_of"]

SCRIPT = "embed_shard.py"
PROCESSING = "/opt/ml/processing"
CODE, JOB, DOCUMENTS, COMMITTED, VECTORS = "code", "job", "documents", "committed", "vectors"
ENTRYPOINT = ("python3", f"{PROCESSING}/input/{CODE}/{SCRIPT}")
NAME_TAG = "embed-job:name"
RESERVED_ENVIRONMENT = ("AWS_REGION", "AWS_DEFAULT_REGION", "HF_HUB_OFFLINE")
"""What :func:`build_request` sets itself."""


@dataclass(frozen=True, slots=True)
class Channels:
    """What SageMaker copies in and out beside the script and the order; s3:// URIs.

    documents: the input, shared out by objects; None where hosts read S3 themselves. committed:
    manifests of earlier runs; None where there are none, or where hosts can read them themselves.
    vectors: where the output goes; None where hosts write to S3 themselves.
    """

    documents: str | None = None
    committed: str | None = None
    vectors: str | None = None


def compute_of(spec: JobSpec) -> ComputeSpec:
    """The machines. Raises SpecError where the spec names none."""
    if spec.compute is None:
        raise SpecError(
            "compute",
            "is missing from the spec",
            "Add compute: {instance_type: …, instance_count: …, image_uri: …, role_arn: …}; "
            "`embed-job run` needs no machines but this one.",
        )
    return spec.compute


def channels_of(spec: JobSpec, *, single_object: bool, committed: bool) -> Channels:
    """The channels of a spec.

    single_object: whether input.uri is one object, not a folder. committed: whether the output
    holds manifests of earlier runs.
    """
    compute = compute_of(spec)
    uploaded = compute.delivery == "processing_output"
    output = folder_uri(spec.parquet.uri)
    source = spec.input.uri if single_object else folder_uri(spec.input.uri)
    return Channels(
        documents=source if compute.sharing == "sharded_by_s3_key" else None,
        committed=join(output, PRIVATE, "manifests") + "/" if uploaded and committed else None,
        vectors=output if uploaded else None,
    )


def folder_uri(uri: str) -> str:
    """A prefix that matches what lies in the folder and nothing beside it: ``…/kb/``."""
    return uri.rstrip("/") + "/"


def build_request(spec: JobSpec, names: JobNames, *, channels: Channels) -> dict[str, Any]:
    """The request, in the form and order in which SDK v3's ScriptProcessor sends it.

    Pure. Raises SpecError where compute, its image or its role is missing.
    """
    compute = compute_of(spec)
    request: dict[str, Any] = {
        "ProcessingJobName": names.job,
        "ProcessingResources": {"ClusterConfig": _cluster(compute)},
        "AppSpecification": {
            "ImageUri": _required("image_uri", compute.image_uri, "`make push` prints it."),
            "ContainerEntrypoint": list(ENTRYPOINT),
        },
        "RoleArn": _required("role_arn", compute.role_arn, "`embed-job iam` prints its policies."),
        "ProcessingInputs": _inputs(names, channels),
        "Environment": _environment(compute, names.region),
        "NetworkConfig": _network(compute),
        "StoppingCondition": {"MaxRuntimeInSeconds": compute.max_runtime_s},
        "Tags": _tags(spec.name, compute),
    }
    if channels.vectors is not None:
        request["ProcessingOutputConfig"] = _outputs(compute, channels.vectors)
    return request


def _required(key: str, value: str | None, hint: str) -> str:
    if not value:
        raise SpecError(f"compute.{key}", "is missing", f"Set it: {hint}")
    return value


def _cluster(compute: ComputeSpec) -> dict[str, Any]:
    """Either one type or preferences, each with its own count, which is what the API allows."""
    cluster: dict[str, Any] = {}
    if compute.instance_preferences:
        cluster["InstancePreferences"] = [
            {"InstanceType": choice.instance_type, "InstanceCount": choice.instance_count}
            for choice in compute.instance_preferences
        ]
    else:
        cluster["InstanceType"] = compute.instance_type
        cluster["InstanceCount"] = compute.instance_count
    cluster["VolumeSizeInGB"] = compute.volume_gb
    if compute.volume_kms_key:
        cluster["VolumeKmsKeyId"] = compute.volume_kms_key
    return cluster


def _inputs(names: JobNames, channels: Channels) -> list[dict[str, Any]]:
    inputs = [_input(JOB, f"{names.prefix}input/")]
    if channels.documents is not None:
        inputs.append(_input(DOCUMENTS, channels.documents, shared="ShardedByS3Key"))
    if channels.committed is not None:
        inputs.append(_input(COMMITTED, channels.committed))
    # The SDK appends the script's input to the others.
    inputs.append(_input(CODE, f"{names.prefix}code/{SCRIPT}"))
    return inputs


def _input(name: str, uri: str, *, shared: str = "FullyReplicated") -> dict[str, Any]:
    return {
        "InputName": name,
        "S3Input": {
            "S3Uri": uri,
            "LocalPath": f"{PROCESSING}/input/{name}",
            "S3DataType": "S3Prefix",
            "S3InputMode": "File",
            "S3DataDistributionType": shared,
            "S3CompressionType": "None",
        },
    }


def _outputs(compute: ComputeSpec, uri: str) -> dict[str, Any]:
    config: dict[str, Any] = {
        "Outputs": [
            {
                "OutputName": VECTORS,
                "S3Output": {
                    "S3Uri": uri,
                    "LocalPath": f"{PROCESSING}/output/{VECTORS}",
                    "S3UploadMode": compute.upload_mode,
                },
            }
        ]
    }
    if compute.output_kms_key:
        config["KmsKeyId"] = compute.output_kms_key
    return config


def _environment(compute: ComputeSpec, region: str) -> dict[str, str]:
    """SageMaker tells a container no region, and the image must not ask a model hub."""
    ours = dict(zip(RESERVED_ENVIRONMENT, (region, region, "1"), strict=True))
    return compute.environment | ours


def _network(compute: ComputeSpec) -> dict[str, Any]:
    network = compute.network
    config: dict[str, Any] = {
        "EnableNetworkIsolation": network.isolation,
        "EnableInterContainerTrafficEncryption": network.encrypt_inter_container_traffic,
    }
    if network.subnets:
        config["VpcConfig"] = {
            "SecurityGroupIds": list(network.security_group_ids),
            "Subnets": list(network.subnets),
        }
    return config


def _tags(name: str, compute: ComputeSpec) -> list[dict[str, str]]:
    tags = compute.tags | {NAME_TAG: name}
    return [{"Key": key, "Value": value} for key, value in tags.items()]
