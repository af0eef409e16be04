"""The order as this machine can carry it out: workers that its memory holds, a drain in time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from container.deadline import DRAIN_S
from embed_job.bundle import graph_file
from embed_job.machine import usable_cores, usable_memory

if TYPE_CHECKING:
    from embed_job.fleet.order import JobOrder
    from embed_job.spec import ExecutionSpec

MIB = 2**20
WORKER_BYTES = 210 * MIB
"""What a worker needs beside the model's graph: 276 MB were measured with the default model, whose
graph is 90 MB (benchmarks/memory.py), and 168 MB without a model on the largest splits; this leaves
a tenth to spare."""
PARENT_BYTES = 200 * MIB
"""What the process that hands out splits needs."""


@dataclass(frozen=True, slots=True)
class Machine:
    """cores and memory_bytes: as this process may use them, not as the host has them."""

    cores: int
    memory_bytes: int


def this_machine() -> Machine:
    return Machine(usable_cores(), usable_memory())


@dataclass(frozen=True, slots=True)
class Workers:
    """count: processes to start; wanted: as cores or the spec would have it; room: as many as
    memory holds, 1 at least."""

    count: int
    wanted: int
    room: int


def fitting_workers(execution: ExecutionSpec, machine: Machine, *, graph_bytes: int) -> Workers:
    """As many workers as cores and memory allow; a number in the spec is its author's to answer
    for."""
    each = WORKER_BYTES + graph_bytes
    room = max(1, (machine.memory_bytes - PARENT_BYTES) // each)
    if execution.workers != "auto":
        return Workers(execution.workers, execution.workers, room)
    wanted = max(1, machine.cores // execution.threads_per_worker)
    return Workers(min(wanted, room), wanted, room)


def graph_bytes(order: JobOrder, bundle: Path | None) -> int:
    """Size of the model's graph with its weights; 0 without a model."""
    if bundle is None or order.spec.model.engine == "null":
        return 0
    graph = graph_file(order.spec.model.precision)
    return sum(path.stat().st_size for path in bundle.glob(f"{graph}*"))


def fitted(order: JobOrder, *, workers: int) -> JobOrder:
    """The order with so many workers, and with a drain that ends before the container must."""
    execution = order.spec.execution
    drain_s = min(execution.drain_timeout_s, DRAIN_S)
    execution = execution.model_copy(update={"workers": workers, "drain_timeout_s": drain_s})
    spec = order.spec.model_copy(update={"execution": execution})
    return order.model_copy(update={"spec": spec})
