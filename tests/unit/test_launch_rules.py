"""Every rule, by an example that breaks it and nothing else."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from embed_job.spec import JobSpec
from launcher.planning.listing import ListingFacts
from launcher.planning.sharing import Shares
from launcher.rules.problems import Known, Outlook, Problem
from launcher.rules.validate import find_problems

ACCOUNT = "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/embed-job"
ECR = "dkr.ecr.eu-west-1.amazonaws.com/embed-job"
DIGEST = f"@sha256:{'0' * 64}"
COMPUTE = {"image_uri": f"{ACCOUNT}.{ECR}{DIGEST}", "role_arn": ROLE}
KNOWN = Known(region="eu-west-1", account=ACCOUNT)
GB = 10**9


def make_spec(
    *,
    source: str = "s3://data/in/",
    target: str = "s3://data/out/",
    name: str = "kb",
    **compute: Any,
) -> JobSpec:
    return JobSpec.model_validate(
        {
            "name": name,
            "input": {"uri": source},
            "outputs": [{"parquet": {"uri": target}}],
            "compute": COMPUTE | compute,
        }
    )


def listing(objects: int = 10, *, size: int = GB, single: bool = False) -> ListingFacts:
    return ListingFacts(
        uri="s3://data/in/",
        single=single,
        sizes=np.full(objects, size, np.int64),
        codes=np.ones(objects, np.uint8),
        kinds=(),
        files=objects,
        bytes=objects * size,
        empty=0,
        largest=(),
        drawn=(),
        ignored=0,
        ignored_names=(),
        hidden=0,
    )


def shares(hosts: int = 1, **others: Any) -> dict[int, Shares]:
    plain = Shares(
        way="sharded_by_s3_key",
        hosts=hosts,
        makespan=1.0,
        lowest=1.0,
        highest=1.0,
        busiest_bytes=10 * GB,
        copied_bytes=10 * GB,
        splits=(1, 2),
        idle=0,
        held_up=False,
    )
    return {hosts: replace(plain, **others)}


def look(**figures: Any) -> tuple[Outlook, ...]:
    plain = {"hours": None, "cost_usd": None, "output_bytes": None}
    return (Outlook("ml.c7i.4xlarge", **(plain | figures)),)


DOMAIN = "https://search-vectors-abcdefghijklmnopqrstuvwxyz.eu-west-1.es.amazonaws.com"
VPC_DOMAIN = DOMAIN.replace("search-", "vpc-")
COLLECTION = "https://abcdefghijklmnopqrst.eu-west-1.aoss.amazonaws.com"


def indexed(url: str = DOMAIN, *, compute: dict[str, Any] | None = None, **options: Any) -> JobSpec:
    """A job with an OpenSearch output too, before its Parquet."""
    plain = make_spec(**(compute or {})).model_dump(exclude_unset=True)
    output = {"opensearch": {"url": url, "alias": "kb", **options}}
    return JobSpec.model_validate(plain | {"outputs": [output, *plain["outputs"]]})


STORED_ARN = "arn:aws:secretsmanager:eu-west-1:{}:secret:kb-AbCdEf"
ISOLATED = {"network": {"isolation": True}, "delivery": "processing_output"}
IN_VPC = {"network": {"subnets": ["subnet-1"], "security_group_ids": ["sg-1"]}}
NVME = {"instance_type": "ml.r5d.large", "volume_gb": 50}
PREFERRED = [{"instance_type": "ml.c7i.4xlarge", "instance_count": 1}]
FAR = replace(KNOWN, bucket_regions={"data": "us-east-1", "near": "eu-west-1"})
BROKEN: dict[str, tuple[JobSpec, Known, str, str]] = {
    "a name that is no path": (
        make_spec(),
        replace(KNOWN, listing=replace(listing(), unfit=("2024//a.jsonl",)), shares=shares()),
        "input.uri",
        "2024//a.jsonl",
    ),
    "input in another region": (
        make_spec(target="s3://near/out/"),
        FAR,
        "input.uri",
        "SageMaker can't copy it",
    ),
    "output in another region": (
        make_spec(source="s3://near/in/"),
        FAR,
        "outputs.0.parquet.uri",
        "lies in us-east-1, and the job runs in eu-west-1",
    ),
    "output in another region, uploaded by SageMaker": (
        make_spec(source="s3://near/in/", delivery="processing_output"),
        FAR,
        "outputs.0.parquet.uri",
        "SageMaker can't reach it",
    ),
    "isolation while hosts write to S3": (
        make_spec(network={"isolation": True}),
        KNOWN,
        "compute.network.isolation",
        "delivery: direct",
    ),
    "isolation while hosts read S3": (
        make_spec(network={"isolation": True}, delivery="processing_output", sharing="balanced"),
        KNOWN,
        "compute.network.isolation",
        "sharing: balanced",
    ),
    "isolation from the index": (
        indexed(compute=ISOLATED),
        KNOWN,
        "compute.network.isolation",
        "keeps hosts from reaching outputs.0.opensearch.url",
    ),
    "an index loaded from what is not committed yet": (
        indexed(compute={"delivery": "processing_output"}),
        KNOWN,
        "compute.delivery",
        "outputs.0.opensearch is loaded from what is committed",
    ),
    "an index on this machine": (
        indexed("http://localhost:9200"),
        KNOWN,
        "outputs.0.opensearch.url",
        "which no host of SageMaker can reach",
    ),
    "queries of a canary on this machine": (
        indexed(gates={"canary": {"queries": "queries.jsonl"}}),
        KNOWN,
        "outputs.0.opensearch.gates.canary.queries",
        "read by the job's hosts",
    ),
    "an output behind another that lies inside the input": (
        JobSpec.model_validate(
            indexed().model_dump(exclude_unset=True) | {"input": {"uri": "s3://data/"}}
        ),
        KNOWN,
        "outputs.1.parquet.uri",
        "lies inside the input",
    ),
    "more instances than objects": (
        make_spec(instance_count=11),
        replace(KNOWN, listing=listing(10)),
        "compute.instance_count",
        "1 would get nothing",
    ),
    "more instances than objects, as a preference": (
        make_spec(
            instance_preferences=[
                {"instance_type": "ml.c7i.xlarge", "instance_count": 9},
                {"instance_type": "ml.c6i.xlarge", "instance_count": 12},
            ]
        ),
        replace(KNOWN, listing=listing(10)),
        "compute.instance_preferences.1.instance_count",
        "2 would get nothing",
    ),
    "a volume smaller than the fullest shard": (
        make_spec(volume_gb=14),
        replace(KNOWN, listing=listing(), shares=shares()),
        "compute.volume_gb",
        "10.0 of input",
    ),
    "a volume smaller than a shard with its output": (
        make_spec(volume_gb=20, delivery="processing_output"),
        replace(KNOWN, listing=listing(), shares=shares(), outlooks=look(output_bytes=6 * GB)),
        "compute.volume_gb",
        "6.0 of output",
    ),
    "a key for an NVMe disk": (
        make_spec(volume_kms_key="alias/x", **NVME),
        KNOWN,
        "compute.volume_kms_key",
        "NVMe",
    ),
    "more than an NVMe disk holds": (
        make_spec(**NVME | {"volume_gb": 76}),
        KNOWN,
        "compute.volume_gb",
        "75 GB",
    ),
    "one type twice": (
        make_spec(
            instance_preferences=[{"instance_type": "ml.c7i.xlarge", "instance_count": 1}] * 2
        ),
        KNOWN,
        "compute.instance_preferences",
        "twice",
    ),
    "preferences beside a type": (
        make_spec(
            instance_type="ml.c7i.xlarge",
            instance_preferences=[{"instance_type": "ml.c7i.xlarge", "instance_count": 1}],
        ),
        KNOWN,
        "compute.instance_preferences",
        "excludes",
    ),
    "the price of one type beside several": (
        make_spec(instance_preferences=PREFERRED, price_per_hour_usd=0.1),
        KNOWN,
        "compute.price_per_hour_usd",
        "instance_preferences",
    ),
    "the rate of one type beside several": (
        make_spec(instance_preferences=PREFERRED, tokens_per_s=1e6),
        KNOWN,
        "compute.tokens_per_s",
        "instance_preferences",
    ),
    "the vCPUs of one type beside several": (
        make_spec(instance_preferences=PREFERRED, vcpus=192),
        KNOWN,
        "compute.vcpus",
        "instance_preferences",
    ),
    "no role": (make_spec(role_arn=None), KNOWN, "compute.role_arn", "missing"),
    "a role's name": (make_spec(role_arn="embed-job"), KNOWN, "compute.role_arn", "no ARN"),
    "a role of another account": (
        make_spec(role_arn="arn:aws:iam::999999999999:role/x"),
        KNOWN,
        "compute.role_arn",
        "999999999999",
    ),
    "a role of another partition": (
        make_spec(role_arn=f"arn:aws-cn:iam::{ACCOUNT}:role/x"),
        KNOWN,
        "compute.role_arn",
        "partition",
    ),
    "no image": (make_spec(image_uri=None), KNOWN, "compute.image_uri", "missing"),
    "an image of a public registry": (
        make_spec(image_uri="python:3.12-slim"),
        KNOWN,
        "compute.image_uri",
        "private ECR",
    ),
    "an image in another region": (
        make_spec(),
        replace(KNOWN, region="us-east-1"),
        "compute.image_uri",
        "eu-west-1",
    ),
    "an image of another account": (
        make_spec(image_uri=f"999999999999.{ECR}{DIGEST}"),
        KNOWN,
        "compute.image_uri",
        "999999999999",
    ),
    "no region": (make_spec(), replace(KNOWN, region=None), "compute.region", "no AWS region"),
    "an output inside the input": (
        make_spec(source="s3://data/in", target="s3://data/in/vectors"),
        KNOWN,
        "outputs.0.parquet.uri",
        "inside the input",
    ),
    "an output that is the input": (
        make_spec(source="s3://data/in", target="s3://data/in/"),
        KNOWN,
        "outputs.0.parquet.uri",
        "inside the input",
    ),
    "an input inside the output": (
        make_spec(source="s3://data/out/in/"),
        KNOWN,
        "outputs.0.parquet.uri",
        "holds the input",
    ),
    "a local input": (make_spec(source="docs/"), KNOWN, "input.uri", "not in S3"),
    "a local output": (make_spec(target="out/"), KNOWN, "outputs.0.parquet.uri", "not in S3"),
    "no bucket": (make_spec(source="s3://B/x"), KNOWN, "input.uri", "no bucket"),
    "a pattern": (make_spec(source="s3://data/in/*.jsonl"), KNOWN, "input.uri", "pattern"),
    "one object that begins another's name": (
        make_spec(source="s3://data/in/a.jsonl"),
        replace(KNOWN, listing=listing(1, single=True), siblings=("s3://data/in/a.jsonl.bak",)),
        "input.uri",
        "a.jsonl.bak",
    ),
    "nothing to embed": (
        make_spec(),
        replace(KNOWN, listing=listing(3, size=0)),
        "input.uri",
        "none of its 3 objects",
    ),
    "a cost above the limit": (
        make_spec(max_cost_usd=5),
        replace(KNOWN, outlooks=look(hours=2.0, cost_usd=5.5)),
        "compute.max_cost_usd",
        "5.50 USD",
    ),
    "a limit of time below the estimate": (
        make_spec(max_runtime_s=3600),
        replace(KNOWN, outlooks=look(hours=1.5)),
        "compute.max_runtime_s",
        "5,400 s",
    ),
    "an address that is too long": (
        make_spec(source=f"s3://data/{'x' * 1020}"),
        KNOWN,
        "input.uri",
        "1024",
    ),
    "an output without room for the job's files": (
        make_spec(target=f"s3://data/{'x' * 930}"),
        KNOWN,
        "outputs.0.parquet.uri",
        "1024",
    ),
    "a long variable": (
        make_spec(environment={"A": "x" * 257}),
        KNOWN,
        "compute.environment.A",
        "257 characters",
    ),
    "no name of a variable": (
        make_spec(environment={"A-B": "1"}),
        KNOWN,
        "compute.environment.A-B",
        "no name",
    ),
    "a variable of ours": (
        make_spec(environment={"AWS_REGION": "x"}),
        KNOWN,
        "compute.environment.AWS_REGION",
        "set by the launcher",
    ),
    "a long tag": (make_spec(tags={"a": "x" * 257}), KNOWN, "compute.tags.a", "too long"),
    "characters of a tag": (make_spec(tags={"a": "x?"}), KNOWN, "compute.tags.a", "characters"),
    "a tab in a tag": (make_spec(tags={"a": "x\ty"}), KNOWN, "compute.tags.a", "characters"),
    "a line end in a tag's key": (
        make_spec(tags={"a\n": "x"}),
        KNOWN,
        "compute.tags.a\n",
        "characters",
    ),
    "a tag of AWS": (make_spec(tags={"aws:x": "1"}), KNOWN, "compute.tags.aws:x", "AWS's own"),
    "a tag of ours": (
        make_spec(tags={"embed-job:name": "1"}),
        KNOWN,
        "compute.tags.embed-job:name",
        "launcher",
    ),
    "characters of a key": (
        make_spec(delivery="processing_output", output_kms_key="a b"),
        KNOWN,
        "compute.output_kms_key",
        "characters",
    ),
    "no id of a subnet": (
        make_spec(network={"subnets": ["a b"], "security_group_ids": ["sg-1"]}),
        KNOWN,
        "compute.network.subnets",
        "no id",
    ),
}
DOUBTFUL: dict[str, tuple[JobSpec, Known, str, str]] = {
    "hosts without anything to embed": (
        make_spec(instance_count=4),
        replace(KNOWN, listing=listing(), shares=shares(4, idle=2, copied_bytes=0)),
        "compute.instance_count",
        "2 of 4",
    ),
    "a storm of small files": (
        make_spec(),
        replace(
            KNOWN,
            listing=listing(100_000, size=100_000),
            shares=shares(splits=(150_000, 150_000), copied_bytes=0),
        ),
        "input.split_mib",
        "150,000 small splits",
    ),
    "input in another region that hosts read themselves": (
        make_spec(target="s3://near/out/", sharing="balanced"),
        FAR,
        "input.uri",
        "lies in us-east-1",
    ),
    "an uneven share": (
        make_spec(instance_count=4),
        replace(KNOWN, listing=listing(), shares=shares(4, makespan=2.5, copied_bytes=0)),
        "compute.sharing",
        "2.5 times",
    ),
    "a file that can't be cut": (
        make_spec(instance_count=4),
        replace(
            KNOWN,
            listing=listing(),
            shares=shares(4, makespan=2.5, copied_bytes=0, held_up=True),
        ),
        "input.uri",
        "can't be cut",
    ),
    "an unknown type": (
        make_spec(instance_type="ml.x9.large"),
        KNOWN,
        "compute.instance_type",
        "not known",
    ),
    "a size that is not offered": (
        make_spec(instance_type="ml.c7i.3xlarge"),
        KNOWN,
        "compute.instance_type",
        "no type of SageMaker Processing",
    ),
    "a folder without its slash, beside others": (
        make_spec(source="s3://data/in"),
        replace(KNOWN, siblings=("s3://data/in-old/",)),
        "input.uri",
        "s3://data/in-old/",
    ),
    "an image by its tag": (
        make_spec(image_uri=f"{ACCOUNT}.{ECR}:latest"),
        KNOWN,
        "compute.image_uri",
        "tag",
    ),
    "a key that encrypts nothing": (
        make_spec(output_kms_key="k"),
        KNOWN,
        "compute.output_kms_key",
        "encrypts nothing",
    ),
    "a limit of cost without a cost": (
        make_spec(max_cost_usd=5),
        replace(KNOWN, outlooks=look()),
        "compute.max_cost_usd",
        "not known",
    ),
    "an index in a VPC that hosts are not in": (
        indexed(VPC_DOMAIN),
        KNOWN,
        "outputs.0.opensearch.url",
        "lies in a VPC",
    ),
    "an index in another region": (
        indexed(DOMAIN.replace("eu-west-1", "us-east-1")),
        KNOWN,
        "outputs.0.opensearch.url",
        "lies in us-east-1, and the job runs in eu-west-1",
    ),
    "an index that is open to everyone": (
        indexed(auth="none"),
        KNOWN,
        "outputs.0.opensearch.auth",
        "open to everyone",
    ),
    "authorities that lie on this machine": (
        indexed(ca_bundle="/etc/ssl/ours.pem"),
        KNOWN,
        "outputs.0.opensearch.ca_bundle",
        "from their image",
    ),
    "a password of another account": (
        indexed(secret_arn=STORED_ARN.format("210987654321")),
        KNOWN,
        "outputs.0.opensearch.secret_arn",
        "belongs to account 210987654321",
    ),
    "ids that no index takes": (
        JobSpec.model_validate(
            indexed().model_dump(exclude_unset=True)
            | {"input": {"uri": "s3://data/in/", "max_id_bytes": 600}}
        ),
        KNOWN,
        "input.max_id_bytes",
        "512 bytes that an index takes",
    ),
    "a collection": (
        indexed(COLLECTION),
        KNOWN,
        "outputs.0.opensearch",
        "each row arrives at least once",
    ),
    "a name that is shortened": (make_spec(name="n" * 43), KNOWN, "name", "43 characters"),
}


def only(problems: list[Problem]) -> Problem:
    assert len(problems) == 1, problems
    return problems[0]


def test_a_sound_job_has_no_problem() -> None:
    known = replace(KNOWN, listing=listing(), shares=shares(), outlooks=look(hours=1.0))
    assert find_problems(make_spec(), known) == []


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_broken_is_an_error(case: str) -> None:
    spec, known, where, what = BROKEN[case]
    problem = only(find_problems(spec, known))
    assert problem.severity == "error"
    assert problem.where == where
    assert what in problem.what
    assert problem.hint


@pytest.mark.parametrize("case", DOUBTFUL)
def test_what_is_doubtful_is_a_warning(case: str) -> None:
    spec, known, where, what = DOUBTFUL[case]
    problem = only(find_problems(spec, known))
    assert problem.severity == "warning"
    assert problem.where == where
    assert what in problem.what
    assert problem.hint


def test_an_index_that_hosts_can_reach_is_no_problem() -> None:
    secret = STORED_ARN.format(ACCOUNT)
    for spec in (
        indexed(),
        indexed(secret_arn=secret),
        indexed(VPC_DOMAIN, compute=IN_VPC),
        indexed("https://search.example.com", secret_arn=secret),
    ):
        assert find_problems(spec, KNOWN) == []


def test_an_index_on_this_machine_is_no_problem_for_hosts_on_it() -> None:
    spec = indexed("http://127.0.0.1:9200", ca_bundle="ours.pem")
    assert find_problems(spec, replace(KNOWN, on="local")) == []


def test_a_collection_has_its_own_engine_shards_and_copies() -> None:
    spec = indexed(COLLECTION, graph={"engine": "lucene"}, shards=2, replicas=0)
    found = {problem.where: problem for problem in find_problems(spec, KNOWN)}
    assert found["outputs.0.opensearch.graph.engine"].severity == "error"
    assert found["outputs.0.opensearch.shards"].severity == "warning"
    assert found["outputs.0.opensearch.replicas"].severity == "warning"
    assert "docs/opensearch.md" in found["outputs.0.opensearch"].hint


def test_all_are_told_at_once_errors_first() -> None:
    spec = make_spec(role_arn=None, image_uri=None, environment={"A": "x" * 300}, name="n" * 43)
    problems = find_problems(spec, KNOWN)
    assert [problem.severity for problem in problems] == ["error"] * 3 + ["warning"]


def test_a_key_that_grants_the_role_its_use_is_to_be_kept() -> None:
    problem = only(find_problems(make_spec(output_kms_key="k"), KNOWN))
    assert problem.hint.startswith("Keep it: it grants the role the key")


@pytest.mark.parametrize("text", ["Größe 1", "数字", "a\u00a0b", "½ _.:/=+-@", ""])
def test_letters_digits_and_spaces_of_any_script_are_a_tag(text: str) -> None:
    assert find_problems(make_spec(tags={f"k{text}": text}), KNOWN) == []


@pytest.mark.parametrize("host", ["dkr.ecr", "dkr.ecr-fips"])
def test_an_image_may_come_by_either_endpoint(host: str) -> None:
    image = f"{ACCOUNT}.{host}.eu-west-1.amazonaws.com/embed-job{DIGEST}"
    assert find_problems(make_spec(image_uri=image), KNOWN) == []


SECRETS = {
    "DB_PASSWORD": "hunter2",
    "OPENSEARCH_PASSWD": "hunter2",
    "AWS_SECRET_ACCESS_KEY": "abcdefgh",
    "AWS_SESSION_TOKEN": "FwoGZXIvYXdz",
    "HF_TOKEN": "abc",
    "API_KEY": "abc",
    "ENDPOINT": "https://user:hunter2@search.example.com",
    "NOTE": "AKIA" + "A" * 16,
    "CERT": "-----BEGIN PRIVATE KEY-----",
}


@pytest.mark.parametrize("name", SECRETS)
def test_secrets_are_refused_and_never_repeated(name: str) -> None:
    problem = only(find_problems(make_spec(environment={name: SECRETS[name]}), KNOWN))
    assert problem.severity == "error"
    assert problem.where == f"compute.environment.{name}"
    assert "Secrets Manager" in problem.hint
    assert SECRETS[name] not in f"{problem.what} {problem.hint}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DB_PASSWORD", "arn:aws:secretsmanager:eu-west-1:123456789012:secret:kb-AbCdEf"),
        ("TOKENIZERS_PARALLELISM", "false"),
        ("MAX_TOKENS", "512"),
        ("OMP_NUM_THREADS", "4"),
    ],
)
def test_what_only_sounds_like_a_secret_passes(name: str, value: str) -> None:
    assert find_problems(make_spec(environment={name: value}), KNOWN) == []


def test_regions_of_buckets_are_no_matter_here_or_where_unknown() -> None:
    spec = make_spec(role_arn=None, image_uri=None)
    assert find_problems(spec, replace(FAR, on="local", account=None)) == []
    assert find_problems(make_spec(), replace(FAR, bucket_regions={})) == []


def test_here_neither_role_nor_image_nor_region_is_needed() -> None:
    known = Known(on="local", outlooks=look(hours=100.0, cost_usd=100.0))
    spec = make_spec(role_arn=None, image_uri=None, max_cost_usd=1)
    assert find_problems(spec, known) == []


@pytest.mark.parametrize(
    "compute",
    [
        {"instance_count": 101},
        {"instance_count": 0},
        {"volume_gb": 16385},
        {"max_runtime_s": 777601},
        {"image_uri": "x" * 256},
        {"environment": {f"A{n}": "" for n in range(91)}},
        {"tags": {f"a{n}": "" for n in range(46)}},
        {"network": {"subnets": ["s"]}},
        {"instance_type": "c7i.4xlarge"},
        {"tokens_per_s": 0},
        {
            "instance_preferences": [
                {"instance_type": f"ml.c{n}.large", "instance_count": 1} for n in range(6)
            ]
        },
    ],
)
def test_limits_that_the_spec_holds_itself(compute: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        make_spec(**compute)
