"""What a person needs who plans, submits and follows the jobs of a spec."""

from __future__ import annotations

from typing import Any

from embed_job.commit.commits import PRIVATE
from embed_job.spec import JobSpec
from launcher.iam.arns import Arns, allow, document
from launcher.job.request import compute_of


def launcher_policy(spec: JobSpec, arns: Arns) -> dict[str, Any]:
    """plan, submit, status, logs, stop."""
    job_actions = [
        f"sagemaker:{name}"
        for name in ("CreateProcessingJob", "DescribeProcessingJob", "StopProcessingJob", "AddTags")
    ]
    pass_role = allow("HandOverTheRole", ["iam:PassRole"], [arns.role])
    pass_role["Condition"] = {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}
    return document(
        [
            allow("RunJobs", job_actions, [arns.job()]),
            # The action knows no resource to narrow it to.
            allow("FindJobs", ["sagemaker:ListProcessingJobs"], ["*"]),
            *_prices(spec),
            pass_role,
            arns.input.listing("ListInput"),
            allow("SampleInput", ["s3:GetObject"], arns.input.contents()),
            allow("BringJob", ["s3:PutObject"], [arns.output.objects(PRIVATE, "jobs")]),
            arns.output.listing("ListProgress", PRIVATE),
            # Parts as well: `plan --diff` names documents that are gone.
            allow("ReadOutput", ["s3:GetObject"], [arns.output.objects()]),
            allow("FindLogs", ["logs:DescribeLogStreams"], [f"{arns.log_group()}:*"]),
            allow("ReadLogs", ["logs:GetLogEvents"], [arns.log_streams()]),
            *volume_key(spec, arns),
            *stored_key(spec, arns),
        ]
    )


def _prices(spec: JobSpec) -> list[dict[str, Any]]:
    """The Price List API, which knows no resource; not asked where the spec prices its only
    choice of machines."""
    compute = compute_of(spec)
    if compute.price_per_hour_usd is not None and not compute.instance_preferences:
        return []
    return [allow("AskPrices", ["pricing:GetProducts"], ["*"])]


def finalize_policy(spec: JobSpec, arns: Arns) -> dict[str, Any]:
    """finalize: check a whole output, write its job manifest, remove what is left over."""
    return document(
        [
            arns.output.listing("ListOutput"),
            allow("ReadOutput", ["s3:GetObject"], [arns.output.objects()]),
            allow("CommitJob", ["s3:PutObject"], [arns.output.objects(PRIVATE)]),
            allow("RemoveLeftovers", ["s3:DeleteObject"], [arns.output.objects()]),
            *stored_key(spec, arns),
        ]
    )


def doctor_policy(_spec: JobSpec, arns: Arns) -> dict[str, Any]:
    """doctor: whether role and image are there, and whether the role may do its work."""
    return document(
        [
            allow("SeeRole", ["iam:GetRole", "iam:SimulatePrincipalPolicy"], [arns.role]),
            allow("SeeImage", ["ecr:DescribeImages"], [arns.repository]),
        ]
    )


def volume_key(spec: JobSpec, arns: Arns) -> list[dict[str, Any]]:
    """The key of the volumes: whoever creates the job lends SageMaker the use of it."""
    volume_key = compute_of(spec).volume_kms_key
    if volume_key is None:
        return []
    key, condition = arns.key(volume_key)
    grant = allow("LendVolumeKey", ["kms:CreateGrant"], [key])
    grant["Condition"] = {"Bool": {"kms:GrantIsForAWSResource": "true"}} | condition
    look = allow("SeeVolumeKey", ["kms:DescribeKey"], [key])
    if condition:
        look["Condition"] = condition
    return [grant, look]


def stored_key(spec: JobSpec, arns: Arns) -> list[dict[str, Any]]:
    """The key of what is stored, where the spec names one: used by S3, and by nothing else."""
    output_key = compute_of(spec).output_kms_key
    if output_key is None:
        return []
    key, condition = arns.key(output_key)
    statement = allow("UseOutputKey", ["kms:Decrypt", "kms:GenerateDataKey"], [key])
    via = f"s3.{arns.region}.amazonaws.com"
    statement["Condition"] = {"StringEquals": {"kms:ViaService": via}} | condition
    return [statement]
