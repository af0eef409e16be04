"""Config files as SageMaker writes them, and as it does not."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from container.contract import ContractError, folders_of, read_contract
from embed_job.errors import ExitCode
from embed_job.fleet import Host

ARN = "arn:aws:sagemaker:eu-west-1:123456789012:processing-job/kb-1"
HOSTS = {"current_host": "algo-2", "hosts": ["algo-1", "algo-2", "algo-10"]}
JOB = {"ProcessingJobArn": ARN, "ProcessingJobName": "kb-1"}


def read(folder: Path, resources: Any, job: Any, environment: dict[str, str] | None = None) -> Any:
    (folder / "resourceconfig.json").write_text(json.dumps(resources))
    (folder / "processingjobconfig.json").write_text(json.dumps(job))
    return read_contract(folder, environment or {})


def test_what_the_service_writes(tmp_path: Path) -> None:
    resources = HOSTS | {"current_instance_type": "ml.c7i.4xlarge", "current_group_name": None}
    job = JOB | {"Environment": None, "ProcessingInputs": [{"InputName": "code"}], "RoleArn": None}
    found = read(tmp_path, resources, job)
    assert found.host == Host(job="kb-1", name="algo-2", rank=1, count=3)
    assert (found.region, found.instance_type) == ("eu-west-1", "ml.c7i.4xlarge")


@pytest.mark.parametrize(
    ("environment", "region"),
    [
        ({"AWS_REGION": "us-east-2", "AWS_DEFAULT_REGION": "us-west-1"}, "us-east-2"),
        ({"AWS_DEFAULT_REGION": "us-west-1"}, "us-west-1"),
        ({"AWS_REGION": "", "AWS_DEFAULT_REGION": " "}, "eu-west-1"),
    ],
)
def test_the_region(tmp_path: Path, environment: dict[str, str], region: str) -> None:
    assert read(tmp_path, HOSTS, JOB, environment).region == region


def test_no_region_at_all_is_no_error(tmp_path: Path) -> None:
    assert read(tmp_path, HOSTS, {"ProcessingJobName": "kb-1"}).region is None


def test_a_region_of_the_chinese_partition(tmp_path: Path) -> None:
    arn = "arn:aws-cn:sagemaker:cn-north-1:123456789012:processing-job/kb-1"
    found = read(tmp_path, HOSTS, {"ProcessingJobArn": arn, "ProcessingJobName": None})
    assert (found.host.job, found.region) == ("kb-1", "cn-north-1")


@pytest.mark.parametrize(
    ("resources", "host"),
    [
        ({"hosts": ["algo-1"]}, Host("kb-1", "algo-1", 0, 1)),
        ({"current_host": None, "hosts": ["algo-1"]}, Host("kb-1", "algo-1", 0, 1)),
        ({"current_host": "algo-1"}, Host("kb-1", "algo-1", 0, 1)),
        ({"current_host": "algo-1", "hosts": None}, Host("kb-1", "algo-1", 0, 1)),
        ({"current_host": "algo-1", "hosts": []}, Host("kb-1", "algo-1", 0, 1)),
    ],
)
def test_what_can_be_told_from_the_rest(
    tmp_path: Path, resources: dict[str, Any], host: Host
) -> None:
    assert read(tmp_path, resources, JOB).host == host


def test_hosts_missing_among_several_machines(tmp_path: Path) -> None:
    job = JOB | {"ProcessingResources": {"ClusterConfig": {"InstanceCount": 4}}}
    found = read(tmp_path, {"current_host": "algo-3", "hosts": None}, job)
    assert found.host == Host("kb-1", "algo-3", 2, 4)


def test_ranks_do_not_depend_on_the_order_of_the_list(tmp_path: Path) -> None:
    names = [f"algo-{number}" for number in range(1, 101)]
    ranks = [
        read(tmp_path, {"current_host": name, "hosts": hosts}, JOB).host.rank
        for hosts in (sorted(names), names[::-1])
        for name in names
    ]
    assert ranks == [*range(100), *range(100)]


@pytest.mark.parametrize(
    ("resources", "job", "named"),
    [
        ({"hosts": ["algo-1", "algo-2"]}, JOB, "current_host"),
        ({"current_host": "algo-3", "hosts": ["algo-1", "algo-2"]}, JOB, "hosts"),
        ({"current_host": "../x", "hosts": ["../x"]}, JOB, "hosts"),
        ({}, JOB, "current_host"),
        ([], JOB, "resourceconfig.json"),
        (HOSTS, {}, "ProcessingJobName"),
        (HOSTS, {"ProcessingJobName": None, "ProcessingJobArn": None}, "ProcessingJobName"),
        (HOSTS, {"ProcessingJobName": "a/b"}, "ProcessingJobName"),
        (HOSTS, {"ProcessingJobName": "x" * 64}, "ProcessingJobName"),
        (HOSTS, None, "processingjobconfig.json"),
    ],
)
def test_what_can_not(tmp_path: Path, resources: Any, job: Any, named: str) -> None:
    with pytest.raises(ContractError, match=named) as raised:
        read(tmp_path, resources, job)
    assert raised.value.exit_code is ExitCode.USAGE


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000])
def test_files_that_are_no_json(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "resourceconfig.json").write_bytes(content)
    with pytest.raises(ContractError, match="is not JSON"):
        read_contract(tmp_path, {})


def test_no_files(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"submit --on local"):
        read_contract(tmp_path, {})


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


def _mangled(whole: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """A file with keys taken away, nulled, replaced by anything, and strange ones added."""
    kept = st.fixed_dictionaries({}, optional={key: st.just(value) for key, value in whole.items()})
    bad = st.dictionaries(st.sampled_from(sorted(whole)) | st.text(max_size=5), _JSON, max_size=3)
    return st.tuples(kept, bad).map(lambda pair: pair[0] | pair[1])


@given(
    resources=_mangled(HOSTS),
    job=_mangled(JOB | {"ProcessingResources": {"ClusterConfig": {"InstanceCount": 3}}}),
)
@example(resources=HOSTS, job=JOB | {"ProcessingResources": {"ClusterConfig": None}})
def test_whatever_the_files_hold_it_is_a_host_or_one_clear_error(
    resources: dict[str, Any], job: dict[str, Any]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            host = read(Path(folder), resources, job).host
        except ContractError:
            return
    assert host.job == "kb-1" or host.job == job["ProcessingJobName"].strip()
    assert 0 <= host.rank < host.count <= 100
    assert "/" not in host.name


def test_the_root(tmp_path: Path) -> None:
    assert folders_of({}).message == Path("/opt/ml/output/message")
    assert folders_of({"EMBED_JOB_ROOT": ""}).root == Path("/")
    assert folders_of({"EMBED_JOB_ROOT": str(tmp_path)}).config == tmp_path / "opt/ml/config"
