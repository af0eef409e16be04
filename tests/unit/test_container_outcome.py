"""The message for the service, and how many workers a machine gets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from container.fit import PARENT_BYTES, WORKER_BYTES, Machine, fitting_workers
from container.outcome import (
    Outcome,
    message_bytes,
    of_bug,
    of_result,
    of_user_error,
    without_secrets,
)
from embed_job.errors import ExitCode, OutputError
from embed_job.fleet.host_share import HostResult
from embed_job.manifest import SplitCounts
from embed_job.spec import ExecutionSpec, JobSpec

GIB = 2**30
GRAPH_BYTES = 90 * 2**20


def spec_of(execution: ExecutionSpec | None = None) -> JobSpec:
    plain = {"name": "kb", "input": {"uri": "in/"}, "outputs": [{"parquet": {"uri": "out/"}}]}
    spec = JobSpec.model_validate(plain)
    return spec.model_copy(update={"execution": execution or spec.execution})


@given(text=st.text(), hosts=st.integers(1, 100), code=st.sampled_from(ExitCode))
def test_a_message_is_one_line_of_its_share(text: str, hosts: int, code: ExitCode) -> None:
    message = message_bytes(Outcome(code, text), host=f"algo-{hosts}", hosts=hosts)
    assert len(message) <= 1024 // hosts
    assert message.decode("utf-8").removesuffix("\n").isprintable()
    assert message.endswith(b"\n") == (hosts <= 32)
    assert f"algo-{hosts} {int(code)} ".encode().startswith(message[: len(f"algo-{hosts} ")])
    assert len(message) >= min(1024 // hosts, len(f"algo-{hosts} {int(code)}")) - 1


@given(letters=st.text("aé語🎉", min_size=1100), hosts=st.integers(1, 30))
def test_a_cut_leaves_whole_characters_and_wastes_none(letters: str, hosts: int) -> None:
    message = message_bytes(Outcome(ExitCode.INPUT, letters), host="algo-1", hosts=hosts)
    whole = f"algo-1 3 INPUT: {letters}"
    assert message.endswith(b"\n")
    cut = message.decode("utf-8").removesuffix("\n")
    assert whole.startswith(cut)
    assert len((cut + whole[len(cut)]).encode()) > 1024 // hosts - 1


def test_a_job_that_was_left_to_another_says_whose_it_is() -> None:
    other = "kb-d32c5kddcf5bb8c3"
    result = HostResult(ExitCode.OK, SplitCounts(), 0, 0, (), False, None, left_to=other)
    message = message_bytes(of_result(result), host="algo-1", hosts=2)
    assert message == (
        b"algo-1 0 OK: nothing was done: left to kb-d32c5kddcf5bb8c3, which is at work on this "
        b"output\n"
    )


def test_one_among_a_hundred_says_who_and_what() -> None:
    outcome = of_user_error(OutputError("/opt/ml", "the disk is full", "Free space."))
    assert message_bytes(outcome, host="algo-100", hosts=100) == b"algo-100 4"
    assert message_bytes(outcome, host="algo-1", hosts=1) == (
        b"algo-1 4 OUTPUT: /opt/ml: the disk is full. Free space.\n"
    )


def test_a_bug_tells_its_type_and_not_its_text() -> None:
    outcome = of_bug(UnicodeDecodeError("utf-8", b"private words", 0, 1, "private reason"))
    assert outcome.code is ExitCode.BUG
    assert "UnicodeDecodeError" in outcome.text
    assert "private" not in outcome.text


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("key AKIAIOSFODNN7EXAMPLE was refused", "key *** was refused"),
        ("https://me:hunter2@host/index", "https://***@host/index"),
        ("https://b.s3/k?X-Amz-Signature=abc123&x=1", "https://b.s3/k?X-Amz-Signature=***&x=1"),
        ("password=hunter2 and more", "password=*** and more"),
        ("s3://bucket/a@b: it is gone", "s3://bucket/a@b: it is gone"),
    ],
)
def test_credentials_are_masked(text: str, kept: str) -> None:
    assert without_secrets(text) == kept
    message = message_bytes(Outcome(ExitCode.INPUT, text), host="a", hosts=1)
    assert message.endswith(f"{kept}\n".encode())


@pytest.mark.parametrize(
    ("cores", "memory", "workers"),
    [(16, 32 * GIB, 16), (1, 32 * GIB, 1), (16, GIB, 2), (16, GIB // 4, 1), (0, GIB, 1)],
)
def test_workers_are_as_many_as_cores_and_memory_allow(
    cores: int, memory: int, workers: int
) -> None:
    found = fitting_workers(spec_of(), Machine(cores, memory), graph_bytes=GRAPH_BYTES)
    assert found.count == workers
    assert found.wanted == max(1, cores)


def test_threads_share_the_cores() -> None:
    execution = ExecutionSpec(threads_per_worker=4)
    found = fitting_workers(spec_of(execution), Machine(10, 64 * GIB), graph_bytes=GRAPH_BYTES)
    assert found.count == 2


def test_a_number_in_the_spec_is_kept_and_its_lack_of_room_known() -> None:
    execution = ExecutionSpec(workers=9)
    found = fitting_workers(spec_of(execution), Machine(4, GIB), graph_bytes=GRAPH_BYTES)
    assert (found.count, found.room) == (9, 2)


def test_a_large_model_takes_its_own_size_a_worker() -> None:
    memory = PARENT_BYTES + 3 * (WORKER_BYTES + GIB)
    found = fitting_workers(spec_of(), Machine(16, memory), graph_bytes=GIB)
    assert found.count == 3


@pytest.mark.parametrize(("gpus", "each", "workers"), [(1, 1, 1), (1, 3, 3), (4, 2, 8)])
def test_processes_of_gpus_are_not_measured_by_what_a_processor_s_need(
    gpus: int, each: int, workers: int
) -> None:
    machine = Machine(4, GIB, tuple(map(str, range(gpus))))
    execution = ExecutionSpec(workers_per_gpu=each)
    found = fitting_workers(spec_of(execution), machine, graph_bytes=GRAPH_BYTES)
    assert (found.count, found.room) == (workers, workers)
