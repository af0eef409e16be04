"""fastembed: ONNX Runtime on the folder of a model that it knows by name.

threads: one session with a thread a core. parallel: its data-parallel workers, a core each. It does
not sort, so the texts are handed over sorted by length.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from benchmarks.peers.task import Loaded, Ran, Task, longest_first, main, read_texts, write

_NAME = "sentence-transformers/all-MiniLM-L6-v2"


def load(task: Task) -> Loaded:
    """The model; workers of the variant parallel are started by each call."""
    from fastembed import TextEmbedding

    workers = task.cores if task.variant == "parallel" else None
    model = TextEmbedding(
        _NAME, threads=1 if workers else task.cores, specific_model_path=task.model
    )

    def run(task: Task) -> Ran:
        """A call starts workers anew: until its first vector all counts as loading, if there are
        any."""
        began = time.perf_counter()
        first = began

        def encode(texts: list[str]) -> np.ndarray:
            nonlocal first
            found = model.embed(texts, batch_size=task.batch_size, parallel=workers)
            head = next(iter(found))
            if workers:
                first = time.perf_counter()
            return np.stack([head, *found])

        ids, texts = read_texts(task)
        write(task.out, ids, longest_first(encode)(texts))
        return Ran(steady_s=time.perf_counter() - first, load_s=first - began)

    def token_ids(texts: list[str]) -> Iterator[list[int]]:
        for text in texts:
            yield model.model.tokenize([text])[0].ids

    return Loaded(run, token_ids)


if __name__ == "__main__":
    main(
        __doc__ or "",
        variants=("threads", "parallel"),
        packages=("fastembed", "onnxruntime"),
        load=load,
    )
