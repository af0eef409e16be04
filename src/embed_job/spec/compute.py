"""The machines of a SageMaker job and what may be done with them."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from embed_job.spec.section import Section

INSTANCE_TYPE = r"^ml\.[a-z0-9-]+\.[a-z0-9]+$"


class InstancePreference(Section):
    """One choice of machines; the platform takes the first that it has."""

    instance_type: str = Field(
        pattern=INSTANCE_TYPE, description="SageMaker's name of the machine."
    )
    instance_count: int = Field(ge=1, le=100, description="How many of it.")


class NetworkSpec(Section):
    """Where the containers' traffic may go."""

    isolation: bool = Field(
        False,
        description="No outbound call from the container at all; needs delivery: "
        "processing_output and sharing: sharded_by_s3_key.",
    )
    subnets: tuple[str, ...] = Field((), max_length=16, description="Subnets of your VPC.")
    security_group_ids: tuple[str, ...] = Field(
        (), max_length=5, description="Security groups in that VPC."
    )
    encrypt_inter_container_traffic: bool = Field(
        False, description="Encrypt what containers say to each other."
    )

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if bool(self.subnets) != bool(self.security_group_ids):
            raise ValueError("a VPC needs both subnets and security_group_ids")
        return self


class ComputeSpec(Section):
    """The machines of a SageMaker job; read by the launcher, and by reports that price a run."""

    instance_type: str = Field(
        "ml.c7i.4xlarge", pattern=INSTANCE_TYPE, description="SageMaker's name of the machine."
    )
    instance_count: int = Field(1, ge=1, le=100, description="How many of it.")
    instance_preferences: tuple[InstancePreference, ...] = Field(
        (),
        max_length=5,
        description="Choices in order, for when there is no capacity; instead of instance_type, "
        "instance_count, price_per_hour_usd, tokens_per_s and vcpus.",
    )
    sharing: Literal["sharded_by_s3_key", "balanced"] = Field(
        "sharded_by_s3_key",
        description="How hosts share the input: each gets its part of the objects before it "
        "starts, or all take splits of one plan, weighed by bytes, straight from S3.",
    )
    delivery: Literal["direct", "processing_output"] = Field(
        "direct",
        description="How vectors leave: hosts write them to S3 with their manifests, or "
        "SageMaker uploads them (for network isolation).",
    )
    upload_mode: Literal["Continuous", "EndOfJob"] = Field(
        "EndOfJob", description="When SageMaker uploads, with delivery: processing_output."
    )
    image_uri: str | None = Field(
        None, max_length=255, description="The image in ECR, by digest; `make push` prints it."
    )
    role_arn: str | None = Field(None, description="ARN of the role that the job runs as.")
    region: str | None = Field(None, description="AWS region; unset: AWS_REGION or the profile's.")
    volume_gb: int = Field(
        100, ge=1, le=16384, description="GB of disk an instance; must hold its part of the input."
    )
    max_runtime_s: int = Field(
        86400, ge=1, le=777600, description="Seconds after which the job is stopped."
    )
    max_cost_usd: float | None = Field(
        None,
        gt=0,
        description="What the job may cost as planned; above, it is refused.",
    )
    price_per_hour_usd: float | None = Field(
        None, gt=0, description="Price of one instance; unset: asked of AWS, or not stated."
    )
    vcpus: int | None = Field(
        None, ge=1, description="vCPUs of one instance; unset: no time on it is stated."
    )
    tokens_per_s: float | None = Field(
        None,
        gt=0,
        description="Tokens a second of one instance, as you have measured it; unset: estimated "
        "by `embed-job plan --report`.",
    )
    volume_kms_key: str | None = Field(
        None, max_length=2048, description="KMS key of the volumes; refused for NVMe instances."
    )
    output_kms_key: str | None = Field(
        None,
        max_length=2048,
        description="KMS key of what SageMaker uploads; with delivery: direct only granted to "
        "the role, for the bucket's default encryption.",
    )
    network: NetworkSpec = NetworkSpec()
    environment: dict[str, str] = Field(
        default_factory=dict, max_length=90, description="Environment of the container; no secrets."
    )
    tags: dict[str, str] = Field(
        default_factory=dict, max_length=45, description="Tags of the job, for your bills."
    )
