"""Engines and precisions against machines, images and measured rates, before a job is submitted."""

from pathlib import Path
from typing import Any

import pytest

from embed_job.report.model import Report
from embed_job.spec import JobSpec
from embed_job.spec.file import load_spec
from launcher.aws.images import target_of
from launcher.planning.instances import instance
from launcher.planning.rates import Rate, find_rate
from launcher.rules.problems import Known, Problem
from launcher.rules.validate import find_problems
from tests.reports import make_report

ACCOUNT = "123456789012"
IMAGE = f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com/embed-job"
DIGEST = f"@sha256:{'0' * 64}"
KNOWN = Known(region="eu-west-1", account=ACCOUNT)


def make_spec(
    instance_type: str = "ml.c7i.4xlarge", *, tag: str = "", model: dict[str, str], **compute: Any
) -> JobSpec:
    machines = {} if "instance_preferences" in compute else {"instance_type": instance_type}
    return JobSpec.model_validate(
        {
            "name": "kb",
            "input": {"uri": "s3://data/in/"},
            "model": model,
            "outputs": [{"parquet": {"uri": "s3://data/out/"}}],
            "compute": {
                "image_uri": f"{IMAGE}{tag}{DIGEST}",
                "role_arn": f"arn:aws:iam::{ACCOUNT}:role/embed-job",
                **machines,
                **compute,
            },
        }
    )


def problem_of(spec: JobSpec) -> Problem:
    problems = find_problems(spec, KNOWN)
    assert len(problems) == 1, problems
    assert problems[0].hint
    return problems[0]


FP16 = {"precision": "fp16"}
GPU = "ml.g5.xlarge"
FINE: list[JobSpec] = [
    make_spec(model={}),
    make_spec(model={"precision": "int8"}),
    make_spec(model={"engine": "native"}, tag=":0.1.0-cpu-0123456789ab"),
    make_spec(GPU, model=FP16),
    make_spec(GPU, model=FP16, tag=":0.1.0-gpu-0123456789ab"),
    make_spec(GPU, model={"engine": "torch", "precision": "bf16"}),
    make_spec("ml.g4dn.xlarge", model=FP16),
    make_spec("ml.p5.4xlarge", model=FP16),
]


@pytest.mark.parametrize("spec", FINE, ids=lambda spec: str(spec.model.precision))
def test_an_engine_on_machines_that_it_is_for_is_no_problem(spec: JobSpec) -> None:
    assert find_problems(spec, KNOWN) == []


@pytest.mark.parametrize("name", ["example", "gpu"])
def test_the_examples_have_nothing_wrong_but_what_is_to_be_replaced(name: str) -> None:
    assert find_problems(load_spec(Path(f"jobs/{name}.yaml")), KNOWN) == []


WRONG: dict[str, tuple[JobSpec, str, str]] = {
    "torch without a GPU": (
        make_spec(model={"engine": "torch"}),
        "compute.instance_type",
        "ml.c7i.4xlarge has no GPU, which engine torch is for",
    ),
    "fp16 without a GPU": (
        make_spec(model=FP16),
        "model.precision",
        "no engine has fp16 without a GPU",
    ),
    "fp16 where the last choice has no GPU": (
        make_spec(
            model=FP16,
            instance_preferences=[
                {"instance_type": GPU, "instance_count": 1},
                {"instance_type": "ml.c7i.4xlarge", "instance_count": 4},
            ],
        ),
        "model.precision",
        "ml.c7i.4xlarge has none",
    ),
    "a GPU that is too old": (
        make_spec("ml.p3.2xlarge", model=FP16),
        "compute.instance_type",
        "older than",
    ),
    "bf16 on a GPU that has none": (
        make_spec("ml.g4dn.xlarge", model={"precision": "bf16"}),
        "model.precision",
        "does not compute in bf16",
    ),
    "a CPU image on a GPU type": (
        make_spec(GPU, model=FP16, tag=":0.1.0-cpu-0123456789ab"),
        "compute.image_uri",
        "is a CPU image by its tag",
    ),
}
DOUBTFUL: dict[str, tuple[JobSpec, str, str]] = {
    "fp32 on a GPU": (make_spec(GPU, model={}), "model.precision", "tensor cores"),
    "a CPU engine on a GPU type": (
        make_spec(GPU, model={"engine": "native"}),
        "compute.instance_type",
        "has a GPU, which engine native does not use",
    ),
    "int8 on a GPU type": (
        make_spec(GPU, model={"precision": "int8"}),
        "compute.instance_type",
        "has a GPU, which precision int8 does not use",
    ),
    "a GPU image on a CPU type": (
        make_spec(model={}, tag=":0.1.0-gpu-0123456789ab"),
        "compute.image_uri",
        "is a GPU image by its tag",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_could_not_work_or_only_cost_is_an_error(case: str) -> None:
    spec, where, what = WRONG[case]
    problem = problem_of(spec)
    assert (problem.severity, problem.where) == ("error", where)
    assert what in problem.what


@pytest.mark.parametrize("case", DOUBTFUL)
def test_what_works_but_not_well_is_a_warning(case: str) -> None:
    spec, where, what = DOUBTFUL[case]
    problem = problem_of(spec)
    assert (problem.severity, problem.where) == ("warning", where)
    assert what in problem.what


def test_of_a_type_that_is_not_known_no_engine_is_judged() -> None:
    assert "not known here" in problem_of(make_spec("ml.x9.large", model={"engine": "torch"})).what


@pytest.mark.parametrize(
    ("tags", "target"),
    [
        (["0.1.0-gpu-0123456789ab"], "gpu"),
        (["latest", "0.2.0-rc.1-cpu-0123456789ab"], "cpu"),
        (["0.1.0-gpu-0123456789ab", "0.1.0-cpu-0123456789ab"], None),
        (["cpu"], None),
        ([], None),
    ],
)
def test_only_a_tag_that_make_push_gave_tells_of_an_image(
    tags: list[str], target: str | None
) -> None:
    assert target_of(tags) == target


@pytest.mark.parametrize(
    ("name", "gpus"),
    [
        ("ml.g5.xlarge", 1),
        ("ml.g5.12xlarge", 4),
        ("ml.g5.16xlarge", 1),
        ("ml.g4dn.12xlarge", 4),
        ("ml.p2.16xlarge", 16),
        ("ml.p5.4xlarge", 1),
        ("ml.c7i.4xlarge", 0),
        ("ml.g7.2xlarge", None),
        ("ml.g5.7xlarge", None),
    ],
)
def test_gpus_of_types(name: str, gpus: int | None) -> None:
    assert instance(name).gpus == gpus


# Rates ----------------------------------------------------------------------------------------

A10G = {"engine": "torch", "device": "NVIDIA A10G", "instructions": "sm_86"}
NATIVE = {"engine": "native", "device": "CPU", "instructions": "avx512"}


def gpu_job(instance_type: str, *, workers: int = 2, **changes: Any) -> Report:
    """The report of a job of one host of that type: 500 tokens/s a worker."""
    host = {"host": "algo-1", "splits": 1, "documents": 9, "tokens": 9, "busy_s": 1}
    host |= {"peak_rss_bytes": 1, "ended": True, "workers": workers}
    spec = make_spec(instance_type, model=FP16).model_dump(mode="json")
    plain: dict[str, Any] = {"engines": [A10G], "hosts": [host], "sample": None, "spec": spec}
    return make_report(**plain | changes)


def rate_on(instance_type: str, report: Report | None, **compute: Any) -> Rate:
    spec = make_spec(instance_type, model=FP16, **compute)
    return find_rate(spec, report, instance_type=instance_type)


def test_a_job_on_the_same_gpu_type_has_measured_it() -> None:
    rate = rate_on(GPU, gpu_job(GPU))
    assert (rate.tokens_per_s, rate.measured) == (1000, True)


def test_a_type_with_more_of_the_same_gpus_is_an_estimate() -> None:
    rate = rate_on("ml.g5.12xlarge", gpu_job(GPU))
    assert (rate.tokens_per_s, rate.measured) == (4000, False)
    assert "1 GPU of ml.g5.xlarge × 4 for ml.g5.12xlarge" in rate.source


def test_hosts_and_their_gpus_both_count() -> None:
    hosts = [host.model_dump() for host in gpu_job(GPU).hosts] * 3
    assert rate_on(GPU, gpu_job(GPU, hosts=hosts)).tokens_per_s == 1000


def test_what_the_spec_says_of_its_gpu_is_taken() -> None:
    rate = rate_on(GPU, None, tokens_per_s=1e6)
    assert (rate.tokens_per_s, rate.measured) == (1e6, True)


CPU_SPEC = make_spec(model=FP16).model_dump(mode="json")


@pytest.mark.parametrize(
    ("report", "why"),
    [
        (None, "give --report of a job on one such instance"),
        (gpu_job("ml.c7i.4xlarge", engines=[NATIVE]), "is of a CPU (A CPU)"),
        (gpu_job("ml.c7i.4xlarge", engines=[A10G | {"device": "CPU"}]), "is of a CPU (A CPU)"),
        (gpu_job("ml.g6.xlarge", engines=[A10G | {"device": "NVIDIA L4"}]), "NVIDIA L4"),
        (gpu_job(GPU, hosts=(), sample=make_report().sample), "of no job on such a type"),
        (gpu_job(GPU, spec=CPU_SPEC | {"model": {"precision": "fp32"}}), "another precision"),
    ],
)
def test_a_rate_of_anything_else_says_nothing_of_a_gpu(report: Report | None, why: str) -> None:
    rate = rate_on(GPU, report)
    assert rate.tokens_per_s is None
    assert rate.source.startswith("unknown: ")
    assert why in rate.source


@pytest.mark.parametrize(
    ("wanted", "asked", "ran", "known"),
    [
        ("auto", "auto", NATIVE, True),
        ("native", "auto", NATIVE, True),
        ("auto", "native", NATIVE, True),
        ("onnx", "auto", NATIVE, False),
        ("auto", "onnx", {"engine": "onnx", "device": "CPU"}, False),
        ("auto", "auto", A10G, False),
        ("auto", "null", {"engine": "null", "device": "CPU"}, False),
    ],
)
def test_a_processor_s_rate_is_that_of_the_engine_that_ran(
    wanted: str, asked: str, ran: dict[str, str], known: bool
) -> None:
    spec = make_spec(model={"engine": wanted})
    report = make_report(
        spec=make_spec(model={"engine": asked}).model_dump(mode="json"), engines=[ran]
    )
    rate = find_rate(spec, report, instance_type="ml.c7i.4xlarge")
    assert (rate.tokens_per_s == 500 * 16) is known
    assert ("native avx512" in rate.source) is known
