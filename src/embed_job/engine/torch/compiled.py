"""A model that is compiled when it is first run."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from embed_job.engine.torch.memory import is_out_of_memory

if TYPE_CHECKING:
    from embed_job.engine.torch.slots import Forward

_LOG = logging.getLogger(__name__)


def compile_once(model: Forward) -> Forward:
    """Code for every shape: one for each would take longer to compile than most jobs run."""
    compiled: Forward = torch.compile(model, dynamic=True)
    return compiled


class Compiled:
    """The model's compiled code, or the model as it is where it can't be compiled.

    The golden vectors are checked after the first run, so they are of what is going to be used.
    """

    def __init__(
        self, model: Forward, *, compiler: Callable[[Forward], Forward] = compile_once
    ) -> None:
        self._model = model
        self._compiled: Forward | None = compiler(model)

    def __call__(self, ids: torch.Tensor, bounds: torch.Tensor, longest: int, /) -> torch.Tensor:
        if self._compiled is not None:
            try:
                return self._compiled(ids, bounds, longest)
            except Exception as error:  # compilers raise whatever they like
                if is_out_of_memory(error):
                    raise
                self._compiled = None
                _LOG.warning(
                    "the model can't be compiled and runs slower, as it is: %s",
                    str(error).strip().partition("\n")[0][:300],
                )
        return self._model(ids, bounds, longest)
