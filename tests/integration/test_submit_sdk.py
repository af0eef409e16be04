"""The real SDK sends the planned request, and nothing else, whatever it finds on the host."""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.model import ListShape, MapShape, Shape, StringShape, StructureShape
from botocore.validate import ParamValidator

from embed_job.errors import UserError
from embed_job.spec import JobSpec
from embed_job.spec.file import load_spec
from launcher.aws.clients import Clients, make_clients
from launcher.job.names import new_names
from launcher.job.sdk import create_by_sdk
from launcher.job.submit import submit
from launcher.planning.plan import LaunchPlan, make_launch_plan, write_order_files

VPC = "compute.network={subnets: [subnet-1, subnet-2], security_group_ids: [sg-1]}"
SPECS = {
    "plain": [],
    "balanced": [
        "compute.sharing=balanced",
        "compute.instance_count=1",
        "compute.tags={team: search, 'cost center': '42'}",
        "compute.environment={OMP_NUM_THREADS: '1', EMPTY: ''}",
    ],
    "preferences": [
        "compute.instance_preferences=[{instance_type: ml.c7i.xlarge, instance_count: 3},"
        " {instance_type: ml.m7i.xlarge, instance_count: 2}]"
    ],
    "keys and vpc": [
        VPC,
        "compute.network.encrypt_inter_container_traffic=true",
        "compute.volume_kms_key=arn:aws:kms:us-east-1:123456789012:key/aaaa-bbbb",
        "compute.output_kms_key=alias/vectors",
        "compute.delivery=processing_output",
        "compute.volume_gb=7",
    ],
    "isolated": [
        "compute.delivery=processing_output",
        "compute.upload_mode=Continuous",
        "compute.network.isolation=true",
    ],
}


def read(path: Path, overrides: list[str]) -> JobSpec:
    if any(text.startswith("compute.instance_preferences") for text in overrides):
        # Said of one type: beside preferences they are refused.
        single = ("  instance_", "  price_per_hour_usd", "  tokens_per_s")
        kept = [line for line in path.read_text().splitlines() if not line.startswith(single)]
        path.write_text("\n".join(kept))
    return load_spec(path, overrides)


def planned(spec: JobSpec, folder: Path) -> tuple[LaunchPlan, Clients]:
    clients = make_clients(None, environment=os.environ)
    names = new_names(
        spec.name,
        spec.parquet.uri,
        region=clients.region,
        now=datetime.now(UTC),
        rng=random.Random(),
    )
    plan = make_launch_plan(spec, names, clients=clients, folder=folder)
    assert not plan.errors
    write_order_files(plan, folder, created_at=0.0)
    return plan, clients


@pytest.mark.parametrize("overrides", SPECS.values(), ids=SPECS)
def test_what_is_sent_is_what_was_planned(
    aws: Any, cloud_spec: Path, tmp_path: Path, overrides: list[str]
) -> None:
    folder = tmp_path / "order"
    folder.mkdir()
    plan, clients = planned(read(cloud_spec, overrides), folder)
    aws.calls.clear()

    done = submit(plan.request or {}, plan.names, folder=folder, clients=clients)

    sent = [call.request for call in aws.calls if call.operation == "CreateProcessingJob"]
    assert sent == [plan.request]
    assert done.arn.endswith(f"processing-job/{plan.names.job}")
    # Nothing else goes out: no identity asked, no bucket made, nobody told.
    assert [(call.service, call.operation) for call in aws.calls if call.service != "s3"] == [
        ("sagemaker", "CreateProcessingJob")
    ]
    prefix = plan.names.prefix.removeprefix("s3://").partition("/")[2]
    assert {call.operation for call in aws.calls if call.service == "s3"} == {
        "PutObject",
        "HeadObject",
    }
    assert {
        call.request["key"].removeprefix(prefix) for call in aws.calls if "key" in call.request
    } == {
        "code/embed_shard.py",
        "input/order.json",
        "input/listing.parquet",
    }


@pytest.mark.parametrize("overrides", SPECS.values(), ids=SPECS)
def test_the_planned_request_is_one_that_the_service_knows(
    aws: Any, cloud_spec: Path, tmp_path: Path, overrides: list[str]
) -> None:
    plan, _ = planned(read(cloud_spec, overrides), tmp_path)
    request = plan.request or {}
    model = boto3.client("sagemaker").meta.service_model
    shape = model.operation_model("CreateProcessingJob").input_shape
    assert shape is not None
    assert not ParamValidator().validate(request, shape).has_errors()
    assert list(violations(request, shape, "request")) == []
    assert len(json.dumps(request)) < 256 << 10


def test_every_field_reaches_the_service_as_it_was_asked_for(
    aws: Any, cloud_spec: Path, tmp_path: Path
) -> None:
    plan, clients = planned(load_spec(cloud_spec, SPECS["keys and vpc"]), tmp_path)
    create_by_sdk(plan.request or {}, clients)
    [sent] = [call.request for call in aws.calls if call.operation == "CreateProcessingJob"]
    assert sent["ProcessingResources"]["ClusterConfig"] == {
        "InstanceType": "ml.c7i.xlarge",
        "InstanceCount": 3,
        "VolumeSizeInGB": 7,
        "VolumeKmsKeyId": "arn:aws:kms:us-east-1:123456789012:key/aaaa-bbbb",
    }
    assert sent["ProcessingOutputConfig"]["KmsKeyId"] == "alias/vectors"
    assert sent["NetworkConfig"] == {
        "EnableNetworkIsolation": False,
        "EnableInterContainerTrafficEncryption": True,
        "VpcConfig": {"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1", "subnet-2"]},
    }
    assert sent["AppSpecification"]["ContainerEntrypoint"] == [
        "python3",
        "/opt/ml/processing/input/code/embed_shard.py",
    ]
    shared = {
        item["InputName"]: item["S3Input"]["S3DataDistributionType"]
        for item in sent["ProcessingInputs"]
    }
    assert shared == {
        "job": "FullyReplicated",
        "documents": "ShardedByS3Key",
        "code": "FullyReplicated",
    }


def test_config_files_of_the_host_change_nothing(
    aws: Any, cloud_spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    defaults = {
        "SchemaVersion": "1.0",
        "SageMaker": {
            "PythonSDK": {"Modules": {"Session": {"DefaultS3Bucket": "stranger"}}},
            "ProcessingJob": {
                "Environment": {"INJECTED": "1"},
                "NetworkConfig": {"EnableNetworkIsolation": True},
                "ProcessingResources": {"ClusterConfig": {"VolumeKmsKeyId": "injected"}},
                "Tags": [{"Key": "injected", "Value": "1"}],
            },
        },
    }
    config = tmp_path / "sdk.yaml"
    config.write_text(json.dumps(defaults))
    monkeypatch.setenv("SAGEMAKER_ADMIN_CONFIG_OVERRIDE", str(config))
    monkeypatch.setenv("SAGEMAKER_USER_CONFIG_OVERRIDE", str(config))
    # What a Studio project leaves in the folder where one works.
    project = {"sagemakerProjectId": "p-1", "sagemakerProjectName": "stranger"}
    (tmp_path / ".sagemaker-code-config").write_text(json.dumps(project))
    monkeypatch.chdir(tmp_path)
    plan, clients = planned(load_spec(cloud_spec), tmp_path)
    create_by_sdk(plan.request or {}, clients)
    sent = [call.request for call in aws.calls if call.operation == "CreateProcessingJob"]
    assert sent == [plan.request]


def test_a_request_that_the_sdk_would_change_is_not_sent(
    aws: Any, cloud_spec: Path, tmp_path: Path
) -> None:
    plan, clients = planned(load_spec(cloud_spec), tmp_path)
    request = (plan.request or {}) | {"ExperimentConfig": {"ExperimentName": "kept from the SDK"}}
    with pytest.raises(UserError, match="would send other ExperimentConfig than planned"):
        create_by_sdk(request, clients)
    assert "CreateProcessingJob" not in aws.made("sagemaker")


def violations(value: Any, shape: Shape, where: str) -> Iterator[str]:
    """What breaks the service model's patterns, lengths, ranges and enumerations."""
    for name, part, member in parts(value, shape):
        yield from violations(part, member, f"{where}.{name}")
    limits = shape.metadata
    if isinstance(shape, StringShape):
        # Java's classes of Unicode, which Python's re lacks.
        pattern = limits.get("pattern", ".*").replace("\\p{L}\\p{Z}\\p{N}", "\\w\\s")
        if not re.fullmatch(pattern, value):
            yield f"{where}: {value!r} is not like {limits['pattern']}"
        if shape.enum and value not in shape.enum:
            yield f"{where}: {value!r} is none of {shape.enum}"
    size = value if isinstance(value, int) else len(value)
    if not limits.get("min", 0) <= size <= limits.get("max", size):
        yield f"{where}: {size} is not within {limits}"


def parts(value: Any, shape: Shape) -> Iterator[tuple[str, Any, Shape]]:
    if isinstance(shape, StructureShape):
        yield from ((name, member, shape.members[name]) for name, member in value.items())
    if isinstance(shape, ListShape):
        yield from ((str(at), item, shape.member) for at, item in enumerate(value))
    if isinstance(shape, MapShape):
        yield from ((f"key {key}", key, shape.key) for key in value)
        yield from ((key, item, shape.value) for key, item in value.items())
