"""Every AWS call that planning and submitting make, before any of them is made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from embed_job.commit.commits import PRIVATE
from embed_job.fleet.order import LISTING_FILE, ORDER_FILE
from embed_job.spec import JobSpec
from launcher.job.request import SCRIPT, JobNames, compute_of, folder_uri
from launcher.planning.listing import ListingFacts

PAGE = 1000


@dataclass(frozen=True, slots=True)
class AwsCall:
    """when: plan, submit, wait, or hosts where it is they who ask an OpenSearch server. action: as
    IAM names it. times: of how many objects, pages or other answers; None: again and again until
    the job has ended."""

    when: str
    action: str
    resource: str
    times: int | None = 1


def calls_of(
    spec: JobSpec, names: JobNames, listing: ListingFacts | None, *, sampled: int, asked_price: bool
) -> tuple[AwsCall, ...]:
    """In the order in which they are made. sampled: files that were looked into."""
    planning = _planning(spec, listing, sampled=sampled, asked_price=asked_price)
    return (*planning, *_submitting(spec, names))


def _planning(
    spec: JobSpec, listing: ListingFacts | None, *, sampled: int, asked_price: bool
) -> Iterator[AwsCall]:
    yield AwsCall("plan", "sts:GetCallerIdentity", "*")
    pages = max(1, -(-listing.objects // PAGE)) if listing else 1
    yield AwsCall("plan", "s3:ListBucket", spec.input.uri, pages)
    if sampled:
        yield AwsCall("plan", "s3:GetObject", folder_uri(spec.input.uri) + "*", sampled)
    private = f"{folder_uri(spec.parquet.uri)}{PRIVATE}/"
    yield AwsCall("plan", "s3:GetObject", f"{private}dataset.json")
    yield AwsCall("plan", "s3:ListBucket", f"{private}manifests/")
    if asked_price:
        yield AwsCall("plan", "pricing:GetProducts", "*")


def _submitting(spec: JobSpec, names: JobNames) -> Iterator[AwsCall]:
    compute = compute_of(spec)
    yield AwsCall("submit", "sagemaker:ListProcessingJobs", "*")
    for name in (f"code/{SCRIPT}", f"input/{LISTING_FILE}", f"input/{ORDER_FILE}"):
        yield AwsCall("submit", "s3:PutObject", names.prefix + name)
    # The upload's size is compared.
    yield AwsCall("submit", "s3:GetObject", f"{names.prefix}input/{LISTING_FILE}")
    job = f"processing-job/{names.job}"
    yield AwsCall("submit", "sagemaker:CreateProcessingJob", job)
    yield AwsCall("submit", "sagemaker:AddTags", job)
    yield AwsCall("submit", "iam:PassRole", compute.role_arn or "compute.role_arn")
    yield AwsCall("wait", "sagemaker:DescribeProcessingJob", job, None)
    yield AwsCall("wait", "logs:DescribeLogStreams", "/aws/sagemaker/ProcessingJobs", None)
    yield AwsCall("wait", "logs:GetLogEvents", "/aws/sagemaker/ProcessingJobs", None)
    private = f"{folder_uri(spec.parquet.uri)}{PRIVATE}/"
    yield AwsCall("wait", "s3:ListBucket", private, None)
    yield AwsCall("wait", "s3:GetObject", f"{private}*", None)
