"""How many workers a machine gets, on which GPU each, and what their processes start with."""

from __future__ import annotations

import os
from typing import Any

import pytest

from embed_job.embedding import Crew, crew_of
from embed_job.manifest import DatasetDescriptor
from embed_job.spec import JobSpec
from embed_job.workers.environment import environment, environment_of
from embed_job.workers.messages import WorkerConfig


def spec_of(**execution: Any) -> JobSpec:
    return JobSpec.model_validate(
        {
            "name": "test",
            "input": {"uri": "in"},
            "outputs": [{"parquet": {"uri": "out"}}],
            "execution": execution,
        }
    )


def config_of(**changes: Any) -> WorkerConfig:
    dataset = DatasetDescriptor.model_construct()
    return WorkerConfig(
        number=0, spec=spec_of(), dataset=dataset, input_uri="in", spool="spool", host="", **changes
    )


@pytest.mark.parametrize(
    ("execution", "cores", "crew"),
    [
        ({}, 8, Crew(8, 1)),
        ({"threads_per_worker": 3}, 8, Crew(2, 3)),
        ({"threads_per_worker": 16}, 8, Crew(1, 16)),
        ({"workers": 5, "workers_per_gpu": 2}, 8, Crew(5, 1)),
    ],
)
def test_without_a_gpu_cores_are_shared_out(
    execution: dict[str, Any], cores: int, crew: Crew
) -> None:
    assert crew_of(spec_of(**execution), cores=cores, gpus=()) == crew


@pytest.mark.parametrize(
    ("execution", "cores", "gpus", "workers", "threads"),
    [
        ({}, 1, 1, 1, 1),
        ({}, 4, 1, 2, 2),
        ({}, 16, 1, 8, 2),
        ({}, 192, 1, 8, 24),
        ({}, 192, 8, 64, 3),
        ({}, 4, 8, 8, 1),
        ({"workers_per_gpu": 2}, 16, 2, 4, 4),
        ({"workers": 3}, 16, 2, 3, 5),
        ({"threads_per_worker": 7}, 16, 1, 8, 7),
    ],
)
def test_a_gpu_is_shared_by_as_many_as_its_cores_feed(
    execution: dict[str, Any], cores: int, gpus: int, workers: int, threads: int
) -> None:
    names = tuple(map(str, range(gpus)))
    crew = crew_of(spec_of(**execution), cores=cores, gpus=names)
    assert crew == Crew(workers, threads, names)


def test_this_machine_is_taken_where_none_is_given() -> None:
    assert crew_of(spec_of(workers=3), gpus=()).workers == 3
    assert crew_of(spec_of(), gpus=()).workers >= 1


def test_each_worker_sees_one_gpu_and_a_successor_the_same() -> None:
    config = config_of(gpus=("0", "GPU-1"), threads=4)
    seen = [environment_of(config, number)["CUDA_VISIBLE_DEVICES"] for number in range(4)]
    assert seen == ["0", "GPU-1", "0", "GPU-1"]
    assert environment_of(config, 1) == environment_of(config, 1)


def test_tokenisers_get_threads_beside_a_gpu_alone() -> None:
    on_gpu, on_cores = environment_of(config_of(gpus=("0",), threads=4), 0), config_of(threads=4)
    assert on_gpu["TOKENIZERS_PARALLELISM"] == "true"
    assert on_gpu["RAYON_NUM_THREADS"] == "4"
    assert environment_of(on_cores, 0)["TOKENIZERS_PARALLELISM"] == "false"
    assert "CUDA_VISIBLE_DEVICES" not in environment_of(on_cores, 0)
    assert environment_of(config_of(gpus=("0",)), 0)["TOKENIZERS_PARALLELISM"] == "false"


def test_the_parents_own_environment_is_left_as_it_was() -> None:
    before = dict(os.environ)
    with environment({"EMBED_JOB_TEST": "1", "PATH": "elsewhere"}):
        assert os.environ["EMBED_JOB_TEST"] == "1"
        assert os.environ["PATH"] == "elsewhere"
    assert dict(os.environ) == before


@pytest.mark.parametrize(("field", "least"), [("workers_per_gpu", 1), ("batch_tokens", 16)])
def test_a_number_below_the_least_is_the_users_mistake(field: str, least: int) -> None:
    assert getattr(spec_of(**{field: least}).execution, field) == least
    assert getattr(spec_of(**{field: "auto"}).execution, field) == "auto"
    with pytest.raises(ValueError, match=f"at least {least}, or auto"):
        spec_of(**{field: least - 1})
