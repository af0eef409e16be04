"""The policies that `embed-job iam` prints: as narrow as the service allows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

from embed_job.errors import SpecError
from embed_job.spec import JobSpec
from embed_job.spec.file import load_spec, parse_spec
from launcher.aws.errors import explain, is_denied, is_passing
from launcher.iam import make_policies

ROOT = Path(__file__).resolve().parents[2]

WITHOUT_RESOURCES = {
    "sagemaker:ListProcessingJobs",
    "pricing:GetProducts",
    "ecr:GetAuthorizationToken",
    "cloudwatch:PutMetricData",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeVpcs",
    "ec2:DescribeDhcpOptions",
    "ec2:DescribeSubnets",
    "ec2:DescribeSecurityGroups",
}
"""Actions for which the service knows no resource."""

EVERYTHING = [
    "compute.output_kms_key=alias/vectors",
    "compute.volume_kms_key=arn:aws:kms:eu-west-1:123456789012:key/abcd",
    "compute.network={subnets: [subnet-1], security_group_ids: [sg-1]}",
]


def spec_with(*overrides: str) -> JobSpec:
    return parse_spec(
        """
name: kb
input: {uri: s3://corpus/kb/}
outputs: [{parquet: {uri: s3://vectors/kb/}}]
compute:
  region: eu-west-1
  image_uri: 123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/embed-job@sha256:{digest}
  role_arn: arn:aws:iam::123456789012:role/embed-job
""".replace("{digest}", "0" * 64),
        name="spec",
        overrides=overrides,
    )


def statements(policy: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {statement["Sid"]: statement for statement in policy["Statement"]}


def test_the_policies_in_docs_are_those_of_the_example() -> None:
    """Made anew by: embed-job iam jobs/example.yaml --out docs/iam"""
    policies = make_policies(load_spec(ROOT / "jobs" / "example.yaml")).documents()
    found = {
        path.stem: json.loads(path.read_text()) for path in (ROOT / "docs" / "iam").glob("*.json")
    }
    assert found == policies


@pytest.mark.parametrize(
    "overrides",
    [[], EVERYTHING, ["compute.delivery=processing_output"], ["compute.sharing=balanced"]],
    ids=["plain", "everything", "uploaded", "balanced"],
)
def test_a_star_stands_only_where_the_service_knows_no_resource(overrides: list[str]) -> None:
    for name, policy in make_policies(spec_with(*overrides)).documents().items():
        for statement in policy["Statement"]:
            assert "*" not in "".join(statement["Action"])
            if "*" in statement.get("Resource", []):
                assert set(statement["Action"]) <= WITHOUT_RESOURCES, name
        sids = [statement["Sid"] for statement in policy["Statement"]]
        assert len(sids) == len(set(sids))
        # IAM's limit of a managed policy, which counts no white space.
        assert len(json.dumps(policy, separators=(",", ":"))) <= 6144


def test_an_uploaded_output_needs_less_of_the_role() -> None:
    direct = statements(make_policies(spec_with()).execution_role)
    uploaded = statements(
        make_policies(spec_with("compute.delivery=processing_output")).execution_role
    )
    assert "s3:DeleteObject" in direct["WriteOutput"]["Action"]
    assert "s3:DeleteObject" not in uploaded["WriteOutput"]["Action"]
    assert uploaded["ReadCommitted"]["Resource"] == ["arn:aws:s3:::vectors/kb/_embed_job/*"]


def test_a_vpc_and_keys_are_asked_for_where_the_spec_names_them() -> None:
    plain = make_policies(spec_with()).execution_role
    assert not any("ec2:" in json.dumps(item) for item in plain["Statement"])
    role = statements(make_policies(spec_with(*EVERYTHING)).execution_role)
    assert "arn:aws:ec2:eu-west-1:123456789012:subnet/subnet-1" in role["JoinNetwork"]["Resource"]
    assert role["LendVolumeKey"]["Condition"] == {"Bool": {"kms:GrantIsForAWSResource": "true"}}
    condition = {"ForAnyValue:StringEquals": {"kms:ResourceAliases": "alias/vectors"}}
    assert role["UseOutputKey"]["Condition"] == condition
    launcher = statements(make_policies(spec_with(*EVERYTHING)).launcher)
    assert launcher["LendVolumeKey"]["Action"] == ["kms:CreateGrant"]


def test_the_role_is_handed_to_sagemaker_alone_and_assumed_for_our_account_alone() -> None:
    policies = make_policies(spec_with())
    handed = statements(policies.launcher)["HandOverTheRole"]
    assert handed["Resource"] == ["arn:aws:iam::123456789012:role/embed-job"]
    assert handed["Condition"]["StringEquals"]["iam:PassedToService"] == "sagemaker.amazonaws.com"
    [trust] = policies.execution_role_trust["Statement"]
    assert trust["Condition"]["StringEquals"] == {"aws:SourceAccount": "123456789012"}


@pytest.mark.parametrize(
    ("uri", "objects", "prefixes"),
    [
        ("s3://corpus/kb/", ["corpus/kb/*"], ["kb", "kb/*"]),
        ("s3://corpus/kb", ["corpus/kb", "corpus/kb/*"], ["kb", "kb/*"]),
        ("s3://corpus/kb/*.jsonl", ["corpus/kb/*"], ["kb", "kb/*"]),
        ("s3://corpus", ["corpus/*"], None),
    ],
)
def test_the_input_is_as_wide_as_its_uri(
    uri: str, objects: list[str], prefixes: list[str] | None
) -> None:
    policy = statements(make_policies(spec_with(f"input.uri={uri}")).launcher)
    assert policy["SampleInput"]["Resource"] == [f"arn:aws:s3:::{name}" for name in objects]
    listing = policy["ListInput"].get("Condition", {}).get("StringLike", {}).get("s3:prefix")
    assert listing == prefixes


def test_what_the_spec_does_not_say_is_a_placeholder() -> None:
    text = (
        "name: kb\ninput: {uri: s3://c/kb/}\noutputs: [{parquet: {uri: s3://v/kb/}}]\ncompute: {}\n"
    )
    bare = parse_spec(text, name="spec")
    jobs = statements(make_policies(bare).launcher)["RunJobs"]["Resource"]
    assert jobs == ["arn:aws:sagemaker:REGION:ACCOUNT_ID:processing-job/kb-*"]
    known = make_policies(bare, region="eu-west-1", account="123456789012")
    jobs = statements(known.launcher)["RunJobs"]["Resource"]
    assert jobs == ["arn:aws:sagemaker:eu-west-1:123456789012:processing-job/kb-*"]


def test_the_log_group_is_made_under_either_form_of_its_name() -> None:
    group = "arn:aws:logs:eu-west-1:123456789012:log-group:/aws/sagemaker/ProcessingJobs"
    made = statements(make_policies(spec_with()).execution_role)["MakeLogGroup"]
    assert made["Resource"] == [group, f"{group}:*"]


def test_prices_are_asked_for_unless_the_spec_prices_its_only_choice() -> None:
    priced = "compute.price_per_hour_usd=1"
    several = "compute.instance_preferences=[{instance_type: ml.c7i.large, instance_count: 1}]"
    assert "AskPrices" in statements(make_policies(spec_with()).launcher)
    assert "AskPrices" not in statements(make_policies(spec_with(priced)).launcher)
    assert "AskPrices" in statements(make_policies(spec_with(priced, several)).launcher)


@pytest.mark.parametrize(
    ("region", "partition"),
    [
        ("eu-west-1", "aws"),
        ("cn-north-1", "aws-cn"),
        ("us-gov-west-1", "aws-us-gov"),
        ("eusc-de-east-1", "aws-eusc"),
        ("us-isob-east-1", "aws-iso-b"),
    ],
)
def test_without_a_role_the_region_tells_the_partition(region: str, partition: str) -> None:
    spec = spec_with("compute.role_arn=null", f"compute.region={region}")
    jobs = statements(make_policies(spec).launcher)["RunJobs"]["Resource"]
    assert jobs == [f"arn:{partition}:sagemaker:{region}:ACCOUNT_ID:processing-job/kb-*"]


@pytest.mark.parametrize("version", ["", ":latest", f"@sha256:{'0' * 64}", f":1@sha256:{'0' * 64}"])
@pytest.mark.parametrize("host", ["dkr.ecr", "dkr.ecr-fips"])
def test_an_image_s_repository_is_found_in_every_form(host: str, version: str) -> None:
    uri = f"210987654321.{host}.us-east-1.amazonaws.com/team/kb{version}"
    role = statements(make_policies(spec_with(f"compute.image_uri='{uri}'")).execution_role)
    assert role["PullImage"]["Resource"] == [
        "arn:aws:ecr:us-east-1:210987654321:repository/team/kb"
    ]


def test_jobs_are_named_in_lower_case_for_iam_compares_by_case() -> None:
    jobs = statements(make_policies(spec_with("name=KB-Articles")).launcher)["RunJobs"]["Resource"]
    assert jobs == ["arn:aws:sagemaker:eu-west-1:123456789012:processing-job/kb-articles-*"]


def test_local_files_are_no_job_for_sagemaker() -> None:
    with pytest.raises(SpecError, match="not in S3"):
        make_policies(spec_with("input.uri=documents/"))


def refusal(code: str, message: str, operation: str, status: int = 400) -> ClientError:
    answer: Any = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(answer, operation)


@pytest.mark.parametrize(
    ("operation", "action"),
    [
        ("CreateProcessingJob", "sagemaker:CreateProcessingJob"),
        ("ListProcessingJobs", "sagemaker:ListProcessingJobs"),
        ("ListObjectsV2", "s3:ListBucket"),
        ("HeadObject", "s3:GetObject"),
        ("PutObject", "s3:PutObject"),
        ("DeleteObject", "s3:DeleteObject"),
        ("GetLogEvents", "logs:GetLogEvents"),
        ("DescribeImages", "ecr:DescribeImages"),
    ],
)
def test_each_refused_call_names_its_action_and_statement(operation: str, action: str) -> None:
    error = refusal("AccessDenied", "Access Denied", operation, 403)
    assert is_denied(error)
    told = explain(error, spec_with())
    assert told.where == action
    granted = json.loads(told.hint[told.hint.index("\n") :])
    first = granted[0] if isinstance(granted, list) else granted
    assert action in first["Action"]


def test_without_a_spec_the_action_alone_is_named() -> None:
    told = explain(refusal("AccessDeniedException", "no", "StopProcessingJob"), None)
    assert told.where == "sagemaker:StopProcessingJob"
    assert "embed-job iam" in told.hint


KEY_REFUSED = refusal(
    "AccessDenied",
    "User: x is not authorized to perform: kms:GenerateDataKey on resource: key/1",
    "PutObject",
    403,
)


def test_a_refused_key_is_said_to_be_granted_by_its_own_policy() -> None:
    told = explain(KEY_REFUSED, spec_with())
    assert told.where == "kms:GenerateDataKey"
    assert "bucket's own key must grant kms:GenerateDataKey to this identity" in told.hint
    assert "prints" not in told.hint


def test_the_statement_of_a_key_that_the_spec_names_is_told_as_well() -> None:
    told = explain(KEY_REFUSED, spec_with("compute.output_kms_key=alias/vectors"))
    assert "bucket's own key" in told.hint
    granted = json.loads(told.hint[told.hint.index("\n") :])
    assert "kms:GenerateDataKey" in granted["Action"]


def test_what_passes_is_told_from_what_does_not() -> None:
    assert is_passing(refusal("ThrottlingException", "Rate exceeded", "DescribeProcessingJob"))
    assert is_passing(refusal("InternalFailure", "", "DescribeProcessingJob", 500))
    assert is_passing(EndpointConnectionError(endpoint_url="https://x"))
    assert not is_passing(refusal("ValidationException", "", "DescribeProcessingJob"))
    assert not is_passing(NoCredentialsError())


def test_a_wrong_region_is_named() -> None:
    error = EndpointConnectionError(endpoint_url="https://api.sagemaker.eu-west-9.amazonaws.com")
    assert "eu-west-9" in explain(error, None, region="eu-west-9").hint
