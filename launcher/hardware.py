"""What this machine embeds with: the kernels of its processor, a GPU, and a torch that sees it."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Iterator

from launcher.checks import Check, missing, ok, unknown

_TIMEOUT_S = 60
"""Loading torch takes seconds, and a GPU that sleeps takes some to wake up."""
_QUERY = ("--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
_NO_TORCH = "not installed; GPUs need it, and bundles of other architectures"
_TORCH = (
    "import torch; n = torch.cuda.device_count() if torch.cuda.is_available() else 0; "
    "print(n, torch.__version__, torch.version.cuda or '-')"
)
"""In a process of its own: torch would stay in this one, and a driver that fails may end it."""


def engine_checks() -> Iterator[Check]:
    """What engine: auto finds here; nothing of it is needed to submit a job."""
    yield _kernels()
    check, gpus = _gpus()
    yield check
    if importlib.util.find_spec("torch") is None:
        what, hint = "not installed; the GPU would stand idle", "pip install 'embed-job[gpu]'"
        yield missing("torch", what, hint, optional=True) if gpus else ok("torch", _NO_TORCH)
    elif gpus:
        yield _torch(gpus)
    else:
        yield ok("torch", "installed; without a GPU, only making bundles of some models needs it")


def _kernels() -> Check:
    from embed_job.engine.native.library import load_library

    found = load_library()
    if found is not None:
        return ok("native kernels", f"for {found.variant}")
    what = "none for this processor; the engine onnx embeds here"
    hint = "They need AVX2 or NEON, and come with the wheel or `make`."
    return missing("native kernels", what, hint, optional=True)


def _gpus() -> tuple[Check, str]:
    """NVIDIA's own program knows GPUs and driver, whatever is installed beside it. The GPUs, or "".

    That a machine has none is no fault: a job's are those of compute.instance_type.
    """
    program = shutil.which("nvidia-smi")
    if program is None:
        return ok("GPU", "none on this machine (there is no nvidia-smi)"), ""
    found = _run([program, *_QUERY])
    if found is None or found.returncode != 0:
        said = (found.stdout or found.stderr).strip() if found else "no answer"
        return unknown("GPU", f"nvidia-smi fails: {said[:200]}", "Mend the driver."), ""
    lines = [", ".join(part.strip() for part in line.split(",")) for line in _lines(found.stdout)]
    told = "; ".join(f"{lines.count(line)} × {line}" for line in dict.fromkeys(lines))
    return ok("GPU", told or "none on this machine, though there is a driver"), told


def _torch(gpus: str) -> Check:
    hint = "Install a torch for the driver's CUDA, or update the driver: CUDA 13 asks for 580."
    found = _run([sys.executable, "-c", _TORCH])
    told = _lines(found.stdout)[-1:] if found and found.returncode == 0 else []
    if not told:
        return missing("torch", "can't be loaded", "pip install --force-reinstall torch")
    count, version, cuda = told[0].split()
    if count == "0":
        return missing("torch", f"{version} (CUDA {cuda}) does not see the GPU ({gpus})", hint)
    return ok("torch", f"{version}, CUDA {cuda}")


def _run(command: list[str]) -> subprocess.CompletedProcess[str] | None:
    """How a program ended; None where it does not answer."""
    try:
        return subprocess.run(  # noqa: S603 - no shell, nothing of the user's in it
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]
