"""What the benchmarks of the torch engine run on: GPUs, or a CPU in their place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from embed_job.engine.torch import has_gpu


@dataclass(frozen=True, slots=True)
class Device:
    """kind: as torch names it. names: of the GPUs; empty on a CPU."""

    kind: str
    precision: str
    names: Sequence[str]

    def __str__(self) -> str:
        return ", ".join(self.names) or "a CPU, as there is no GPU here: figures mean nothing"


def this_device() -> Device:
    """The GPUs in fp16, or without any the CPU in fp32."""
    return Device("cuda", "fp16", gpu_names()) if has_gpu() else Device("cpu", "fp32", ())


def gpu_names() -> list[str]:
    """The models of this machine's GPUs, each once; torch is loaded only where there are any."""
    if not has_gpu():
        return []
    import torch

    return sorted({torch.cuda.get_device_name(at) for at in range(torch.cuda.device_count())})
