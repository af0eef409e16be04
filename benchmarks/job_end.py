"""The end of a large job by the real code: manifests and ids of a store in memory, a process of
its own. ``python -m benchmarks.job_end SPLITS IDS_A_SPLIT`` prints what it took as JSON."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from benchmarks.results import ROOT
from embed_job.commit.commits import Commits, encode_record
from embed_job.commit.lease import Holder, Lease, Rhythm
from embed_job.fleet.finalize import WholeJob
from embed_job.fleet.order import JobOrder
from embed_job.fleet.records import JobFolder, PlanRecord
from embed_job.machine import peak_rss_bytes
from embed_job.manifest import (
    Counts,
    DatasetDescriptor,
    SplitCounts,
    SplitManifest,
    SplitSource,
    StageTimes,
)
from embed_job.sink import Part
from embed_job.spec import JobSpec
from embed_job.storage import ByteStream, StoredFile, Tagged

FOLDER = "s3://bucket/out"
_SPLIT_BYTES = 16 << 20
_FINGERPRINT = "0" * 64


@dataclass(frozen=True, slots=True)
class Ended:
    """What the end of a job took: processor seconds, peak bytes and bytes read or written, of the
    process that ends it. judged_s is all of it but for the making of the store."""

    splits: int
    ids: int
    judged_s: float
    peak_rss_bytes: int
    manifest_bytes: int
    report_bytes: int
    html_bytes: int


class MemoryStore:
    """A :class:`embed_job.storage.Store`; ids are made when they are read: as many of a split as
    its documents, ascending, none of them twice."""

    def __init__(self, *, ids: int) -> None:
        self.files: dict[str, bytes] = {}
        self.sizes: dict[str, int] = {}
        self._ids = ids

    def list(self, prefix: str) -> Iterator[StoredFile]:
        below = f"{prefix.rstrip('/')}/"
        for key in sorted(key for key in [*self.files, *self.sizes] if key.startswith(below)):
            yield self.stat(key)

    def stat(self, key: str) -> StoredFile:
        size = self.sizes[key] if key in self.sizes else len(self.files[key])
        return StoredFile(key, size, "0")

    def read(self, key: str) -> bytes:
        if key.endswith(".npy"):
            return self._made(key)
        try:
            return self.files[key]
        except KeyError:
            raise FileNotFoundError(key) from None

    def _made(self, key: str) -> bytes:
        seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8])
        drawn = np.random.default_rng(seed).integers(0, 1 << 63, self._ids, np.uint64) << np.uint64(
            1
        )
        stream = io.BytesIO()
        np.save(stream, np.sort(drawn))
        return stream.getvalue()

    def create(self, key: str, data: bytes) -> bool:
        return self.files.setdefault(key, data) == data

    def read_tagged(self, key: str) -> Tagged:
        data = self.read(key)
        return Tagged(data, hashlib.sha256(data).hexdigest())

    def swap(self, key: str, data: bytes, *, tag: str | None) -> bool:
        if tag is None:
            return self.create(key, data)
        if key not in self.files or self.read_tagged(key).tag != tag:
            return False
        self.files[key] = data
        return True

    def replace(self, key: str, data: bytes) -> None:
        self.files[key] = data

    def move(self, source: str, target: str) -> None:
        self.files[target] = self.files.pop(source)

    def delete(self, key: str) -> None:
        self.files.pop(key, None)

    def upload(self, path: Path, key: str) -> None:
        self.files[key] = path.read_bytes()

    def open_range(
        self, key: str, start: int = 0, end: int | None = None, *, etag: str | None = None
    ) -> ByteStream:
        del etag
        return io.BytesIO(self.files[key][start:end])

    def open_seekable(self, key: str, *, etag: str | None = None) -> BinaryIO:
        del etag
        return io.BytesIO(self.files[key])


def _spec() -> JobSpec:
    return JobSpec.model_validate(
        {
            "name": "large",
            "input": {"uri": "s3://bucket/in"},
            "outputs": [{"parquet": {"uri": FOLDER}}],
            "compute": {"sharing": "balanced"},
        }
    )


def _manifest(number: int, ids: int) -> SplitManifest:
    split = hashlib.sha256(str(number).encode()).hexdigest()
    stem = f"{split[:16]}-{split[16:28]}"
    counts = Counts(read=ids, written=ids)
    file = (f"part-{number // 16:06}.jsonl", "etag:" + split[:32])
    start = number % 16 * _SPLIT_BYTES
    return SplitManifest(
        split=split,
        attempt=split[16:28],
        fingerprint=_FINGERPRINT,
        source=SplitSource(
            files=(file,), start=start, end=start + _SPLIT_BYTES, bytes=_SPLIT_BYTES
        ),
        counts=SplitCounts(documents=counts, chunks=counts, lines=ids, tokens=90 * ids),
        parts=(Part(name=f"part-{stem}-000.parquet", rows=ids, bytes=ids * 1600, sha256=split),),
        ids=f"_embed_job/ids/{stem}.npy",
        dead_letters=None,
        worker=0,
        host=f"algo-{number % 100}",
        started_at=number,
        finished_at=number + 10,
        stages_s=StageTimes(),
        peak_rss_bytes=1,
    )


def _committed(splits: int, ids: int) -> tuple[MemoryStore, JobOrder]:
    """A store in which every split of a job is committed."""
    store, spec = MemoryStore(ids=ids), _spec()
    commits, room = Commits(store, FOLDER), JobFolder(store, FOLDER, "job")
    descriptor = DatasetDescriptor(
        name="large", input_uri="s3://bucket/in", fingerprint=_FINGERPRINT, model_fingerprint="",
        bundle="", engine="null", precision="fp32", prompt="", dimension=384, normalized=True,
        max_tokens=256, vector_type="float32", text=False, columns={}, created_at=0.0,
    )  # fmt: skip
    store.create(commits.key("dataset.json"), encode_record(descriptor))
    names = []
    for number in range(splits):
        manifest = _manifest(number, ids)
        commits.commit(manifest)
        names.append(manifest.split)
        (part,) = manifest.parts
        store.sizes[f"{FOLDER}/{part.name}"] = part.bytes
        store.sizes[f"{FOLDER}/{manifest.ids}"] = 8 * ids
        store.create(room.key("claims", f"{manifest.split}.001"), b"")
    room.agree(PlanRecord(planned=tuple(sorted(names)), without_splits=()))
    order = JobOrder(
        program_version="benchmark", spec=spec, listed=True, files=-(-splits // 16), created_at=0.0
    )
    return store, order


def end(splits: int, ids: int) -> Ended:
    """Commit a job of so many splits and ids, in this process."""
    store, order = _committed(splits, ids)
    held = sum(len(data) for key, data in store.files.items() if "/manifests/" in key)
    began = time.process_time()
    commits = Commits(store, FOLDER)
    lease = Lease(commits, Holder("job", "benchmark", alone=True), rhythm=Rhythm())
    lease.take()
    with lease:
        whole = WholeJob(JobFolder(store, FOLDER, "job"), commits, order, None)
        ended = whole.end(lease, by="benchmark")
    judged_s = time.process_time() - began
    assert not ended.verdict.problems, ended.verdict.problems
    room = JobFolder(store, FOLDER, "job")
    return Ended(
        splits=splits,
        ids=splits * ids,
        judged_s=judged_s,
        peak_rss_bytes=peak_rss_bytes(),
        manifest_bytes=held,
        report_bytes=len(store.files[room.key("report.json")]),
        html_bytes=len(store.files[room.key("report.html")]),
    )


def end_apart(splits: int, ids: int) -> Ended:
    """The same in a process of its own, so that its peak is the end's."""
    command = [sys.executable, "-m", "benchmarks.job_end", str(splits), str(ids)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return Ended(**json.loads(done.stdout))


if __name__ == "__main__":
    found = end(int(sys.argv[1]), int(sys.argv[2]))
    print(json.dumps({name: getattr(found, name) for name in Ended.__dataclass_fields__}))
