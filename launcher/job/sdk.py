"""The planned request, sent by SageMaker's SDK: exactly that request, and no other call.

The SDK adds to a request what it finds on the host (defaults from config files, tags of a Studio
project) and reports each run to its maker. Here it gets its whole configuration as an argument,
and what it is about to send is compared with the plan before it leaves this machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from embed_job.errors import UserError
from launcher.job.request import CODE

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

    from launcher.aws.clients import Clients

SDK_CONFIG: dict[str, Any] = {
    "SchemaVersion": "1.0",
    "SageMaker": {"PythonSDK": {"Modules": {"TelemetryOptOut": True}}},
}
"""The SDK's whole configuration: with one given, it reads no file of the host's."""

_EVENT = "sagemaker.CreateProcessingJob"


def create_by_sdk(request: Mapping[str, Any], clients: Clients) -> str:
    """Create the job of a planned request by a ScriptProcessor; its ARN.

    Returns once the service has accepted the job; does not wait for it. Raises UserError where
    the SDK is not installed, or would send anything but `request` (nothing is sent then); what
    the service refuses is raised as botocore raises it.
    """
    script_processor, sdk_session = _sdk()
    code, inputs = _inputs(request)
    with _watched(clients.sagemaker, request) as watch:
        try:
            processor = script_processor(
                **_machine_arguments(request),
                command=request["AppSpecification"]["ContainerEntrypoint"][:-1],
                sagemaker_session=sdk_session(
                    boto_session=clients.session,
                    sagemaker_client=clients.sagemaker,
                    # Never used, as everything is in S3 already; without one, the SDK makes one.
                    default_bucket=code.removeprefix("s3://").partition("/")[0],
                    sagemaker_config=SDK_CONFIG,
                ),
            )
            processor.run(
                code=code,
                inputs=inputs,
                outputs=_outputs(request),
                arguments=request["AppSpecification"].get("ContainerArguments"),
                job_name=request["ProcessingJobName"],
                wait=False,
                logs=False,
            )
        except Exception:
            # What the SDK makes of the answer is not needed: with an ARN, the job exists.
            if watch.arn is None:
                raise
    if watch.arn is None:
        # The SDK swallows Ctrl-C: it returns as if nothing had happened.
        raise UserError(
            request["ProcessingJobName"],
            "the request was given up before the service answered",
            "See whether it exists with `embed-job status`, then submit again.",
        )
    return watch.arn


def _sdk() -> tuple[Any, Any]:
    """ScriptProcessor and Session; imported on submit alone, for it takes 3 s and 150 MB."""
    try:
        from sagemaker.core.helper.session_helper import Session
        from sagemaker.core.processing import ScriptProcessor
    except ImportError as error:
        raise UserError(
            "sagemaker-core",
            f"is not installed ({error})",
            "Install it: pip install 'embed-job[launcher]'.",
        ) from error
    return ScriptProcessor, Session


@dataclass(slots=True)
class _Watch:
    """What the service answered."""

    planned: Mapping[str, Any]
    arn: str | None = field(default=None)

    def before(self, params: dict[str, Any], **_: object) -> dict[str, Any]:
        """Let the planned request pass, and no other.

        Tags that the SDK found in a Studio project's file are left out: they are not planned.
        """
        sent = {key: value for key, value in params.items() if key != "Tags"}
        planned = {key: value for key, value in self.planned.items() if key != "Tags"}
        different = sorted(
            key for key in sent.keys() | planned.keys() if sent.get(key) != planned.get(key)
        )
        missing = [tag for tag in self.planned.get("Tags", []) if tag not in params.get("Tags", [])]
        if missing:
            different.append("Tags")
        if different:
            raise UserError(
                self.planned["ProcessingJobName"],
                f"SageMaker's SDK would send other {', '.join(different)} than planned",
                "Nothing was sent. Install the version of sagemaker-core that "
                "requirements/launcher.txt names, and report this.",
            )
        return dict(self.planned)

    def after(self, http_response: Any, parsed: dict[str, Any], **_: object) -> None:
        if http_response.status_code < 300:
            self.arn = parsed["ProcessingJobArn"]


@contextmanager
def _watched(client: SageMakerClient, planned: Mapping[str, Any]) -> Iterator[_Watch]:
    watch = _Watch(planned)
    events: Any = client.meta.events
    events.register(f"provide-client-params.{_EVENT}", watch.before)
    events.register(f"after-call.{_EVENT}", watch.after)
    try:
        yield watch
    finally:
        events.unregister(f"provide-client-params.{_EVENT}", watch.before)
        events.unregister(f"after-call.{_EVENT}", watch.after)


def _machine_arguments(request: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that a ScriptProcessor is made with, but its session and command."""
    cluster = request["ProcessingResources"]["ClusterConfig"]
    return {
        "role": request["RoleArn"],
        "image_uri": request["AppSpecification"]["ImageUri"],
        "instance_type": cluster.get("InstanceType"),
        "instance_count": cluster.get("InstanceCount"),
        "instance_preferences": cluster.get("InstancePreferences"),
        "volume_size_in_gb": cluster["VolumeSizeInGB"],
        "volume_kms_key": cluster.get("VolumeKmsKeyId"),
        "output_kms_key": request.get("ProcessingOutputConfig", {}).get("KmsKeyId"),
        "max_runtime_in_seconds": request["StoppingCondition"]["MaxRuntimeInSeconds"],
        "env": request.get("Environment"),
        "tags": request.get("Tags"),
        "network_config": _network(request.get("NetworkConfig")),
    }


def _network(planned: Mapping[str, Any] | None) -> Any:
    from sagemaker.core.network import NetworkConfig

    if planned is None:
        return None
    vpc = planned.get("VpcConfig", {})
    return NetworkConfig(
        enable_network_isolation=planned["EnableNetworkIsolation"],
        encrypt_inter_container_traffic=planned.get("EnableInterContainerTrafficEncryption"),
        security_group_ids=vpc.get("SecurityGroupIds"),
        subnets=vpc.get("Subnets"),
    )


def _inputs(request: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """The script's URI, which the SDK makes an input of itself, and the other inputs."""
    from sagemaker.core.shapes import ProcessingInput, ProcessingS3Input

    code = ""
    inputs = []
    for planned in request["ProcessingInputs"]:
        at = planned["S3Input"]
        if planned["InputName"] == CODE:
            code = at["S3Uri"]
            continue
        inputs.append(
            ProcessingInput(
                input_name=planned["InputName"],
                s3_input=ProcessingS3Input(
                    s3_uri=at["S3Uri"],
                    local_path=at["LocalPath"],
                    s3_data_type=at["S3DataType"],
                    s3_input_mode=at["S3InputMode"],
                    s3_data_distribution_type=at["S3DataDistributionType"],
                    s3_compression_type=at["S3CompressionType"],
                ),
            )
        )
    return code, inputs


def _outputs(request: Mapping[str, Any]) -> list[Any]:
    from sagemaker.core.shapes import ProcessingOutput, ProcessingS3Output

    planned = request.get("ProcessingOutputConfig", {}).get("Outputs", [])
    return [
        ProcessingOutput(
            output_name=output["OutputName"],
            s3_output=ProcessingS3Output(
                s3_uri=output["S3Output"]["S3Uri"],
                local_path=output["S3Output"]["LocalPath"],
                s3_upload_mode=output["S3Output"]["S3UploadMode"],
            ),
        )
        for output in planned
    ]
