"""What whole-job peers run in each of their workers: sentence-transformers on one core or GPU."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from benchmarks.peers.sentence_transformers import load_torch, token_ids
from benchmarks.peers.task import Loaded, Ran, Task, Vectors, text_of

DOCUMENTS_A_CALL = 512
"""Enough for `encode` to sort; few enough that all workers have something to do."""


class Worker:
    """The model, loaded where it is used. ready: a folder, told when."""

    def __init__(self, task: Task, ready: str) -> None:
        self._task = task
        self._model = load_torch(task, threads=1)
        Path(ready, str(os.getpid())).write_text(repr(time.time()), encoding="utf-8")

    def encode(self, columns: list[Any]) -> Vectors:
        """Vectors of the documents whose fields are in these columns, float32 [documents, n]."""
        texts = [
            text_of(dict(zip(self._task.fields, row, strict=True)), self._task.fields)
            for row in zip(*columns, strict=True)
        ]
        found = self._model.encode(texts, batch_size=self._task.batch_size, show_progress_bar=False)
        return np.asarray(found, np.float32)


class WholeJob(Protocol):
    """A peer's job from JSONL to Parquet. ready: the folder that its workers are told of."""

    def __call__(self, task: Task, ready: str, *, workers: int, gpu: bool) -> None: ...


def whole_job(job: WholeJob, task: Task) -> Loaded:
    """A job with a worker a GPU or core; its loading ends when the first of them stands ready."""
    import torch

    gpus = torch.cuda.device_count() if task.device == "cuda" else 0

    def run(task: Task) -> Ran:
        shutil.rmtree(task.out, ignore_errors=True)
        with tempfile.TemporaryDirectory() as folder:
            began = time.time()
            job(task, folder, workers=gpus or task.cores, gpu=bool(gpus))
            ended = time.time()
            first = min(float(path.read_text(encoding="utf-8")) for path in Path(folder).iterdir())
        return Ran(steady_s=ended - first, load_s=first - began)

    return Loaded(run, lambda texts: token_ids(load_torch(task, threads=1), texts))
