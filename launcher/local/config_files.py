"""The two files under /opt/ml/config by which a host learns what it is part of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from launcher.local.order import LocalOrder

_NULLABLE: dict[str, tuple[str, ...]] = {
    "AppSpecification": ("ContainerEntrypoint", "ContainerArguments"),
    "ProcessingOutputConfig": ("KmsKeyId",),
}
"""What the service writes as null where a request leaves it out."""


def write_config(root: Path, *, host: str, order: LocalOrder, request: Mapping[str, Any]) -> None:
    """Write resourceconfig.json and processingjobconfig.json below root/opt/ml/config."""
    folder = root / "opt/ml/config"
    folder.mkdir(parents=True)
    resources = {"current_host": host, "hosts": list(order.hosts)}
    (folder / "resourceconfig.json").write_bytes(orjson.dumps(resources))
    (folder / "processingjobconfig.json").write_bytes(orjson.dumps(job_config(order, request)))


def job_config(order: LocalOrder, request: Mapping[str, Any]) -> dict[str, Any]:
    """The content of processingjobconfig.json: the request with its ARN and the service's nulls."""
    config: dict[str, Any] = {
        "ProcessingJobArn": order.arn,
        "ProcessingJobName": order.job,
        "Environment": {},
        "ProcessingInputs": [],
        "ProcessingOutputConfig": {"Outputs": []},
        "StoppingCondition": {"MaxRuntimeInSeconds": order.max_runtime_s},
    }
    left_out = {"Tags", "ExperimentConfig"}
    config |= {name: value for name, value in request.items() if name not in left_out}
    for section, names in _NULLABLE.items():
        config[section] = dict.fromkeys(names) | (config.get(section) or {})
    cluster = config["ProcessingResources"]["ClusterConfig"]
    config["ProcessingResources"] = {"ClusterConfig": {"VolumeKmsKeyId": None} | cluster}
    return config
