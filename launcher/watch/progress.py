"""How far a job is, from what it has committed: manifests alone are counted."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

import pydantic

from embed_job.commit.commits import Commits
from embed_job.fleet.order import ORDER_FILE, JobOrder
from embed_job.manifest import SplitManifest
from embed_job.storage import Store, join

MAX_LISTED = 100_000
MAX_READ = 2_000
"""Manifests read a time; the next look goes on from there."""
_PARALLEL_READS = 16


@dataclass(frozen=True, slots=True)
class JobProgress:
    """Sums over the output's manifests, those of earlier runs included.

    splits: committed; `listed_all` is False where there are more than were listed. read: of these,
    the manifests that the other sums are over. of_bytes: the input's, None where no order says.
    hosts_done: hosts that have finished their share.
    """

    splits: int
    listed_all: bool
    read: int
    bytes: int
    of_bytes: int | None
    documents: int
    rejected: int
    hosts_done: int

    def shown(self) -> str:
        """One line."""
        more = "" if self.listed_all else "more than "
        parts = [f"{more}{self.splits:,} splits committed"]
        if self.of_bytes:
            partial = "at least " if self.read < self.splits else ""
            share = min(1.0, self.bytes / self.of_bytes)
            parts.append(f"{partial}{share:.0%} of {self.of_bytes / 2**20:,.0f} MiB")
        parts.append(f"{self.documents:,} documents")
        if self.rejected:
            parts.append(f"{self.rejected:,} rejected")
        if self.hosts_done:
            parts.append(f"{self.hosts_done} hosts done")
        return ", ".join(parts)


@dataclass(slots=True)
class ProgressReader:
    """Reads the manifests of one job's output, each of them once.

    prefix: the job's own folder. Memory: some bytes a manifest seen.
    """

    store: Store
    output: str
    prefix: str
    _order: JobOrder | None = None
    _seen: set[int] = field(default_factory=set)
    _bytes: int = 0
    _documents: int = 0
    _rejected: int = 0

    def look(self) -> JobProgress:
        """The sums as of now. Raises what the store raises."""
        keys = list(
            islice(self._keys(Commits(self.store, self.output).key("manifests")), MAX_LISTED)
        )
        fresh = [key for key in keys if hash(key) not in self._seen][:MAX_READ]
        with ThreadPoolExecutor(_PARALLEL_READS) as pool:
            for key, manifest in zip(fresh, pool.map(self._manifest, fresh), strict=True):
                if manifest is not None:
                    self._add(key, manifest)
        order = self._read_order()
        return JobProgress(
            splits=len(keys),
            listed_all=len(keys) < MAX_LISTED,
            read=len(self._seen),
            bytes=self._bytes,
            of_bytes=order.bytes if order and order.listed else None,
            documents=self._documents,
            rejected=self._rejected,
            hosts_done=sum(1 for _ in self._keys(join(self.prefix, "hosts"))),
        )

    def _add(self, key: str, manifest: SplitManifest) -> None:
        self._seen.add(hash(key))
        self._bytes += manifest.source.bytes
        self._documents += manifest.counts.documents.written
        self._rejected += manifest.counts.documents.rejected

    def _manifest(self, key: str) -> SplitManifest | None:
        """None: it went away meanwhile, or is of another version, which finalize will tell."""
        try:
            return SplitManifest.model_validate_json(self.store.read(key))
        except (FileNotFoundError, pydantic.ValidationError):
            return None

    def _read_order(self) -> JobOrder | None:
        if self._order is None:
            try:
                raw = self.store.read(join(self.prefix, "input", ORDER_FILE))
                self._order = JobOrder.model_validate_json(raw)
            except (FileNotFoundError, pydantic.ValidationError):
                return None
        return self._order

    def _keys(self, folder: str) -> Iterator[str]:
        try:
            for file in self.store.list(folder):
                if file.key.endswith(".json"):
                    yield file.key
        except FileNotFoundError:
            return
