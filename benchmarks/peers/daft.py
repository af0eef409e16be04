"""Daft, whole job: read_json → sentence-transformers in a class of its own → write_parquet.

An instance a core or GPU, each in a process; the native runner keeps the order.
"""

from __future__ import annotations

from typing import Any

from benchmarks.peers.task import Loaded, Task, main
from benchmarks.peers.worker import DOCUMENTS_A_CALL, Worker, whole_job

_DIMENSION = 384


def load(task: Task) -> Loaded:
    """Daft on its native runner."""
    import daft

    daft.set_runner_native()
    return whole_job(_job, task)


def _job(task: Task, ready: str, *, workers: int, gpu: bool) -> None:
    import daft

    kind = daft.DataType.fixed_size_list(daft.DataType.float32(), _DIMENSION)

    @daft.cls(max_concurrency=workers, use_process=True, gpus=1 if gpu else 0)
    class Embed:
        def __init__(self) -> None:
            self._worker = Worker(task, ready)

        @daft.method.batch(return_dtype=kind, batch_size=DOCUMENTS_A_CALL)
        def encode(self, *columns: Any) -> Any:
            return self._worker.encode([column.to_pylist() for column in columns])

    documents = daft.read_json(str(task.source))
    vectors = Embed().encode(*(documents[field] for field in task.fields))
    documents.select("id", vectors.alias("vector")).write_parquet(str(task.out))


if __name__ == "__main__":
    main(
        __doc__ or "",
        variants=("torch",),
        packages=("daft", "sentence-transformers", "torch"),
        load=load,
    )
