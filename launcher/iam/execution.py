"""What the role needs that a job runs as: SageMaker's own work, and the containers' calls."""

from __future__ import annotations

from typing import Any

from embed_job.commit.commits import PRIVATE
from embed_job.spec import JobSpec
from launcher.iam.arns import Arns, allow, document
from launcher.iam.index import index_statements
from launcher.job.request import compute_of


def execution_policy(spec: JobSpec, arns: Arns) -> dict[str, Any]:
    """The permissions of the execution role."""
    return document(
        [
            *_logs(arns),
            *_image(arns),
            *_files(spec, arns),
            *_network(spec, arns),
            *_keys(spec, arns),
            *index_statements(spec, arns),
        ]
    )


def trust_policy(arns: Arns) -> dict[str, Any]:
    """Who may assume the role: SageMaker, for this account's processing jobs."""
    source = f"arn:{arns.partition}:sagemaker:{arns.region}:{arns.account}:processing-job/*"
    return document(
        [
            {
                "Sid": "SageMakerRunsJobs",
                "Effect": "Allow",
                "Principal": {"Service": "sagemaker.amazonaws.com"},
                "Action": "sts:AssumeRole",
                "Condition": {
                    "StringEquals": {"aws:SourceAccount": arns.account},
                    "ArnLike": {"aws:SourceArn": source},
                },
            }
        ]
    )


def _logs(arns: Arns) -> list[dict[str, Any]]:
    metrics = allow("InstanceMetrics", ["cloudwatch:PutMetricData"], ["*"])
    # The action knows no resource; its namespace narrows it.
    metrics["Condition"] = {"StringLike": {"cloudwatch:namespace": "/aws/sagemaker/*"}}
    group, within = arns.log_group(), f"{arns.log_group()}:*"
    return [
        # AWS names the group in either form where one is made.
        allow("MakeLogGroup", ["logs:CreateLogGroup"], [group, within]),
        allow("FindLogs", ["logs:DescribeLogStreams"], [within]),
        allow("WriteLogs", ["logs:CreateLogStream", "logs:PutLogEvents"], [arns.log_streams()]),
        metrics,
    ]


def _image(arns: Arns) -> list[dict[str, Any]]:
    pull = ["BatchCheckLayerAvailability", "GetDownloadUrlForLayer", "BatchGetImage"]
    return [
        # A token is for the whole registry; ECR knows no resource for it.
        allow("OpenRegistry", ["ecr:GetAuthorizationToken"], ["*"]),
        allow("PullImage", [f"ecr:{name}" for name in pull], [arns.repository]),
    ]


def _files(spec: JobSpec, arns: Arns) -> list[dict[str, Any]]:
    """Input, order and output; what writes the output decides what is needed there."""
    read_input = [
        arns.input.listing("ListInput"),
        allow("ReadInput", ["s3:GetObject"], arns.input.contents()),
    ]
    write = ["s3:PutObject", "s3:AbortMultipartUpload"]
    if compute_of(spec).delivery == "processing_output":
        # SageMaker itself uploads; the containers only get what earlier runs committed.
        return [
            *read_input,
            arns.output.listing("ListCommitted", PRIVATE),
            allow("ReadCommitted", ["s3:GetObject"], [arns.output.objects(PRIVATE)]),
            allow("WriteOutput", write, [arns.output.objects()]),
        ]
    return [
        *read_input,
        arns.output.listing("ListOutput"),
        allow("ReadOutput", ["s3:GetObject"], [arns.output.objects()]),
        allow("WriteOutput", [*write, "s3:DeleteObject"], [arns.output.objects()]),
    ]


def _network(spec: JobSpec, arns: Arns) -> list[dict[str, Any]]:
    """Network interfaces in the VPC, where the spec names one."""
    network = compute_of(spec).network
    if not network.subnets:
        return []
    interfaces = arns.ec2("network-interface")
    places = [arns.ec2("subnet", subnet) for subnet in network.subnets]
    groups = [arns.ec2("security-group", group) for group in network.security_group_ids]
    kinds = ["NetworkInterfaces", "Vpcs", "DhcpOptions", "Subnets", "SecurityGroups"]
    manage = [
        "ec2:CreateNetworkInterfacePermission",
        "ec2:DeleteNetworkInterface",
        "ec2:DeleteNetworkInterfacePermission",
    ]
    return [
        # EC2's Describe actions know no resource.
        allow("SeeNetwork", [f"ec2:Describe{kind}" for kind in kinds], ["*"]),
        allow("JoinNetwork", ["ec2:CreateNetworkInterface"], [interfaces, *places, *groups]),
        allow("ManageInterfaces", manage, [interfaces]),
    ]


def _keys(spec: JobSpec, arns: Arns) -> list[dict[str, Any]]:
    compute = compute_of(spec)
    statements = []
    if compute.output_kms_key:
        key, condition = arns.key(compute.output_kms_key)
        actions = ["kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey"]
        use = allow("UseOutputKey", actions, [key])
        if condition:
            use["Condition"] = condition
        statements.append(use)
    if compute.volume_kms_key:
        key, condition = arns.key(compute.volume_kms_key)
        grant = allow("LendVolumeKey", ["kms:CreateGrant"], [key])
        grant["Condition"] = {"Bool": {"kms:GrantIsForAWSResource": "true"}} | condition
        statements.append(grant)
    return statements
