"""Ray Data, whole job: read_json → sentence-transformers in a pool of actors → write_parquet.

An actor a core or GPU, order preserved. One slot more than cores: else reading would wait for the
actors, which wait for it.
"""

from __future__ import annotations

from typing import Any

from benchmarks.peers.task import Loaded, Task, main, read_texts
from benchmarks.peers.worker import DOCUMENTS_A_CALL, Worker, whole_job


def load(task: Task) -> Loaded:
    """Ray on this machine alone."""
    import ray
    import torch

    gpus = torch.cuda.device_count() if task.device == "cuda" else 0
    ray.init(num_cpus=task.cores + 1, num_gpus=gpus, include_dashboard=False, log_to_driver=False)
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    return whole_job(_job, task)


class _Embed:
    def __init__(self, task: Task, ready: str) -> None:
        self._fields = task.fields
        self._worker = Worker(task, ready)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        columns = [batch[field].tolist() for field in self._fields]
        return {"id": batch["id"], "vector": self._worker.encode(columns)}


def _job(task: Task, ready: str, *, workers: int, gpu: bool) -> None:
    import ray

    blocks = max(workers * 2, len(read_texts(task)[0]) // DOCUMENTS_A_CALL)
    (
        ray.data.read_json(str(task.source), file_extensions=None)
        .repartition(blocks)
        .map_batches(
            _Embed,
            fn_constructor_args=(task, ready),
            batch_size=DOCUMENTS_A_CALL,
            compute=ray.data.ActorPoolStrategy(size=workers),
            num_cpus=1,
            num_gpus=1 if gpu else 0,
        )
        .write_parquet(str(task.out))
    )


if __name__ == "__main__":
    main(
        __doc__ or "",
        variants=("torch",),
        packages=("ray", "sentence-transformers", "torch"),
        load=load,
    )
