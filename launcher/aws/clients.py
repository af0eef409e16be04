"""AWS, as the launcher reaches it: one place where clients are made, each when first asked for."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError

from embed_job.errors import UserError

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_pricing import PricingClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker import SageMakerClient

    from embed_job.storage.s3 import S3Store

PRICING_REGION = "us-east-1"
"""The Price List API answers in three regions alone, for all of them."""


class Clients:
    """Clients of one session and region. region None: none is known, and only S3 may be used."""

    def __init__(self, session: boto3.Session, region: str | None) -> None:
        self.session = session
        self._region = region
        self.bucket_regions: dict[str, str] = {}
        """Where buckets lie, as far as S3 has said it beside an answer."""

    @property
    def region(self) -> str:
        """Where the job runs. Raises UserError where nobody has said it."""
        if self._region is None:
            raise UserError(
                "compute.region",
                "no AWS region is known",
                "Set compute.region in the spec, or AWS_REGION.",
            )
        return self._region

    @property
    def known_region(self) -> str | None:
        return self._region

    @cached_property
    def s3(self) -> S3Client:
        """Its own retries are off: :class:`embed_job.storage.s3.S3Store` makes them."""
        client = self._client("s3", region=self._region, total_attempts=1)
        client.meta.events.register("after-call.s3", self._note_bucket_region)
        return client  # type: ignore[no-any-return]

    @property
    def store(self) -> S3Store:
        """S3 as a :class:`embed_job.storage.Store`."""
        from embed_job.storage.s3 import S3Store

        return S3Store(self.s3)

    @cached_property
    def sagemaker(self) -> SageMakerClient:
        return self._client("sagemaker", region=self.region)  # type: ignore[no-any-return]

    @cached_property
    def logs(self) -> CloudWatchLogsClient:
        return self._client("logs", region=self.region)  # type: ignore[no-any-return]

    @cached_property
    def scheduler(self) -> Any:
        return self._client("scheduler", region=self.region)

    @cached_property
    def events(self) -> Any:
        return self._client("events", region=self.region)

    @cached_property
    def pricing(self) -> PricingClient:
        # What is unknown is said to be unknown; nobody waits for a price.
        return self._client(  # type: ignore[no-any-return]
            "pricing", region=PRICING_REGION, total_attempts=2, timeout_s=5
        )

    @cached_property
    def sts(self) -> Any:
        return self._client("sts", region=self.region, total_attempts=3, timeout_s=10)

    @cached_property
    def ecr(self) -> Any:
        return self._client("ecr", region=self.region)

    @cached_property
    def iam(self) -> Any:
        return self._client("iam", region=self.region)

    def _note_bucket_region(
        self, parsed: Mapping[str, Any], context: Mapping[str, Any], **_: Any
    ) -> None:
        # S3 names it when a bucket is listed, and where it sends elsewhere; nobody has to ask.
        headers = parsed.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        bucket = context.get("input_params", {}).get("Bucket")
        region = headers.get("x-amz-bucket-region")
        if bucket and region:
            self.bucket_regions[bucket] = region

    def _client(
        self,
        service: str,
        *,
        region: str | None,
        total_attempts: int = 8,
        timeout_s: float = 60,
    ) -> Any:
        from botocore.config import Config

        config = Config(
            connect_timeout=min(10, timeout_s),
            read_timeout=timeout_s,
            retries={"mode": "standard", "total_max_attempts": total_attempts},
            user_agent_extra="embed-job",
        )
        make: Any = self.session.client
        try:
            return make(service, region_name=region, config=config)
        except (BotoCoreError, ValueError) as error:
            raise _no_session(error) from error


def make_clients(region: str | None, *, environment: Mapping[str, str]) -> Clients:
    """Clients of boto3's default chain: environment, profile, instance role.

    region: the spec's; else AWS_REGION of the environment (which boto3 does not read), else the
    profile's. Raises UserError where the profile does not exist.
    """
    import boto3

    try:
        session = boto3.Session()
        found = region or environment.get("AWS_REGION") or session.region_name
        if found and found != session.region_name:
            # SageMaker's SDK asks the session, not its clients, for the region.
            session = boto3.Session(region_name=found)
    except BotoCoreError as error:
        raise _no_session(error) from error
    return Clients(session, found)


def _no_session(error: Exception) -> UserError:
    return UserError(
        "AWS",
        f"no client can be made ({error})",
        "Check AWS_PROFILE, AWS_REGION and AWS_ENDPOINT_URL.",
    )
