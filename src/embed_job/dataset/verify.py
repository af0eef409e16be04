"""Whether an output is what its manifests say: every file, hash, row, id and vector is read."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from embed_job.commit.commits import PRIVATE, Commits, files_of
from embed_job.commit.duplicates import find_duplicates, repeated_in
from embed_job.dataset import Dataset, vectors_of
from embed_job.ids import Hashes, hash_ids
from embed_job.manifest import DatasetDescriptor, JobManifest, SplitManifest, total
from embed_job.rows import content_hash, output_schema
from embed_job.sink import Part
from embed_job.storage import Store, join, resolve

_BLOCK_BYTES = 1 << 20
_BATCH_ROWS = 4096
_MAX_NAMED = 3


@dataclass(frozen=True, slots=True)
class Check:
    """One question and its answer. detail: what was looked at, or the first things wrong.

    figure: the number that it measures, where it measures one. skipped: it can't be asked there,
    and detail says why; ok then says nothing.
    """

    name: str
    ok: bool
    detail: str
    figure: float | None = None
    skipped: bool = False

    def plain(self) -> dict[str, Any]:
        """As JSON has it; figure and skipped where they say something."""
        said: dict[str, Any] = {"name": self.name, "ok": self.ok, "detail": self.detail}
        if self.figure is not None:
            said["figure"] = self.figure
        return said | ({"skipped": True} if self.skipped else {})


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """All checks, in order."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        return all(check.ok for check in self.checks)


def verify_output(store: Store, uri: str) -> VerifyResult:
    """Read an output from end to end. Memory: a few thousand rows.

    Raises OutputError where the folder is no output at all.
    """
    folder = resolve(uri).rstrip("/")
    commits = Commits(store, folder)
    descriptor = commits.existing()
    found = commits.committed(descriptor.fingerprint)
    job = commits.job()
    live = [found[split] for split in job.splits if split in found] if job else [*found.values()]
    dataset = Dataset(store, folder, descriptor, tuple(live), complete=job is not None)
    checks = (
        _ask("the job is committed", _job(dataset, job), f"{len(live)} splits"),
        _ask("the sums agree", _sums(dataset, job), "read = written + rejected + skipped"),
        _ask("files are what was committed", _files(dataset), "size and sha256 of each part"),
        _ask("rows are as described", _rows(dataset), "schema, fingerprint, ids, texts, origins"),
        _ask("vectors are directions", _vectors(dataset), _described(descriptor)),
        _ask(
            "no id is in two files or splits", _ids(dataset, job), f"{_written(live):,} documents"
        ),
        _ask("nothing else lies there", _strays(dataset), "every part is of a committed split"),
    )
    return VerifyResult(checks)


def _described(dataset: DatasetDescriptor) -> str:
    length = "of length 1" if dataset.normalized else "of no fixed length"
    return f"{dataset.dimension} finite numbers, {length}"


def _ask(name: str, faults: Iterator[str], good: str) -> Check:
    found = []
    for fault in faults:
        found.append(fault)
        if len(found) == _MAX_NAMED:
            break
    return Check(name, not found, "; ".join(found) or good)


def _written(manifests: Sequence[SplitManifest]) -> int:
    return total(manifest.counts for manifest in manifests).documents.written


def _job(dataset: Dataset, job: JobManifest | None) -> Iterator[str]:
    if job is None:
        yield "there is no job manifest: the run is not finished, or not a success"
        return
    there = {manifest.split for manifest in dataset.splits}
    for split in job.splits:
        if split not in there:
            yield f"split {split[:12]} of the job has no manifest"


def _sums(dataset: Dataset, job: JobManifest | None) -> Iterator[str]:
    for manifest in dataset.splits:
        counts = manifest.counts
        if not (counts.documents.balanced and counts.chunks.balanced):
            yield f"split {manifest.split[:12]} does not add up"
        if sum(part.rows for part in manifest.parts) != counts.chunks.written:
            yield f"split {manifest.split[:12]} has other rows than it counted"
    if job and job.counts != total(m.counts for m in dataset.splits):
        yield "the job's counts are not the sum of its splits'"


def _files(dataset: Dataset) -> Iterator[str]:
    for _, part in dataset.parts():
        digest, size = hashlib.sha256(), 0
        try:
            stream = dataset.store.open_range(join(dataset.folder, part.name))
        except FileNotFoundError:
            yield f"{part.name} is missing"
            continue
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
            size += len(block)
        stream.close()
        if size != part.bytes:
            yield f"{part.name} has {size:,} bytes, not {part.bytes:,}"
        elif digest.hexdigest() != part.sha256:
            yield f"{part.name} has another sha256"


def _open(dataset: Dataset, part: Part) -> pq.ParquetFile:
    return pq.ParquetFile(dataset.store.open_seekable(join(dataset.folder, part.name)))


def _rows(dataset: Dataset) -> Iterator[str]:
    for manifest in dataset.splits:
        origins: Counter[str] = Counter()
        yield from _rows_of_split(dataset, manifest, origins)
        rows = sum(part.rows for part in manifest.parts)
        if origins.total() == rows and origins != manifest.origins:
            yield f"split {manifest.split[:12]} has rows of other splits than it says"


def _rows_of_split(
    dataset: Dataset, manifest: SplitManifest, origins: Counter[str]
) -> Iterator[str]:
    """origins: rows by the split that wrote them first are added to it."""
    schema = output_schema(dataset.descriptor)
    for part in manifest.parts:
        try:
            file = _open(dataset, part)
            footer = file.metadata.metadata or {}
            if footer.get(b"embed_job.fingerprint") != manifest.fingerprint.encode():
                yield f"{part.name} has another fingerprint"
            if not file.schema_arrow.equals(schema):
                yield f"{part.name} has another schema"
            elif file.metadata.num_rows != part.rows:
                yield f"{part.name} has {file.metadata.num_rows:,} rows, not {part.rows:,}"
            else:
                origins.update(_origins(file))
                yield from _row_faults(file, part, dataset, _doubled_ids(dataset, manifest))
        except (OSError, ValueError) as error:
            yield f"{part.name} can't be read: {str(error)[:120]}"


def _origins(file: pq.ParquetFile) -> Iterator[str]:
    for batch in file.iter_batches(_BATCH_ROWS, columns=["split"]):
        yield from batch.column("split").to_pylist()


def _doubled_ids(dataset: Dataset, manifest: SplitManifest) -> Hashes:
    """Ids that may stand several times in a part: those that files of one bundle share."""
    none: Hashes = np.empty(0, np.uint64)
    if len(manifest.source.files) == 1:
        return none
    try:
        return repeated_in(dataset.store, dataset.folder, manifest)
    except (OSError, ValueError):
        return none  # the check of the ids tells of it


def _row_faults(
    file: pq.ParquetFile, part: Part, dataset: Dataset, doubled: Hashes
) -> Iterator[str]:
    has_text = dataset.descriptor.text
    columns = ["id", "doc_id", "chunk", "content_hash", *(["text"] if has_text else [])]
    seen: set[str] = set()
    for batch in file.iter_batches(_BATCH_ROWS, columns=columns):
        for row in batch.to_pylist():
            if row["id"] in seen and not np.isin(hash_ids([row["doc_id"]]), doubled)[0]:
                yield f"{part.name} holds the id {row['id'][:60]!r} twice"
            seen.add(row["id"])
            if row["id"] not in (row["doc_id"], f"{row['doc_id']}#{row['chunk']}"):
                yield f"{part.name}: the id {row['id'][:60]!r} is not of its document"
            if has_text and content_hash(row["text"]) != row["content_hash"]:
                yield f"{part.name}: the text of {row['id'][:60]!r} has another hash"


def _vectors(dataset: Dataset) -> Iterator[str]:
    # float16 keeps 11 bits of each number, so a unit vector's length is off by 5e-4 at most.
    tolerance = 1e-4 if dataset.descriptor.vector_type == "float32" else 1e-3
    for _, part in dataset.parts():
        try:
            batches = _open(dataset, part).iter_batches(_BATCH_ROWS, columns=["vector"])
            for batch in batches:
                matrix = vectors_of(batch)
                lengths = np.sqrt(np.einsum("ij,ij->i", matrix, matrix))
                good = np.isfinite(lengths) & (lengths > 0)
                if dataset.descriptor.normalized:
                    good &= np.abs(lengths - 1) <= tolerance
                if not good.all():
                    yield f"{part.name} has vectors that are NaN, zero or of another length than 1"
                    break
        except (OSError, ValueError, KeyError) as error:
            yield f"{part.name} can't be read: {str(error)[:120]}"


def _ids(dataset: Dataset, job: JobManifest | None) -> Iterator[str]:
    if job and job.duplicates_across_splits:
        return  # the run was told to allow them
    try:
        duplicates = find_duplicates(dataset.store, dataset.folder, dataset.splits)
    except (FileNotFoundError, ValueError) as error:
        yield f"can't be told: {str(error)[:120]}"
        return
    for found in duplicates.listed:
        yield f"{found.doc_id[:60]!r} is in {len(found.splits)} files or splits"


def _strays(dataset: Dataset) -> Iterator[str]:
    named = {name for manifest in dataset.splits for name in files_of(manifest)}
    start = len(dataset.folder) + 1
    for file in dataset.store.list(dataset.folder):
        name = file.key[start:]
        if not name.startswith(f"{PRIVATE}/") and name not in named:
            yield f"{name} belongs to no committed split"
