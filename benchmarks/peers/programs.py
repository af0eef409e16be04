"""The peers' programs: which there are, and how one is started."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.peers.environments import NotInstalledError, python_of
from benchmarks.results import ROOT

_TIMEOUT_S = 900
_OFFLINE = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_raylet_start_wait_time_s": "120",
    "SCARF_NO_ANALYTICS": "true",
    "TOKENIZERS_PARALLELISM": "true",
}


@dataclass(frozen=True, slots=True)
class Program:
    """name: of its row. module: below benchmarks.peers. environment: the lock that it needs.

    model: the folder that it reads, below the benchmark's work folder. batch_sizes: what is tried.
    in_dev: whether the tests' own environment holds all that it needs, in the same versions.
    """

    name: str
    module: str
    variant: str
    batch_sizes: tuple[int, ...]
    environment: str = "current"
    model: str = "all-MiniLM-L6-v2"
    in_dev: bool = False


BASELINE = Program(
    "sentence-transformers, torch",
    "sentence_transformers",
    "torch",
    (4, 8, 16, 32),
    in_dev=True,
)
ON_CPU = (
    BASELINE,
    Program(
        "sentence-transformers, multi-process pool",
        "sentence_transformers",
        "pool",
        (4, 8, 16, 32),
        in_dev=True,
    ),
    Program(
        "sentence-transformers, ONNX back end (O3)",
        "sentence_transformers",
        "onnx",
        (4, 8, 16, 32),
        environment="onnx",
        model="onnx/st",
    ),
    Program("transformers pipeline", "transformers_pipeline", "torch", (4, 8, 16, 32), in_dev=True),
    Program("fastembed, threads", "fastembed", "threads", (4, 16, 64), model="onnx/flat"),
    Program("fastembed, parallel", "fastembed", "parallel", (4, 16, 64), model="onnx/flat"),
    Program(
        "infinity, optimum",
        "infinity",
        "optimum",
        (4, 8, 16, 32),
        environment="infinity",
        model="onnx/flat",
    ),
    Program("infinity, torch", "infinity", "torch", (4, 8, 16, 32), environment="infinity"),
    Program("Ray Data + sentence-transformers", "ray_data", "torch", (8, 16)),
    Program("Daft + sentence-transformers", "daft", "torch", (8, 16)),
)
ON_GPU = (
    Program(
        BASELINE.name, BASELINE.module, BASELINE.variant, (128, 256, 512, 1024, 2048), in_dev=True
    ),
    Program("transformers pipeline", "transformers_pipeline", "torch", (64, 256, 512), in_dev=True),
    Program("infinity, torch", "infinity", "torch", (64, 256, 512), environment="infinity"),
    Program("Ray Data + sentence-transformers", "ray_data", "torch", (256, 512)),
    Program("Daft + sentence-transformers", "daft", "torch", (256, 512)),
)


class CannotRunError(RuntimeError):
    """A peer did not do its job; why, in one line."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What every program is given of the machine. work: the benchmark's folder, where models lie.

    dev: run in the tests' own environment what it can run, and nothing else.
    """

    work: Path
    cores: int
    device: str = "cpu"
    precision: str = "fp32"
    dev: bool = False


@dataclass(frozen=True, slots=True)
class ProgramRan:
    """process_s: from the process's start to its end. rates: documents/s by batch size tried."""

    process_s: float
    load_s: float
    steady_s: float
    versions: dict[str, str]
    batch_size: int = 0
    rates: dict[int, float] = field(default_factory=dict)


def run_program(
    program: Program, source: Path, out: Path, machine: Machine, arguments: Sequence[str] = ()
) -> ProgramRan:
    """Run it to its end in a process of its own. CannotRunError with what it said last."""
    model = machine.work / program.model
    command = [_python(program, machine), "-m", f"benchmarks.peers.{program.module}"]
    command += [str(source), str(out), "--model", str(model), "--variant", program.variant]
    command += ["--cores", str(machine.cores), "--device", machine.device]
    command += ["--precision", machine.precision, *arguments]
    began = time.perf_counter()
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_S,
            env=os.environ | _OFFLINE,
        )
    except subprocess.TimeoutExpired as error:
        raise CannotRunError(f"no end within {_TIMEOUT_S} s") from error
    process_s = time.perf_counter() - began
    if done.returncode:
        raise CannotRunError(_last_line(done.stderr) or f"exit code {done.returncode}")
    facts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    rates = {int(size): rate for size, rate in facts.pop("rates", {}).items()}
    return ProgramRan(process_s=process_s, rates=rates, **facts)


def answers(program: Program) -> None:
    """See that a program starts where its peer is not installed. CannotRunError where it fails."""
    command = [sys.executable, "-m", f"benchmarks.peers.{program.module}", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotRunError(_last_line(done.stderr))


def _python(program: Program, machine: Machine) -> str:
    if machine.dev:
        if not program.in_dev:
            raise CannotRunError("not part of a short run")
        return sys.executable
    try:
        return str(python_of(program.environment))
    except NotInstalledError as error:
        raise CannotRunError(str(error)) from error


def _last_line(text: str) -> str:
    """The last line that says something, as a cell of a table."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].replace("|", "/")[:200] if lines else ""
