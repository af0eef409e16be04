"""Small corpora, and their Parquet outputs made by the real pipeline with the engine "null".

All of one lies in one folder: in/ (a file a split), bundle/, out/ (the output), job.yaml.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from embed_job.bundle.build import build_bundle
from embed_job.dataset import open_dataset
from embed_job.errors import ExitCode
from embed_job.progress import SilentProgress
from embed_job.run import run_job
from embed_job.spec import JobSpec
from embed_job.storage import store_for
from tests import tiny_models

METADATA = {
    "language": "string",
    "pages": "int64",
    "score": "float64",
    "free": "bool",
    "at": "timestamp",
}
_WORDS = "the quick brown fox jumps over lazy dog how read zip file with library of lighthouse"


def document(number: int, *, edition: str = "") -> dict[str, Any]:
    """A document of one chunk: id d000000 and so on, a text that no other number has.

    edition: put before the text, to have another text under the same id. Every seventh document
    lacks the metadata.
    """
    words = _WORDS.split()
    places = [number // len(words) ** place % len(words) for place in range(4)]
    text = " ".join(words[place] for place in places)
    known = {
        "language": ("en", "de", "fr")[number % 3],
        "pages": number,
        "score": number / 7,
        "free": number % 2 == 0,
        "at": f"2026-01-{number % 28 + 1:02}T00:00:00Z",
    }
    return {"id": row_id(number), "text": f"{edition}{text}."} | (known if number % 7 else {})


def row_id(number: int) -> str:
    return f"d{number:06}"


def make_output(folder: Path, *, rows: int = 200, dim: int = 32, splits: int = 4) -> Path:
    """A committed output of exactly so many rows, one a document; its folder, `folder`/out."""
    write_corpus(folder, rows=rows, splits=splits)
    make_bundle(folder, dim=dim)
    return embed(folder)


def write_corpus(folder: Path, *, rows: int, splits: int, edition: str = "") -> None:
    """The input of :func:`make_output`; splits that are not among them stay as they are."""
    size = -(-rows // splits)
    for split in range(splits):
        numbers = range(split * size, min(rows, (split + 1) * size))
        write_split(folder, split, (document(number, edition=edition) for number in numbers))


def write_split(folder: Path, split: int, documents: Iterable[dict[str, Any]]) -> None:
    """One file of the input."""
    path = folder / "in" / f"{split:03}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(orjson.dumps(one) + b"\n" for one in documents))


def make_bundle(folder: Path, *, dim: int, seed: int = 7) -> None:
    """A model of random weights whose vectors have `dim` numbers."""
    model = folder / f"model-{dim}-{seed}"
    dense = None if dim == tiny_models.HIDDEN else dim
    tiny_models.write_model(model, dense=dense, seed=seed)
    shutil.rmtree(folder / "bundle", ignore_errors=True)
    build_bundle(str(model), folder / "bundle")


def embed(folder: Path) -> Path:
    """Run the job over the input as it is now; its output's folder."""
    spec = JobSpec.model_validate(_plain(folder))
    result = run_job(spec, progress=SilentProgress(), report_dir=folder / "report")
    assert result.exit_code is ExitCode.OK, result.report.problems
    return folder / "out"


def spec_for(folder: Path, url: str, **options: Any) -> JobSpec:
    """A spec of both outputs. options: the OpenSearch output's, over those that suit a test's
    server of one node; one of them must be alias or index. refresh: the spec's own."""
    return JobSpec.model_validate(_with_index(folder, url, options))


def spec_file(folder: Path, url: str, **options: Any) -> Path:
    """What :func:`spec_for` gives, as a file for the command line."""
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(_with_index(folder, url, options)))
    return path


def rows_of(output: Path) -> Iterator[dict[str, Any]]:
    """Every row of an output as the manifests tell; vector: a float32 array."""
    dataset = open_dataset(store_for(str(output)), str(output))
    for batch in dataset.iter_rows():
        vectors = np.stack(batch.column("vector").to_numpy(zero_copy_only=False))
        plain = pa.RecordBatch.from_arrays(
            [batch.column(name) for name in batch.schema.names if name != "vector"],
            names=[name for name in batch.schema.names if name != "vector"],
        )
        for row, vector in zip(plain.to_pylist(), vectors, strict=True):
            yield {**row, "vector": vector}


def damage_row(folder: Path, row: str, **values: Any) -> None:
    """Give a row of the output other values, as a bad engine or disk would, and its manifest the
    sums of the changed file."""
    for path in sorted((folder / "out/_embed_job/manifests").glob("*.json")):
        manifest = orjson.loads(path.read_bytes())
        for part in manifest["parts"]:
            file = folder / "out" / part["name"]
            if _damage(file, row, values):
                part["bytes"] = file.stat().st_size
                part["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
        path.write_bytes(orjson.dumps(manifest))


def _damage(file: Path, row: str, values: dict[str, Any]) -> bool:
    """Whether the file holds the row."""
    table = pq.read_table(file)
    ids = table.column("id").to_pylist()
    if row not in ids:
        return False
    for name, value in values.items():
        at, column, field = ids.index(row), table.column(name), table.schema.field(name)
        chunks = [*column[:at].chunks, pa.array([value], field.type), *column[at + 1 :].chunks]
        place = table.schema.get_field_index(name)
        table = table.set_column(place, field, pa.chunked_array(chunks, field.type))
    pq.write_table(table, file)
    return True


def _plain(folder: Path) -> dict[str, Any]:
    return {
        "name": "test",
        "input": {"uri": str(folder / "in"), "fields": {"metadata": METADATA}},
        "model": {"bundle": str(folder / "bundle"), "engine": "null"},
        "outputs": [{"parquet": {"uri": str(folder / "out"), "text": True}}],
        "execution": {"workers": 1},
        # What an index may lose is what tests of it set; the output may lose anything.
        "refresh": {"max_delete_fraction": 1},
    }


def _with_index(folder: Path, url: str, options: dict[str, Any]) -> dict[str, Any]:
    spec = _plain(folder)
    # A single node has no place for a replica; the tests' k-NN has no faiss.
    index = {"url": url, "graph": {"engine": "lucene"}, "replicas": 0} | options
    spec["refresh"] = index.pop("refresh", {})
    spec["outputs"].append({"opensearch": index})
    return spec
