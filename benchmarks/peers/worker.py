"""What whole-job peers run in each of their workers: sentence-transformers on one core or GPU."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.sentence_transformers import load_torch
from benchmarks.peers.task import Ran, Task, Vectors, text_of

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


@dataclass(slots=True)
class Watch:
    """ready: the folder that workers are given. ran: what came of it, once it is over."""

    ready: str
    ran: Ran | None = None


@contextmanager
def watched() -> Iterator[Watch]:
    """Time a job; loading ends when its first worker stands ready."""
    with tempfile.TemporaryDirectory() as folder:
        watch = Watch(folder)
        began = time.time()
        yield watch
        ended = time.time()
        first = min(float(path.read_text(encoding="utf-8")) for path in Path(folder).iterdir())
        watch.ran = Ran(steady_s=ended - first, load_s=first - began)
