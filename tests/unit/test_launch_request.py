"""The request is one that the service model takes, and follows the spec in every field."""

import random
import re
import sys
import unicodedata
from datetime import UTC, datetime
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator
from hypothesis import event, given, settings
from hypothesis import strategies as st

from embed_job.errors import SpecError
from embed_job.spec import JobSpec
from launcher.job.names import is_job_of, name_stem, names_of, new_names
from launcher.job.request import build_request, channels_of
from launcher.rules.validate import Known, errors_of, find_problems

ROLE = "arn:aws:iam::123456789012:role/embed-job"
IMAGE = f"123456789012.dkr.ecr.eu-west-1.amazonaws.com/embed-job@sha256:{'0' * 64}"
KNOWN = Known(region="eu-west-1", account="123456789012")
NOW = datetime(2026, 11, 21, 5, 4, 3, tzinfo=UTC)
SEPARATORS = "".join(
    char for char in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(char)[0] == "Z"
)
JOB_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")


def make_spec(**compute: Any) -> JobSpec:
    return JobSpec.model_validate(
        {
            "name": "kb",
            "input": {"uri": "s3://bucket/kb"},
            "outputs": [{"parquet": {"uri": "s3://bucket/vectors/kb"}}],
            "compute": {"image_uri": IMAGE, "role_arn": ROLE, "region": "eu-west-1"} | compute,
        }
    )


def request_of(spec: JobSpec, *, single: bool = False, committed: bool = False) -> dict[str, Any]:
    names = names_of("kb-20261121-050403-abcd", spec.parquet.uri, region="eu-west-1")
    channels = channels_of(spec, single_object=single, committed=committed)
    return build_request(spec, names, channels=channels)


@pytest.fixture(scope="module")
def shape() -> Any:
    model = botocore.session.get_session().get_service_model("sagemaker")
    return model.operation_model("CreateProcessingJob").input_shape


def inputs_of(request: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {entry["InputName"]: entry["S3Input"] for entry in request["ProcessingInputs"]}


def test_the_whole_request_of_a_plain_spec() -> None:
    prefix = "s3://bucket/vectors/kb/_embed_job/jobs/kb-20261121-050403-abcd/"
    request = request_of(make_spec(instance_count=3, environment={"A": "1"}, tags={"team": "kb"}))
    assert request["ProcessingJobName"] == "kb-20261121-050403-abcd"
    assert request["ProcessingResources"]["ClusterConfig"] == {
        "InstanceType": "ml.c7i.4xlarge",
        "InstanceCount": 3,
        "VolumeSizeInGB": 100,
    }
    assert request["AppSpecification"] == {
        "ImageUri": IMAGE,
        "ContainerEntrypoint": ["python3", "/opt/ml/processing/input/code/embed_shard.py"],
    }
    assert request["RoleArn"] == ROLE
    assert request["StoppingCondition"] == {"MaxRuntimeInSeconds": 86400}
    assert request["Environment"] == {
        "A": "1",
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "HF_HUB_OFFLINE": "1",
    }
    assert request["NetworkConfig"] == {
        "EnableNetworkIsolation": False,
        "EnableInterContainerTrafficEncryption": False,
    }
    assert {tag["Key"]: tag["Value"] for tag in request["Tags"]} == {
        "team": "kb",
        "embed-job:name": "kb",
    }
    assert "ProcessingOutputConfig" not in request
    inputs = inputs_of(request)
    assert {name: entry["S3Uri"] for name, entry in inputs.items()} == {
        "job": f"{prefix}input/",
        "documents": "s3://bucket/kb/",
        "code": f"{prefix}code/embed_shard.py",
    }
    assert {name: entry["S3DataDistributionType"] for name, entry in inputs.items()} == {
        "job": "FullyReplicated",
        "documents": "ShardedByS3Key",
        "code": "FullyReplicated",
    }
    for name, entry in inputs.items():
        assert entry["LocalPath"] == f"/opt/ml/processing/input/{name}"
        assert entry["S3DataType"] == "S3Prefix"
        assert entry["S3InputMode"] == "File"


def test_balanced_hosts_read_the_input_themselves() -> None:
    assert set(inputs_of(request_of(make_spec(sharing="balanced")))) == {"job", "code"}


def test_an_uploaded_output_has_its_channels_and_key() -> None:
    spec = make_spec(delivery="processing_output", upload_mode="Continuous", output_kms_key="k-1")
    request = request_of(spec, committed=True)
    assert request["ProcessingOutputConfig"]["KmsKeyId"] == "k-1"
    (output,) = request["ProcessingOutputConfig"]["Outputs"]
    assert output["S3Output"] == {
        "S3Uri": "s3://bucket/vectors/kb/",
        "LocalPath": "/opt/ml/processing/output/vectors",
        "S3UploadMode": "Continuous",
    }
    committed = inputs_of(request)["committed"]
    assert committed["S3Uri"] == "s3://bucket/vectors/kb/_embed_job/manifests/"
    assert "committed" not in inputs_of(request_of(spec, committed=False))


def test_preferences_take_the_place_of_one_type() -> None:
    wanted = [
        {"instance_type": "ml.c7i.4xlarge", "instance_count": 4},
        {"instance_type": "ml.c6i.8xlarge", "instance_count": 2},
    ]
    cluster = request_of(make_spec(instance_preferences=wanted))["ProcessingResources"]
    assert cluster["ClusterConfig"] == {
        "InstancePreferences": [
            {"InstanceType": "ml.c7i.4xlarge", "InstanceCount": 4},
            {"InstanceType": "ml.c6i.8xlarge", "InstanceCount": 2},
        ],
        "VolumeSizeInGB": 100,
    }


def test_a_vpc_isolation_and_keys_are_asked_for() -> None:
    network = {
        "isolation": True,
        "subnets": ["subnet-1"],
        "security_group_ids": ["sg-1"],
        "encrypt_inter_container_traffic": True,
    }
    request = request_of(make_spec(network=network, volume_kms_key="alias/mine"))
    assert request["NetworkConfig"] == {
        "EnableNetworkIsolation": True,
        "EnableInterContainerTrafficEncryption": True,
        "VpcConfig": {"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1"]},
    }
    assert request["ProcessingResources"]["ClusterConfig"]["VolumeKmsKeyId"] == "alias/mine"


def test_one_object_is_asked_for_without_a_slash() -> None:
    spec = make_spec()
    one = spec.model_copy(
        update={"input": spec.input.model_copy(update={"uri": "s3://bucket/kb/a.jsonl"})}
    )
    assert inputs_of(request_of(one, single=True))["documents"]["S3Uri"] == "s3://bucket/kb/a.jsonl"


@pytest.mark.parametrize("missing", ["image_uri", "role_arn"])
def test_without_image_or_role_there_is_no_request(missing: str) -> None:
    with pytest.raises(SpecError, match=missing):
        request_of(make_spec(**{missing: None}))


def test_a_spec_without_machines_is_refused() -> None:
    with pytest.raises(SpecError, match="compute"):
        request_of(make_spec().model_copy(update={"compute": None}))


names = st.from_regex(r"\A[a-zA-Z0-9](-{0,2}[a-zA-Z0-9]){0,50}\Z").filter(lambda x: len(x) <= 63)
types = st.sampled_from(["ml.c7i.4xlarge", "ml.g5.xlarge", "ml.r5d.large", "ml.t3.medium"])
ids = st.text("subnet-0a", min_size=1, max_size=32)
path = st.text("abcz09-_./", max_size=600)


def network(name: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, Any]]:
    lists = {
        "subnets": st.lists(name, min_size=1, max_size=16),
        "security_group_ids": st.lists(name, min_size=1, max_size=5),
    }
    return st.one_of(st.just({}), st.fixed_dictionaries(lists))


preference = st.fixed_dictionaries({"instance_type": types, "instance_count": st.integers(1, 100)})
MILD = {
    "instance_count": st.integers(1, 100),
    "sharing": st.sampled_from(["sharded_by_s3_key", "balanced"]),
    "delivery": st.sampled_from(["direct", "processing_output"]),
    "max_runtime_s": st.integers(1, 777600),
    "output_kms_key": st.text("abc:/_-", max_size=20),
    "environment": st.dictionaries(
        st.text("ABCZ_", min_size=1, max_size=40), st.text(max_size=256), max_size=6
    ),
    "tags": st.dictionaries(
        st.text("bcXYZ019_ -.:/=@+é", min_size=1, max_size=128),
        st.text("aé 1:", max_size=256),
        max_size=45,
    ),
    "network": network(ids),
    "volume_gb": st.integers(1, 75),
}
WILD: dict[str, st.SearchStrategy[Any]] = {
    "role_arn": st.sampled_from(["arn:aws:iam::1:role/x", "role", ""]),
    "image_uri": st.text(max_size=255),
    "instance_type": types,
    "volume_gb": st.integers(1, 16384),
    "volume_kms_key": st.text("abc:/_-!", max_size=20),
    "output_kms_key": st.text("abc:/_-!", max_size=20),
    "network": st.one_of(network(st.text("subnet-0a!", max_size=40)), st.just({"isolation": True})),
    "environment": st.dictionaries(
        st.text("ABCZ_019- ", max_size=300), st.text(max_size=300), max_size=6
    ),
    "tags": st.dictionaries(st.text(max_size=140), st.text(max_size=300), max_size=6),
    "instance_preferences": st.lists(preference, max_size=5),
}


@st.composite
def specs(draw: Any) -> dict[str, Any]:
    """Specs with at most one key that may be anything; the others are mostly in order."""
    compute = draw(st.fixed_dictionaries({}, optional=MILD))
    compute |= {"image_uri": IMAGE, "role_arn": ROLE}
    source, target = f"s3://bucket/in/{draw(path)}", f"s3://bucket/out/{draw(path)}"
    wild = draw(st.sampled_from(["", "input", "output", *WILD]))
    anywhere = st.text("abcz09-_./*", max_size=1100).map(lambda name: f"s3://bucket/{name}")
    if wild == "input":
        source = draw(anywhere)
    elif wild == "output":
        target = draw(anywhere)
    elif wild:
        compute[wild] = draw(WILD[wild])
    if compute.get("instance_preferences"):
        compute.pop("instance_type", None)
        compute.pop("instance_count", None)
    return {
        "name": draw(names),
        "input": {"uri": source},
        "outputs": [{"parquet": {"uri": target}}],
        "compute": compute,
    }


@settings(max_examples=300, deadline=None)
@given(data=specs(), drawn=st.randoms())
def test_a_spec_without_problems_makes_a_request_that_the_service_takes(
    shape: Any, data: dict[str, Any], drawn: random.Random
) -> None:
    spec = JobSpec.model_validate(data)
    problems = errors_of(find_problems(spec, KNOWN))
    event("refused" if problems else "taken")
    if problems:
        return
    job = new_names(spec.name, spec.parquet.uri, region="eu-west-1", now=NOW, rng=drawn)
    channels = channels_of(spec, single_object=False, committed=True)
    request = build_request(spec, job, channels=channels)
    report = ParamValidator().validate(request, shape)
    assert not report.has_errors(), report.generate_report()
    broken = list(limits_broken(request, shape, "request"))
    assert broken == []


def limits_broken(value: Any, shape: Any, at: str) -> Any:
    """What botocore leaves to the service: greatest lengths and numbers, patterns, enumerations."""
    limits = shape.metadata
    if shape.type_name == "structure":
        for key, inner in value.items():
            yield from limits_broken(inner, shape.members[key], f"{at}.{key}")
        return
    if shape.type_name == "list":
        for inner in value:
            yield from limits_broken(inner, shape.member, f"{at}[]")
    if shape.type_name == "map":
        for key, inner in value.items():
            yield from limits_broken(key, shape.key, f"{at} key")
            yield from limits_broken(inner, shape.value, f"{at}.{key}")
    size = value if isinstance(value, int) else len(value)
    if "max" in limits and size > limits["max"]:
        yield f"{at}: {size} > {limits['max']}"
    if "enum" in limits and value not in limits["enum"]:
        yield f"{at}: {value} is none of the enumeration"
    if "pattern" in limits and not re.fullmatch(_python(limits["pattern"]), value, re.DOTALL):
        yield f"{at}: {value!r} does not match {limits['pattern']}"


def _python(pattern: str) -> str:
    """Letters, numbers and separators of Unicode; to Python's ``\\s``, tabs are separators too."""
    return pattern.replace(r"\p{L}\p{Z}\p{N}", rf"\w{SEPARATORS}")


@given(name=names, seed=st.integers())
def test_names_of_jobs_are_valid_recognised_and_stable(name: str, seed: int) -> None:
    made = new_names(name, "s3://b/o/", region="r", now=NOW, rng=random.Random(seed))
    assert JOB_NAME.fullmatch(made.job)
    assert made.job.startswith(f"{name_stem(name)}-20261121-050403-")
    assert is_job_of(name, made.job)
    assert not is_job_of(f"{name}-2"[:63], made.job) or f"{name}-2"[:63] == name
    assert made.prefix == f"s3://b/o/_embed_job/jobs/{made.job}/"


@pytest.mark.parametrize("name", ["KB", "Kb-Articles", f"A{'b' * 50}Z"])
def test_names_of_jobs_are_lower_and_found_whatever_the_case(name: str) -> None:
    made = new_names(name, "s3://b/o/", region="r", now=NOW, rng=random.Random(1))
    assert made.job == made.job.lower()
    assert is_job_of(name, made.job)
    assert is_job_of(name, made.job.upper())
    assert not is_job_of(f"{name[:40]}-2", made.job)


def test_long_names_that_begin_alike_stay_apart() -> None:
    left, right = "a" * 50 + "x", "a" * 50 + "y"
    assert name_stem(left) != name_stem(right)
    assert len(name_stem(left)) <= 26
