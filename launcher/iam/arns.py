"""Names of AWS resources that a spec talks of, and statements about them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from embed_job.errors import SpecError
from embed_job.spec import JobSpec
from launcher.aws.images import ECR_IMAGE
from launcher.aws.packaged import partition_of
from launcher.job.names import name_stem, schedule_name
from launcher.job.request import compute_of

REGION, ACCOUNT = "REGION", "ACCOUNT_ID"
"""What stands in a policy for what the spec does not say."""

LOG_GROUP = "/aws/sagemaker/ProcessingJobs"
GROUP = "default"
"""Of schedules: the one that every account has."""

ROLE = re.compile(r"arn:(?P<partition>aws[a-z-]*):iam::(?P<account>\d{12}):role/.+")
_GLOB = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class Arns:
    """ARNs of one spec's resources. jobs: the beginning of the names of its jobs. schedules: the
    name of its schedule, and of its rule."""

    partition: str
    region: str
    account: str
    role: str
    repository: str
    jobs: str
    schedules: str
    input: S3Place
    output: S3Place

    def job(self) -> str:
        return self._arn("sagemaker", f"processing-job/{self.jobs}*")

    def schedule(self) -> str:
        return self._arn("scheduler", f"schedule/{GROUP}/{self.schedules}")

    def schedule_group(self) -> str:
        return self._arn("scheduler", f"schedule-group/{GROUP}")

    def rule(self) -> str:
        return self._arn("events", f"rule/{self.schedules}")

    def log_group(self) -> str:
        return self._arn("logs", f"log-group:{LOG_GROUP}")

    def log_streams(self) -> str:
        return f"{self.log_group()}:log-stream:{self.jobs}*"

    def ec2(self, kind: str, name: str = "*") -> str:
        return self._arn("ec2", f"{kind}/{name}")

    def domain(self, name: str, *, region: str | None) -> str:
        """An OpenSearch domain, taken for this account's; its url does not say whose it is."""
        return self._arn("es", f"domain/{name}", region=region)

    def collection(self, collection_id: str, *, region: str | None) -> str:
        """A Serverless collection, likewise."""
        return self._arn("aoss", f"collection/{collection_id}", region=region)

    def key(self, key: str) -> tuple[str, dict[str, Any]]:
        """ARN of a KMS key given by ARN, id or alias, and the condition that an alias needs."""
        if key.startswith("arn:") and ":alias/" not in key:
            return key, {}
        alias = key[key.index("alias/") :] if "alias/" in key else None
        if alias is None:
            return self._arn("kms", f"key/{key}"), {}
        # No policy takes an alias as a resource; the condition holds for the key behind it.
        return self._arn("kms", "key/*"), {
            "ForAnyValue:StringEquals": {"kms:ResourceAliases": alias}
        }

    def _arn(self, service: str, resource: str, *, region: str | None = None) -> str:
        region = region or self.region
        return f"arn:{self.partition}:{service}:{region}:{self.account}:{resource}"


@dataclass(frozen=True, slots=True)
class S3Place:
    """A folder in S3, or what may be a single object, where the spec has no slash at its end.

    name: its key without a slash at the end.
    """

    partition: str
    bucket: str
    name: str
    may_be_object: bool

    def bucket_arn(self) -> str:
        return f"arn:{self.partition}:s3:::{self.bucket}"

    def objects(self, *below: str) -> str:
        """ARN of everything in the folder, or in a folder below it."""
        return f"{self.bucket_arn()}/{'/'.join([*self._names(), *below, '*'])}"

    def contents(self) -> list[str]:
        """ARNs of what the place holds, itself included where it may be an object."""
        itself = [f"{self.bucket_arn()}/{self.name}"] if self.may_be_object else []
        return [*itself, self.objects()]

    def listing(self, sid: str, *below: str) -> dict[str, Any]:
        """The statement that allows to list the folder, or a folder below it."""
        statement = allow(sid, ["s3:ListBucket"], [self.bucket_arn()])
        folder = "/".join([*self._names(), *below])
        if folder:
            statement["Condition"] = {"StringLike": {"s3:prefix": [folder, f"{folder}/*"]}}
        return statement

    def _names(self) -> list[str]:
        return [self.name] if self.name else []


def allow(sid: str, actions: Sequence[str], resources: Sequence[str]) -> dict[str, Any]:
    """One statement of a policy."""
    return {
        "Sid": sid,
        "Effect": "Allow",
        "Action": list(actions),
        "Resource": list(dict.fromkeys(resources)),
    }


def document(statements: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A policy of statements."""
    return {"Version": "2012-10-17", "Statement": list(statements)}


def arns_of(spec: JobSpec, *, region: str | None, account: str | None) -> Arns:
    """The resources of a spec. Raises SpecError where it is not one for SageMaker."""
    compute = compute_of(spec)
    role = ROLE.fullmatch(compute.role_arn or "")
    image = ECR_IMAGE.fullmatch(compute.image_uri or "")
    account = (role["account"] if role else None) or account or ACCOUNT
    region = compute.region or region or REGION
    partition = role["partition"] if role else partition_of(region)
    repository = (
        f"arn:{partition}:ecr:{image['region']}:{image['account']}:repository/{image['repository']}"
        if image
        else f"arn:{partition}:ecr:{region}:{account}:repository/embed-job"
    )
    return Arns(
        partition=partition,
        region=region,
        account=account,
        role=compute.role_arn or f"arn:{partition}:iam::{account}:role/embed-job",
        repository=repository,
        jobs=f"{name_stem(spec.name)}-",
        schedules=schedule_name(spec.name),
        input=_place("input.uri", spec.input.uri, partition),
        output=_place(f"{spec.parquet_key}.uri", spec.parquet.uri, partition),
    )


def _place(key: str, uri: str, partition: str) -> S3Place:
    if not uri.startswith("s3://"):
        raise SpecError(key, f"{uri} is not in S3", "Name an s3:// prefix.")
    bucket, _, name = uri.removeprefix("s3://").partition("/")
    glob = _GLOB.search(name)
    if glob:
        name = name[: glob.start()].rpartition("/")[0]
    may_be_object = bool(name) and glob is None and not name.endswith("/")
    return S3Place(partition, bucket, name.rstrip("/"), may_be_object)
