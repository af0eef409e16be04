"""The order as this machine can carry it out: workers that its memory holds, a drain in time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from container.deadline import DRAIN_S
from embed_job.bundle import graph_file
from embed_job.embedding import crew_of, gpus_for
from embed_job.machine import usable_cores, usable_memory

if TYPE_CHECKING:
    from embed_job.fleet.order import JobOrder
    from embed_job.spec import JobSpec, ModelSpec

MIB = 2**20
WORKER_BYTES = 210 * MIB
"""What a worker needs beside the model's graph: 276 MB were measured with the default model, whose
graph is 90 MB (benchmarks/linear.py), and 168 MB without a model on the largest splits; this leaves
a tenth to spare."""
PARENT_BYTES = 200 * MIB
"""What the process that hands out splits needs."""


@dataclass(frozen=True, slots=True)
class Machine:
    """cores and memory_bytes: as this process may use them, not as the host has them. gpus: that
    the model runs on; none where it runs on the cores."""

    cores: int
    memory_bytes: int
    gpus: tuple[str, ...] = ()


def this_machine(model: ModelSpec) -> Machine:
    """This machine, for that model."""
    return Machine(usable_cores(), usable_memory(), gpus_for(model))


@dataclass(frozen=True, slots=True)
class Workers:
    """count: processes to start; wanted: as cores or the spec would have it; room: as many as
    memory holds, 1 at least."""

    count: int
    wanted: int
    room: int


def fitting_workers(spec: JobSpec, machine: Machine, *, graph_bytes: int) -> Workers:
    """As many workers as cores and memory allow; a number in the spec is its author's to answer
    for. Those of GPUs are few: the cores that one takes come with 8 GB or more on every type."""
    wanted = crew_of(spec, cores=machine.cores, gpus=machine.gpus).workers
    if machine.gpus:
        return Workers(wanted, wanted, wanted)
    each = WORKER_BYTES + graph_bytes
    room = max(1, (machine.memory_bytes - PARENT_BYTES) // each)
    count = min(wanted, room) if spec.execution.workers == "auto" else wanted
    return Workers(count, wanted, room)


def graph_bytes(order: JobOrder, bundle: Path | None) -> int:
    """Size of the model's graph with its weights; 0 without a model. A precision without a graph
    of its own is made from fp32's weights when it is loaded."""
    if bundle is None or order.spec.model.engine == "null":
        return 0
    own, fp32 = (
        sum(path.stat().st_size for path in bundle.glob(f"{graph_file(precision)}*"))
        for precision in (order.spec.model.precision, "fp32")
    )
    return own or fp32


def fitted(order: JobOrder, *, workers: int) -> JobOrder:
    """The order with so many workers, and with a drain that ends before the container must."""
    execution = order.spec.execution
    drain_s = min(execution.drain_timeout_s, DRAIN_S)
    execution = execution.model_copy(update={"workers": workers, "drain_timeout_s": drain_s})
    spec = order.spec.model_copy(update={"execution": execution})
    return order.model_copy(update={"spec": spec})
