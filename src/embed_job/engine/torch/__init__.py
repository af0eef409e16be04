"""The GPU engine: packed batches on torch, several of them under way."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from embed_job import machine
from embed_job.errors import SpecError

if TYPE_CHECKING:
    from embed_job.engine.torch.engine import TorchEngine

__all__ = ["TorchEngine", "has_gpu"]


def has_gpu() -> bool:
    """Whether torch is installed and can use a CUDA device: its driver may be too old for it.

    torch is loaded only where there is a device.
    """
    if not machine.gpus() or find_spec("torch") is None:
        return False
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: one of its libraries does not load
        logging.getLogger(__name__).warning("torch can't be loaded, so no GPU is used: %s", error)
        return False
    return bool(torch.cuda.is_available())


def __getattr__(name: str) -> Any:
    """TorchEngine, loaded with torch when it is asked for. SpecError where there is no torch."""
    if name != "TorchEngine":
        raise AttributeError(name)
    if find_spec("torch") is None:
        raise SpecError(
            "model.engine",
            "torch is not installed here",
            "Install it (pip install 'embed-job[gpu]'), or choose engine: auto.",
        )
    from embed_job.engine.torch.engine import TorchEngine

    return TorchEngine
