"""One way to load vectors, in a process of its own: prints its seconds, processor time and memory.

Every client reads the same rows from the same file; what it makes of them is its own affair, and
is timed, but for the bare loop, which is given bodies that are ready.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import opensearchpy
import orjson
import pyarrow as pa
from opensearchpy.helpers import parallel_bulk

from embed_job.dataset import vectors_of
from embed_job.opensearch.client import connect
from embed_job.opensearch.delivery import Delivery, Domain, SplitRows
from embed_job.opensearch.delivery.chunks import Chunk, Operation, cut
from embed_job.opensearch.delivery.encode import Encoder
from embed_job.opensearch.delivery.send import REPLY_FIELDS
from embed_job.spec.opensearch import OpenSearchOutput

DIMENSION = 384
BATCH_ROWS = 4096
SPLIT = "0123456789abcdef" * 4
WARM_ROWS = 2 * BATCH_ROWS
BULK_MIB = 8


def write_rows(path: Path, *, rows: int) -> None:
    """Random unit vectors with an output's columns, as an Arrow file."""
    schema: pa.Schema | None = None
    rng = np.random.default_rng(5)
    with pa.OSFile(str(path), "wb") as sink:
        writer: Any = None
        for first in range(0, rows, BATCH_ROWS):
            batch = _batch(rng, first, min(BATCH_ROWS, rows - first))
            schema = schema or batch.schema
            writer = writer or pa.ipc.new_file(sink, schema)
            writer.write_batch(batch)
        writer.close()


def _batch(rng: np.random.Generator, first: int, count: int) -> pa.RecordBatch:
    vectors = rng.standard_normal((count, DIMENSION)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = [f"document-{number:09}" for number in range(first, first + count)]
    return pa.record_batch(
        {
            "id": ids,
            "doc_id": ids,
            "chunk": pa.array([0] * count, pa.int32()),
            "char_start": pa.array([0] * count, pa.int64()),
            "char_end": pa.array([500] * count, pa.int64()),
            "n_tokens": pa.array([120] * count, pa.int32()),
            "content_hash": [f"{number:032x}" for number in range(first, first + count)],
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), DIMENSION),
        }
    )


def batches_of(path: Path, rows: int) -> Iterator[pa.RecordBatch]:
    """The first rows of a file, read as they are asked for."""
    with pa.OSFile(str(path), "rb") as stream:
        file = pa.ipc.open_file(stream)
        for number in range(file.num_record_batches):
            if rows <= 0:
                return
            batch = file.get_batch(number).slice(0, rows)
            rows -= batch.num_rows
            yield batch


def _output(options: argparse.Namespace) -> OpenSearchOutput:
    bulk = {"max_mib": BULK_MIB} | ({"max_concurrency": options.threads} if options.threads else {})
    return OpenSearchOutput.model_validate(
        {"url": options.url, "index": options.index, "bulk": bulk}
    )


def ours(options: argparse.Namespace) -> Callable[[int], Any]:
    output = _output(options)
    client = connect(output)

    def load(rows: int) -> dict[str, Any]:
        with Delivery(
            client,
            options.index,
            Domain(output.bulk),
            bulk=output.bulk,
            storage="float32",
            generation=1,
            stopping=lambda: False,
        ) as delivery:
            (done,) = delivery.run([SplitRows(SPLIT, batches_of(options.rows_file, rows))])
            assert (done.read, done.written) == (rows, rows), done
            return {"throttled": delivery.stats.throttled, "peak": delivery.stats.peak_bytes}

    return load


def _chunks(options: argparse.Namespace, rows: int) -> Iterator[Chunk]:
    encoder = Encoder(Domain(_output(options).bulk), "float32", 1)
    batches = batches_of(options.rows_file, rows)
    made = (row for batch in batches for row in encoder.encode(batch))
    return cut(SPLIT, (row for row in made if isinstance(row, Operation)), lambda: BULK_MIB << 20)


def encoding(options: argparse.Namespace) -> Callable[[int], Any]:
    """Makes bodies as ours does and drops them: what one process can make at most."""

    def load(rows: int) -> None:
        assert sum(len(chunk) for chunk in _chunks(options, rows)) == rows

    return load


def bare(options: argparse.Namespace, *, tuned: bool) -> Callable[[int], Any]:
    """Posts bodies that were made before. tuned: with our client and our cut of the reply."""
    client = connect(_output(options)) if tuned else opensearchpy.OpenSearch(options.url)
    made = {
        rows: [(chunk.body, len(chunk)) for chunk in _chunks(options, rows)]
        for rows in (WARM_ROWS, options.rows)
    }
    params = {"filter_path": REPLY_FIELDS} if tuned else {}

    def load(rows: int) -> None:
        for body, count in made[min(rows, options.rows)]:
            reply = client.bulk(body=body, index=options.index, params=dict(params))
            assert not reply["errors"]
            assert len(reply["items"]) == count

    return load


class _Orjson(opensearchpy.JSONSerializer):
    def dumps(self, data: Any) -> Any:
        if isinstance(data, str | bytes):
            return data
        return orjson.dumps(data, option=orjson.OPT_SERIALIZE_NUMPY).decode()


def parallel(options: argparse.Namespace, *, quick: bool) -> Callable[[int], Any]:
    """opensearch-py's own helper. quick: with orjson, which takes numpy's rows as they are, in
    place of its serializer, which wants lists."""
    given = {"serializer": _Orjson()} if quick else {}
    client = opensearchpy.OpenSearch(options.url, pool_maxsize=options.threads, timeout=60, **given)

    def actions(rows: int) -> Iterator[dict[str, Any]]:
        for batch in batches_of(options.rows_file, rows):
            names = batch.schema.names[1:-1]
            columns = [batch.column(name).to_pylist() for name in names]
            matrix = vectors_of(batch)
            vectors = matrix if quick else matrix.tolist()
            for row_id, vector, *values in zip(
                batch.column("id").to_pylist(), vectors, *columns, strict=True
            ):
                source = dict(zip(names, values, strict=True))
                source |= {"split": SPLIT[:16], "vector": vector}
                yield {
                    "_id": row_id,
                    "version": 1,
                    "version_type": "external_gte",
                    "_source": source,
                }

    def load(rows: int) -> None:
        done = parallel_bulk(
            client,
            actions(rows),
            index=options.index,
            thread_count=options.threads,
            queue_size=options.threads,
            chunk_size=options.chunk,
        )
        assert sum(ok for ok, _ in done) == rows

    return load


CLIENTS: dict[str, Callable[[argparse.Namespace], Callable[[int], Any]]] = {
    "ours": ours,
    "encoding": encoding,
    "bare": partial(bare, tuned=True),
    "bare_plain": partial(bare, tuned=False),
    "parallel": partial(parallel, quick=False),
    "parallel_orjson": partial(parallel, quick=True),
}


def _peak_bytes() -> int:
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) << 10
    raise RuntimeError("the system tells no peak memory")


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("client", choices=CLIENTS)
    parser.add_argument("--url", required=True)
    parser.add_argument("--index", required=True)
    parser.add_argument("--rows-file", type=Path, required=True)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--chunk", type=int, default=500)
    options = parser.parse_args()
    load = CLIENTS[options.client](options)
    load(min(WARM_ROWS, options.rows))
    began, began_cpu = time.perf_counter(), time.process_time()
    facts = load(options.rows) or {}
    facts |= {
        "seconds": time.perf_counter() - began,
        "cpu_s": time.process_time() - began_cpu,
        "peak_rss_bytes": _peak_bytes(),
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    _main()
