"""What `embed-job iam` prints for an OpenSearch output."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from embed_job.spec import JobSpec
from embed_job.spec.file import load_spec
from launcher.iam import make_policies
from launcher.iam.index import unknown_names

ROOT = Path(__file__).resolve().parents[2]
DOMAIN = "https://search-vectors-abcdefghijklmnopqrstuvwxyz.eu-west-1.es.amazonaws.com"
COLLECTION = "https://abcdefghijklmnopqrst.eu-central-1.aoss.amazonaws.com"
SECRET_ARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:vectors"  # noqa: S105 - its name
OURS = ("es:", "aoss:", "secretsmanager:")


def spec_of(url: str = DOMAIN, **options: Any) -> JobSpec:
    return JobSpec.model_validate(
        {
            "name": "kb",
            "input": {"uri": "s3://corpus/kb/"},
            "outputs": [
                {"parquet": {"uri": "s3://vectors/kb/"}},
                {"opensearch": {"url": url, "alias": "kb"} | options},
            ],
            "compute": {"region": "eu-west-1", "role_arn": "arn:aws:iam::123456789012:role/r"},
        }
    )


def of_index(spec: JobSpec) -> dict[str, dict[str, Any]]:
    """What the role is granted because of the index, by Sid."""
    statements = make_policies(spec).execution_role["Statement"]
    return {item["Sid"]: item for item in statements if item["Action"][0].startswith(OURS)}


def test_the_policies_in_docs_are_those_of_the_example() -> None:
    """Made anew by: embed-job iam jobs/opensearch.yaml --out docs/iam/opensearch"""
    folder = ROOT / "docs" / "iam" / "opensearch"
    found = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
    assert found == make_policies(load_spec(ROOT / "jobs" / "opensearch.yaml")).documents()


def test_a_domain_is_named_by_its_url_and_narrowed_to_the_index() -> None:
    domain = "arn:aws:es:eu-west-1:123456789012:domain/vectors"
    dual_stack = DOMAIN.replace(".eu-west-1.es.amazonaws.com", ".aos.eu-west-1.on.aws")
    for url in (DOMAIN, DOMAIN.replace("search-", "vpc-"), dual_stack):
        use = of_index(spec_of(url))["UseIndex"]
        assert use["Resource"] == [f"{domain}/kb", f"{domain}/kb/*", f"{domain}/kb-*"]
    both = of_index(spec_of(index="kb-2026"))["UseIndex"]["Resource"]
    assert f"{domain}/kb-2026/*" in both
    assert f"{domain}/kb/*" in both
    assert unknown_names(spec_of()) == {}


def test_a_domain_of_an_address_of_its_own_is_left_to_be_named() -> None:
    spec = spec_of("https://search.example.com", auth="sigv4", region="us-east-1")
    [first, *_] = of_index(spec)["UseIndex"]["Resource"]
    assert first == "arn:aws:es:us-east-1:123456789012:domain/DOMAIN_NAME/kb"
    assert "https://search.example.com" in unknown_names(spec)["DOMAIN_NAME"]


def test_nothing_is_granted_on_a_whole_domain() -> None:
    for spec in (spec_of(), spec_of(index="kb-2026")):
        policies = make_policies(spec)
        assert policies.index is not None
        for policy in (policies.execution_role, policies.index):
            for item in policy["Statement"]:
                assert "*" not in "".join(item["Action"])
                assert not any(
                    resource.endswith("domain/vectors/*") for resource in item["Resource"]
                )
            sids = [item["Sid"] for item in policy["Statement"]]
            assert len(sids) == len(set(sids))
            assert len(json.dumps(policy, separators=(",", ":"))) <= 6144


def test_a_collection_is_reached_by_iam_and_opened_by_its_own_policy() -> None:
    spec = spec_of(COLLECTION)
    [reach] = of_index(spec).values()
    assert reach["Action"] == ["aoss:APIAccessAll"]
    collection = "arn:aws:aoss:eu-central-1:123456789012:collection/abcdefghijklmnopqrst"
    assert reach["Resource"] == [collection]
    [access] = make_policies(spec).documents()["index-data-access"]
    assert access["Principal"] == ["arn:aws:iam::123456789012:role/r"]
    rules = {rule["ResourceType"]: rule for rule in access["Rules"]}
    assert rules["index"]["Resource"] == ["index/COLLECTION_NAME/kb", "index/COLLECTION_NAME/kb-*"]
    assert "aoss:WriteDocument" in rules["index"]["Permission"]
    assert "aoss:DeleteIndex" in rules["index"]["Permission"], "of older indexes, by a promotion"
    assert set(unknown_names(spec)) == {"COLLECTION_NAME"}


def test_a_collection_is_known_by_either_address_but_not_by_its_account_s() -> None:
    for host, collection in (
        ("abcdefghijklmnopqrst.aoss.eu-central-1.on.aws", "abcdefghijklmnopqrst"),
        ("123456789012.aoss.eu-central-1.on.aws", "COLLECTION_ID"),
        ("search.example.com", "COLLECTION_ID"),
    ):
        spec = spec_of(f"https://{host}", service="aoss", auth="sigv4", region="eu-central-1")
        [reach] = of_index(spec).values()
        assert reach["Resource"][0].endswith(f":collection/{collection}")


def test_a_canary_reads_its_queries_and_what_earlier_outputs_kept() -> None:
    spec = spec_of(gates={"canary": {"queries": "s3://corpus/queries.jsonl"}})
    policies = make_policies(spec)
    assert policies.index is not None
    for policy in (policies.execution_role, policies.index):
        [read] = [item for item in policy["Statement"] if item["Sid"] == "ReadQueries"]
        assert read["Action"] == ["s3:GetObject"]
        assert read["Resource"] == [
            "arn:aws:s3:::corpus/queries.jsonl",
            "arn:aws:s3:::vectors/*/_embed_job/canary/*",
        ]
    [keep] = [item for item in policies.index["Statement"] if item["Sid"] == "KeepLedger"]
    assert "arn:aws:s3:::vectors/kb/_embed_job/canary/*" in keep["Resource"]


@pytest.mark.parametrize(
    ("arn", "resource"),
    [
        # The six characters at its end are Secrets Manager's; an ARN may be given without them.
        (SECRET_ARN, f"{SECRET_ARN}-??????"),
        (f"{SECRET_ARN}-AbCdEf", f"{SECRET_ARN}-AbCdEf"),
    ],
)
def test_a_password_is_read_from_its_secret_alone(arn: str, resource: str) -> None:
    [read] = of_index(spec_of(secret_arn=arn)).values()
    assert read["Action"] == ["secretsmanager:GetSecretValue"]
    assert read["Resource"] == [resource]


def test_an_open_server_needs_nothing_and_a_job_without_an_index_has_no_policy_for_it() -> None:
    spec = spec_of("https://search.example.com")
    assert of_index(spec) == {}
    assert make_policies(spec).index is not None  # for the output in S3
    plain = spec.model_copy(update={"outputs": spec.outputs[:1]})
    assert "index" not in make_policies(plain).documents()
    assert "index-data-access" not in make_policies(plain).documents()


def test_the_ledger_alone_is_written_by_whoever_loads_from_elsewhere() -> None:
    policy = make_policies(spec_of()).index
    assert policy is not None
    written = [item for item in policy["Statement"] if "s3:PutObject" in item["Action"]]
    assert [item["Resource"] for item in written] == [
        ["arn:aws:s3:::vectors/kb/_embed_job/loads/*"]
    ]
