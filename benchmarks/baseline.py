"""sentence-transformers, doing the same job: JSONL in, the same Parquet file out.

It is given what serves it: the whole corpus in memory, ``encode`` that sorts it by length, the
best batch size found beforehand, torch threads for all cores. The script a careful user writes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.corpus import read_jsonl, text_of
from benchmarks.results import ROOT


@dataclass(frozen=True, slots=True)
class BaselineRan:
    """process_s: from the process's start to its end. steady_s: read, encode and write."""

    process_s: float
    steady_s: float
    encode_s: float


def run_baseline(
    source: Path,
    out: Path,
    *,
    model: Path,
    batch_size: int,
    threads: int,
    fields: tuple[str, ...] = ("title", "body"),
    ids_out: Path | None = None,
) -> BaselineRan:
    """Run it in a process of its own. ids_out: leave the token ids there (an .npz), untimed."""
    command = [sys.executable, "-m", "benchmarks.baseline", str(source), str(out)]
    command += ["--model", str(model), "--batch-size", str(batch_size), "--threads", str(threads)]
    command += ["--fields", *fields]
    if ids_out:
        command += ["--ids-out", str(ids_out)]
    began = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    process_s = time.perf_counter() - began
    if done.returncode != 0:
        raise RuntimeError(f"the baseline ended with {done.returncode}: {done.stderr[-2000:]}")
    facts = json.loads(done.stdout.splitlines()[-1])
    return BaselineRan(process_s, facts["steady_s"], facts["encode_s"])


def find_batch_size(
    source: Path, *, model: Path, threads: int, candidates: list[int], documents: int
) -> dict[int, float]:
    """Documents/s of each batch size over the same spread of documents, best of two each."""
    command = [sys.executable, "-m", "benchmarks.baseline", str(source), "-"]
    command += ["--model", str(model), "--threads", str(threads), "--search", str(documents)]
    command += ["--candidates", *map(str, candidates)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"the baseline ended with {done.returncode}: {done.stderr[-2000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    return {int(size): float(rate) for size, rate in found.items()}


def _load(folder: str, threads: int) -> Any:
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(threads)
    return SentenceTransformer(folder, device="cpu")


def _encode(model: Any, texts: list[str], batch_size: int) -> Any:
    return model.encode(texts, batch_size=batch_size, show_progress_bar=False)


def _search(model: Any, texts: list[str], options: argparse.Namespace) -> dict[int, float]:
    step = max(1, len(texts) // options.search)
    spread = texts[::step][: options.search]
    _encode(model, spread[:16], 8)
    rates: dict[int, float] = dict.fromkeys(options.candidates, 0.0)
    for _ in range(2):
        for size in options.candidates:
            began = time.perf_counter()
            _encode(model, spread, size)
            rates[size] = max(rates[size], len(spread) / (time.perf_counter() - began))
    return rates


def _write(path: str, records: list[dict[str, str]], texts: list[str], vectors: Any) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    ids = [record["id"] for record in records]
    kind = pa.list_(pa.field("element", pa.float32(), nullable=False), vectors.shape[1])
    flat = pa.array(np.ascontiguousarray(vectors, np.float32).reshape(-1), pa.float32())
    zeros = np.zeros(len(ids), np.int32)
    columns = {
        "id": pa.array(ids),
        "doc_id": pa.array(ids),
        "chunk": pa.array(zeros),
        "char_start": pa.array(zeros.astype(np.int64)),
        "char_end": pa.array([len(text) for text in texts], pa.int64()),
        # encode() does not tell how many tokens there were, and tokenising again would cost time.
        "n_tokens": pa.array(zeros),
        "content_hash": pa.array(
            [blake2b(text.encode(), digest_size=16).hexdigest() for text in texts]
        ),
        "module": pa.array([record.get("module", "") for record in records]),
        "vector": pa.FixedSizeListArray.from_arrays(flat, type=kind),
    }
    pq.write_table(
        pa.table(columns),
        path,
        compression="zstd",
        compression_level=1,
        use_dictionary=["chunk", "char_start", "n_tokens", "module"],
        column_encoding={"vector.list.element": "BYTE_STREAM_SPLIT"},
    )


def _token_ids(model: Any, texts: list[str]) -> list[list[int]]:
    """Token ids that the model is given for each text, padding taken off."""
    found: list[list[int]] = []
    for begin in range(0, len(texts), 64):
        features = model.preprocess(texts[begin : begin + 64])
        rows = zip(features["input_ids"].tolist(), features["attention_mask"].tolist(), strict=True)
        found += [[i for i, seen in zip(ids, mask, strict=True) if seen] for ids, mask in rows]
    return found


def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("source", type=Path)
    parser.add_argument("out")
    parser.add_argument("--model", required=True)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--fields", nargs="+", default=["title", "body"])
    parser.add_argument("--ids-out", type=Path)
    parser.add_argument("--search", type=int)
    parser.add_argument("--candidates", type=int, nargs="*", default=[])
    options = parser.parse_args()
    model = _load(options.model, options.threads)
    began = time.perf_counter()
    records = list(read_jsonl(options.source))
    texts = [text_of(record, options.fields) for record in records]
    if options.search:
        print(json.dumps(_search(model, texts, options)))
        return
    encoding = time.perf_counter()
    vectors = _encode(model, texts, options.batch_size)
    encode_s = time.perf_counter() - encoding
    _write(options.out, records, texts, vectors)
    steady_s = time.perf_counter() - began
    if options.ids_out:
        ids = _token_ids(model, texts)
        lengths = np.array([len(row) for row in ids], np.int64)
        np.savez(options.ids_out, ids=np.concatenate(ids).astype(np.int32), lengths=lengths)
    print(json.dumps({"steady_s": steady_s, "encode_s": encode_s}))


if __name__ == "__main__":
    _main()
