"""What every peer is given, and what it hands back: JSONL in, ids and vectors as Parquet out.

The peers' programs run in environments of their own, so nothing of the job is imported here.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
MAX_TOKENS = 256


@dataclass(frozen=True, slots=True)
class Task:
    """source: JSONL. out: a Parquet file, or a folder of them in the order of their names.

    model: the folder that the variant reads. cores: how many the program may use.
    """

    source: Path
    out: Path
    model: str
    variant: str
    device: str
    precision: str
    cores: int
    batch_size: int
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A peer that is ready. run: the whole job once, in seconds; what of it was loading still.

    token_ids: what the model is given for each text, padding taken off. close: ends what was
    started, where the process would not end otherwise.
    """

    run: Callable[[Task], Ran]
    token_ids: Callable[[list[str]], Iterable[Sequence[int]]]
    close: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class Ran:
    """Seconds of a job: load_s until the first worker stood ready, steady_s from there."""

    steady_s: float
    load_s: float = 0.0


def main(
    description: str,
    *,
    variants: tuple[str, ...],
    packages: tuple[str, ...],
    load: Callable[[Task], Loaded],
) -> None:
    """The program of a peer. Its last line is a JSON object of what was found.

    packages: distributions whose versions are told. load: imports them, and may take its time.
    """
    options = _arguments(description, variants).parse_args()
    task = _task_of(options)
    began = time.perf_counter()
    loaded = load(task)
    load_s = time.perf_counter() - began
    facts: dict[str, Any] = {"versions": {name: metadata.version(name) for name in packages}}
    if options.candidates:
        rates = _search(loaded, task, options.candidates)
        best = max(rates, key=rates.__getitem__)
        task = replace(task, batch_size=best)
        facts |= {"rates": rates, "batch_size": best}
    ran = loaded.run(task)
    facts |= {"load_s": load_s + ran.load_s, "steady_s": ran.steady_s}
    if options.ids_out:
        _write_ids(options.ids_out, loaded.token_ids(read_texts(task)[1]))
    loaded.close()
    sys.stdout.flush()
    print("\n" + json.dumps(facts))


def in_memory(encode: Callable[[list[str], int], Any]) -> Callable[[Task], Ran]:
    """The job of a library: read all, encode all, write all. encode: texts and batch size to
    vectors [texts, dimension], in order."""

    def run(task: Task) -> Ran:
        began = time.perf_counter()
        ids, texts = read_texts(task)
        write(task.out, ids, encode(texts, task.batch_size))
        return Ran(time.perf_counter() - began)

    return run


def longest_first(
    encode: Callable[[list[str]], Any],
) -> Callable[[list[str]], Vectors]:
    """Give texts sorted by length, for a library that pads and does not sort; undone after."""

    def sorted_encode(texts: list[str]) -> Vectors:
        order = sorted(range(len(texts)), key=lambda at: -len(texts[at]))
        found = np.asarray(encode([texts[at] for at in order]), np.float32)
        vectors = np.empty_like(found)
        vectors[order] = found
        return vectors

    return sorted_encode


def read_texts(task: Task) -> tuple[list[str], list[str]]:
    """Ids and texts of all documents, in their order."""
    with task.source.open(encoding="utf-8") as stream:
        records = [json.loads(line) for line in stream]
    return [record["id"] for record in records], [
        text_of(record, task.fields) for record in records
    ]


def text_of(record: dict[str, str], fields: Iterable[str]) -> str:
    """The text of a record as the job makes it: fields joined by a line break."""
    return "\n".join(record[field] for field in fields)


def write(path: Path, ids: list[str], vectors: Any) -> None:
    """The columns id and vector, encoded as the job encodes them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = np.ascontiguousarray(vectors, np.float32)
    kind = pa.list_(pa.field("element", pa.float32(), nullable=False), rows.shape[1])
    column = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), type=kind)
    pq.write_table(
        pa.table({"id": pa.array(ids), "vector": column}),
        path,
        compression="zstd",
        compression_level=1,
        use_dictionary=False,
        column_encoding={"vector.list.element": "BYTE_STREAM_SPLIT"},
    )


def _search(loaded: Loaded, task: Task, candidates: list[int]) -> dict[int, float]:
    """Documents/s of each batch size over the source, best of two; the first touches go before."""
    documents = len(read_texts(task)[0])
    loaded.run(replace(task, batch_size=candidates[0]))
    rates = dict.fromkeys(candidates, 0.0)
    for _ in range(2):
        for size in candidates:
            seconds = loaded.run(replace(task, batch_size=size)).steady_s
            rates[size] = max(rates[size], documents / seconds)
    return rates


def _write_ids(path: Path, found: Iterable[Sequence[int]]) -> None:
    rows = [np.asarray(row, np.int32) for row in found]
    np.savez(path, ids=np.concatenate(rows), lengths=np.array([len(row) for row in rows], np.int64))


def _arguments(description: str, variants: tuple[str, ...]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("source", type=Path, help="JSONL")
    parser.add_argument("out", type=Path, help="Parquet: a file, or a folder")
    parser.add_argument("--model", required=True, help="the model's folder")
    parser.add_argument("--variant", choices=variants, default=variants[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", choices=["fp32", "fp16"], default="fp32")
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--fields", nargs="+", default=["title", "body"])
    parser.add_argument("--candidates", type=int, nargs="+", help="batch sizes to try beforehand")
    parser.add_argument("--ids-out", type=Path, help="leave the token ids there (.npz), untimed")
    return parser


def _task_of(options: argparse.Namespace) -> Task:
    return Task(
        source=options.source.resolve(),
        out=options.out.resolve(),
        model=options.model,
        variant=options.variant,
        device=options.device,
        precision=options.precision,
        cores=options.cores,
        batch_size=options.batch_size,
        fields=tuple(options.fields),
    )
