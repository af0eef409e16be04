"""Whose the role and the image are, where the job may run, and what it can reach from there."""

from __future__ import annotations

import re
from collections.abc import Iterator

from embed_job.spec.compute import ComputeSpec
from launcher.aws.images import ECR_IMAGE
from launcher.aws.packaged import partition_of
from launcher.rules.problems import Known, Problem, error, warning

ROLE = re.compile(r"arn:(aws[a-z-]*):iam::(\d{12}):role/?[a-zA-Z_0-9+=,.@\-_/]+")


def access(compute: ComputeSpec, known: Known) -> Iterator[Problem]:
    """Role, image, region and network."""
    if known.on == "sagemaker":
        if not known.region:
            hint = "Set it here, or AWS_REGION."
            yield error("compute.region", "no AWS region is known", hint)
        yield from _role(compute, known)
        yield from _image(compute, known)
    yield from _isolation(compute)
    if compute.output_kms_key and compute.delivery == "direct":
        yield warning(
            "compute.output_kms_key",
            "encrypts nothing with delivery: direct, where hosts write to S3 themselves",
            "Keep it: it grants the role the key. Set it as the bucket's default encryption too.",
        )


def _role(compute: ComputeSpec, known: Known) -> Iterator[Problem]:
    where = "compute.role_arn"
    if not compute.role_arn:
        yield error(where, "is missing", "`embed-job iam` prints the policies that it needs.")
        return
    found = ROLE.fullmatch(compute.role_arn)
    if not found or len(compute.role_arn) > 2048:
        hint = "It looks like arn:aws:iam::123456789012:role/name."
        yield error(where, "is no ARN of a role", hint)
        return
    partition, account = found.groups()
    if known.account and account != known.account:
        what = f"belongs to account {account}, but you are in {known.account}"
        yield error(where, what, "A job takes a role of its own account: switch either.")
    if known.region and partition != partition_of(known.region):
        what = f"is of partition {partition}, but the job runs in {known.region}"
        yield error(where, what, "Name a role of that partition.")


def _image(compute: ComputeSpec, known: Known) -> Iterator[Problem]:
    where = "compute.image_uri"
    if not compute.image_uri:
        yield error(where, "is missing", "`make push` builds it, and prints what to put here.")
        return
    found = ECR_IMAGE.fullmatch(compute.image_uri)
    if not found:
        hint = "`make push` copies it there, and prints what to put here."
        yield error(where, "is no image in a private ECR repository", hint)
        return
    account, region = found["account"], found["region"]
    if known.region and region != known.region:
        what = f"lies in {region}, but the job runs in {known.region}"
        yield error(where, what, f"`make push` with AWS_REGION={known.region}, or move the job.")
    if known.account and account != known.account:
        what = f"belongs to account {account}, but you are in {known.account}"
        yield error(where, what, "`make push` copies it into a repository of yours.")
    if found["digest"] is None:
        yield warning(
            where,
            "names a tag, which may be another image tomorrow",
            "Name the digest (…@sha256:…), which `make push` prints.",
        )


def _isolation(compute: ComputeSpec) -> Iterator[Problem]:
    """Nothing leaves an isolated container: only what SageMaker copies in and out can work."""
    if not compute.network.isolation:
        return
    where = "compute.network.isolation"
    if compute.delivery == "direct":
        what = "keeps hosts from writing to S3 (delivery: direct)"
        yield error(where, what, "Set compute.delivery: processing_output.")
    if compute.sharing == "balanced":
        what = "keeps hosts from reading S3 (sharing: balanced)"
        yield error(where, what, "Set compute.sharing: sharded_by_s3_key.")
