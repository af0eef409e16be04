"""Jobs as SageMaker knows them: one described, and those of a spec found by their names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

from embed_job.commit.commits import PRIVATE
from embed_job.errors import UserError
from launcher.job.names import SCHEDULES, is_job_of, job_folder, name_stem
from launcher.job.request import JOB, VECTORS

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient
    from mypy_boto3_sagemaker.type_defs import ProcessingJobSummaryTypeDef

RUNNING = ("InProgress", "Stopping")
_MAX_PAGES = 50
_PAGE = 100


@dataclass(frozen=True, slots=True)
class JobState:
    """One job, as DescribeProcessingJob has it.

    instances: like ``3 × ml.c7i.4xlarge``, None where it does not say. prefix: s3:// folder of
    the job's own files, ending in ``/``; None for a job of somebody else's. uploaded: whether
    SageMaker uploads the vectors, so that finalize is ours to do.
    """

    name: str
    arn: str
    status: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    max_runtime_s: int | None
    exit_message: str | None
    failure_reason: str | None
    instances: str | None
    prefix: str | None
    uploaded: bool

    @property
    def running(self) -> bool:
        return self.status in RUNNING

    @property
    def completed(self) -> bool:
        return self.status == "Completed"

    @property
    def output(self) -> str | None:
        """The output's folder; None where it is unknown."""
        return output_of(self.prefix) if self.prefix else None


def output_of(prefix: str) -> str:
    """The output's folder, of the prefix of a job's own files."""
    return prefix.partition(f"/{PRIVATE}/jobs/")[0]


def describe_job(client: SageMakerClient, name: str) -> JobState:
    """How a job stands. Raises what botocore raises."""
    answer: Mapping[str, Any] = client.describe_processing_job(ProcessingJobName=name)
    inputs = {item["InputName"]: item for item in answer.get("ProcessingInputs", [])}
    outputs = answer.get("ProcessingOutputConfig", {}).get("Outputs", [])
    order = inputs.get(JOB, {}).get("S3Input", {}).get("S3Uri")
    return JobState(
        name=answer["ProcessingJobName"],
        arn=answer["ProcessingJobArn"],
        status=answer["ProcessingJobStatus"],
        created_at=answer["CreationTime"],
        started_at=answer.get("ProcessingStartTime"),
        ended_at=answer.get("ProcessingEndTime"),
        max_runtime_s=answer.get("StoppingCondition", {}).get("MaxRuntimeInSeconds"),
        exit_message=answer.get("ExitMessage"),
        failure_reason=answer.get("FailureReason"),
        instances=_instances(answer.get("ProcessingResources", {}).get("ClusterConfig", {})),
        prefix=_own_folder(order, answer["ProcessingJobName"]) if order else None,
        uploaded=any(output["OutputName"] == VECTORS for output in outputs),
    )


def _own_folder(order: str, job: str) -> str:
    """Where a job's own files are, by the folder of its order: above that, but where a schedule
    lends its order to every job of it."""
    output, scheduled, _ = order.partition(f"/{PRIVATE}/{SCHEDULES}/")
    return job_folder(output, job) if scheduled else order.removesuffix("input/")


def _instances(cluster: Mapping[str, Any]) -> str | None:
    """What runs; of preferences, the one that was chosen."""
    count = cluster.get("SelectedInstanceCount") or cluster.get("InstanceCount")
    kind = cluster.get("SelectedInstanceType") or cluster.get("InstanceType")
    return f"{count} × {kind}" if kind else None


def running_jobs(client: SageMakerClient, spec_name: str) -> list[str]:
    """Names of a spec's jobs that are running or stopping."""
    return [
        job["ProcessingJobName"]
        for status in ("InProgress", "Stopping")
        for job in _jobs_of(client, spec_name, status)
    ]


def latest_job(client: SageMakerClient, spec_name: str) -> str:
    """Name of a spec's newest job. Raises UserError where it has none."""
    newest = max(
        islice(_jobs_of(client, spec_name, None), _PAGE),
        key=lambda job: job["CreationTime"],
        default=None,
    )
    if newest is not None:
        return newest["ProcessingJobName"]
    raise UserError(
        spec_name,
        "has no job in this account and region yet",
        "Submit one with `embed-job submit`, or name a job.",
    )


def last_jobs(
    client: SageMakerClient, spec_name: str, count: int
) -> list[ProcessingJobSummaryTypeDef]:
    """A spec's newest jobs, as ListProcessingJobs has them, newest first."""
    return list(islice(_jobs_of(client, spec_name, None), count))


def _jobs_of(
    client: SageMakerClient,
    spec_name: str,
    status: Literal["InProgress", "Stopping"] | None,
) -> Iterator[ProcessingJobSummaryTypeDef]:
    """A spec's jobs, newest first."""
    request: dict[str, Any] = {
        "NameContains": name_stem(spec_name),
        "SortBy": "CreationTime",
        "SortOrder": "Descending",
        "MaxResults": _PAGE,
    }
    if status:
        request["StatusEquals"] = status
    for _ in range(_MAX_PAGES):
        page = client.list_processing_jobs(**request)
        for summary in page["ProcessingJobSummaries"]:
            if is_job_of(spec_name, summary["ProcessingJobName"]):
                yield summary
        if not page.get("NextToken"):
            return
        request["NextToken"] = page["NextToken"]


def console_link(arn: str) -> str:
    """The job's page in the AWS console."""
    _, partition, _, region, _, resource = arn.split(":", 5)
    host = {
        "aws-cn": "console.amazonaws.cn",
        "aws-us-gov": "console.amazonaws-us-gov.com",
    }.get(partition, "console.aws.amazon.com")
    job = resource.partition("/")[2]
    return f"https://{region}.{host}/sagemaker/home?region={region}#/processing-jobs/{job}"


def log_link(arn: str) -> str:
    """The job's log streams in the AWS console."""
    region, job = arn.split(":")[3], arn.partition("/")[2]
    page = console_link(arn).partition("/sagemaker/")[0]
    group = "$252Faws$252Fsagemaker$252FProcessingJobs"
    return (
        f"{page}/cloudwatch/home?region={region}#logsV2:log-groups/log-group/{group}"
        f"$3FlogStreamNameFilter$3D{job}"
    )
