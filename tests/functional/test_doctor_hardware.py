"""What doctor says of processor, GPU and torch; a program stands for NVIDIA's and for Python."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher.checks import Check
from launcher.hardware import engine_checks

Program = Callable[..., None]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Puts a program of that name, which prints a text, alone on PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def make(name: str, text: str, *, code: int = 0) -> None:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\necho '{text}'\nexit {code}\n")
        path.chmod(0o755)

    return make


def checks() -> dict[str, Check]:
    return {check.name: check for check in engine_checks()}


A10G = "NVIDIA A10G, 23028 MiB, 550.163.01"


def test_a_machine_without_a_gpu_lacks_nothing_that_a_job_needs(program: Program) -> None:
    found = checks()
    assert found["GPU"].state == found["torch"].state == "ok"
    assert "none on this machine" in found["GPU"].detail
    assert found["native kernels"].state == "ok" or found["native kernels"].optional


def test_gpus_are_counted_by_kind_with_their_driver(program: Program) -> None:
    program("nvidia-smi", f"{A10G}\n{A10G}\nNVIDIA L4, 23034 MiB, 550.163.01")
    assert checks()["GPU"].detail == f"2 × {A10G}; 1 × NVIDIA L4, 23034 MiB, 550.163.01"


def test_a_driver_that_fails_is_told_in_its_own_words(program: Program) -> None:
    program("nvidia-smi", "Failed to initialize NVML: Driver/library version mismatch", code=18)
    assert checks()["GPU"].state == "unknown"
    assert "version mismatch" in checks()["GPU"].detail


@pytest.mark.parametrize(
    ("text", "code", "state", "told"),
    [
        ("1 2.15.0+cu132 13.2", 0, "ok", "2.15.0+cu132, CUDA 13.2"),
        ("0 2.15.0+cpu -", 0, "missing", f"does not see the GPU (1 × {A10G})"),
        ("", 1, "missing", "can't be loaded"),
    ],
)
def test_torch_must_see_the_gpu(
    program: Program,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    code: int,
    state: str,
    told: str,
) -> None:
    program("nvidia-smi", A10G)
    program("python", text, code=code)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    found = checks()["torch"]
    assert found.state == state
    assert told in found.detail
    assert found.hint or state == "ok"
