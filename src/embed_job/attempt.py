"""One attempt at one split: its counts, its files, and its commit or the removal of its traces."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from embed_job.admit import Exclusion, reject
from embed_job.ahead import ahead
from embed_job.arrays import save_array
from embed_job.commit.commits import PRIVATE
from embed_job.commit.dead_letters import DeadLetters
from embed_job.ids import SeenIds, hash_ids, without
from embed_job.machine import peak_rss_bytes
from embed_job.manifest import SplitManifest, SplitSource
from embed_job.progress.meter import ProgressUpdate
from embed_job.records import Reason, Rejection, Stage
from embed_job.sink.parquet import ParquetSink
from embed_job.storage import join
from embed_job.tally import Stopwatch, Tally

if TYPE_CHECKING:
    from embed_job.batch import EmbeddedWindow
    from embed_job.chunk.window import Window
    from embed_job.job import Toolbox
    from embed_job.source import Split
    from embed_job.source.reader import SplitReader

T = TypeVar("T")


class RefusedError(Exception):
    """A document turned out bad after part of it was written; begin again without it."""

    def __init__(self, ordinal: int, exclusion: Exclusion) -> None:
        super().__init__(f"document {ordinal}: {exclusion.detail}")
        self.ordinal = ordinal
        self.exclusion = exclusion


class Attempt:
    """Context manager: whatever ends it other than ``commit``, its files are taken away again."""

    def __init__(self, split: Split, tools: Toolbox, *, nonce: str) -> None:
        self._split = split
        self._tools = tools
        self._nonce = nonce
        self._started_at = time.time()
        self._identity = split.identity(tools.dataset.fingerprint)
        self.stem = f"{self._identity[:16]}-{nonce}"
        self.tally = Tally()
        self.watch = Stopwatch()
        self.seen = SeenIds()
        self._refusing = threading.Lock()
        self._late: list[str] = []
        self._reader: SplitReader | None = None
        self._settled = False
        self._reported = ProgressUpdate()

    def __enter__(self) -> Attempt:
        tools = self._tools
        self._letters = DeadLetters(
            tools.spool / f"{self.stem}.jsonl", self._split.files, input_uri=tools.dataset.input_uri
        )
        self.sink = ParquetSink(
            tools.target,
            tools.commits.folder,
            schema=tools.schema,
            footer=tools.footer | {"embed_job.split": self._identity},
            spool=tools.spool,
            stem=f"part-{self.stem}",
        )
        return self

    def __exit__(self, *_: object) -> None:
        if not self._settled:
            self._withdraw()

    def reading(self, reader: SplitReader) -> SplitReader:
        """Note the reader whose counts are this attempt's."""
        self._reader = reader
        return reader

    def refuse(self, rejection: Rejection) -> None:
        """Count a record out and keep its dead letter. Safe from several threads."""
        with self._refusing:
            self.tally.reject(rejection)
            self._letters.add(rejection)

    def stage(self, name: str, items: Iterable[T]) -> AbstractContextManager[Iterator[T]]:
        """The same items, each made in that stage's time less that of the stages inside it; in a
        thread of its own, one item ahead, where the worker's stages overlap."""
        depth = 1 if self._tools.overlap else 0
        waiting = partial(self.watch, "wait")
        return ahead(self._timed(name, items), depth=depth, waiting=waiting)

    def _timed(self, name: str, items: Iterable[T]) -> Generator[T, None, None]:
        iterator = iter(items)
        while True:
            with self.watch(name):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item

    def settle(self, embedded: EmbeddedWindow[Window]) -> npt.NDArray[np.bool_]:
        """Count a window's chunks and documents; True for each chunk that is to be written.

        A document with a vector that is no direction (NaN, infinity, norm zero) is refused
        whole. Raises RefusedError where part of it stands in another window.
        """
        window, vectors = embedded.window, embedded.vectors
        squares = np.einsum("ij,ij->i", vectors, vectors)
        bad = ~(np.isfinite(squares) & (squares > 0))
        tally = self.tally
        tally.embedded_tokens += embedded.embedded_tokens
        tally.padded_tokens += embedded.padded_tokens
        tally.chunks_read += len(window.chunks)
        tally.tokens += len(window.tokens.ids)
        kept = np.ones(len(window.chunks), dtype=np.bool_)
        refused: frozenset[int] = frozenset()
        if bad.any():
            refused = frozenset(window.chunks[i].document for i in np.flatnonzero(bad))
            kept = np.array([chunk.document not in refused for chunk in window.chunks])
            self._refuse_late(window, refused)
        written = int(kept.sum())
        tally.chunks_written += written
        tally.chunks_rejected += len(kept) - written
        finished = window.finished
        if refused:
            finished = [end for end in finished if end.document not in refused]
        truncated = [end.truncated_tokens for end in finished if end.truncated_tokens]
        tally.documents_written += len(finished)
        tally.truncated_tokens += sum(truncated)
        tally.truncated_documents += len(truncated)
        return kept

    def progress(self, window: Window) -> ProgressUpdate:
        """What this window has brought to an end since the last one."""
        tally = self.tally
        with self._refusing:
            rejected = tally.rejected.total()
        done = tally.documents_written + tally.documents_skipped + rejected
        step = ProgressUpdate(
            documents=done - self._reported.documents,
            rejected=rejected - self._reported.rejected,
            bytes=sum([window.documents[end.document].length or 0 for end in window.finished]),
        )
        self._reported = ProgressUpdate(documents=done, rejected=rejected)
        return step

    def _refuse_late(self, window: Window, refused: frozenset[int]) -> None:
        chunks_here: dict[int, int] = {}
        for chunk in window.chunks:
            chunks_here[chunk.document] = chunks_here.get(chunk.document, 0) + 1
        whole = {
            end.document for end in window.finished if chunks_here.get(end.document) == end.chunks
        }
        why = Exclusion(Reason.BAD_VECTOR, Stage.EMBED, "a vector is NaN, infinite or zero")
        for index in sorted(refused):
            document = window.documents[index]
            if index not in whole:
                raise RefusedError(document.ordinal, why)
            self.refuse(reject(document, why))
            self._late.append(document.doc_id)

    def commit(self) -> SplitManifest | None:
        """Make everything durable, then create the manifest; None where another was first."""
        tools, folder = self._tools, self._tools.commits.folder
        with self.watch("write"):
            parts = self.sink.close()
            ids = self._upload_ids(f"{PRIVATE}/ids/{self.stem}.npy")
            letters = self._letters.close(
                tools.target, folder, f"{PRIVATE}/dead-letters/{self.stem}.jsonl"
            )
        reader = self._reader
        manifest = SplitManifest(
            split=self._identity,
            attempt=self._nonce,
            fingerprint=tools.dataset.fingerprint,
            source=SplitSource(
                files=tuple((file.name, file.version) for file in self._split.files),
                start=self._split.start,
                end=self._split.end,
                bytes=self._split.bytes,
            ),
            counts=self.tally.counts(
                lines=reader.lines if reader else 0,
                absent_fields=reader.absent_fields if reader else {},
            ),
            parts=tuple(parts),
            ids=ids,
            dead_letters=letters,
            worker=tools.worker,
            host=tools.host,
            started_at=self._started_at,
            finished_at=time.time(),
            stages_s=self.watch.times(),
            peak_rss_bytes=peak_rss_bytes(),
        )
        # A commit that raises is unknown, not failed: what it may name must stay.
        self._settled = True
        if tools.commits.commit(manifest):
            return manifest
        self._withdraw()
        return None

    def _upload_ids(self, name: str) -> str | None:
        hashes = self.seen.sorted()
        if self._late:
            hashes = without(hashes, hash_ids(self._late))
        if not len(hashes):
            return None
        path = self._tools.spool / f"{self.stem}.npy"
        save_array(path, hashes)
        self._tools.target.upload(path, join(self._tools.commits.folder, name))
        return name

    def _withdraw(self) -> None:
        """Take away what was uploaded; what can't be reached is an orphan that nobody reads."""
        self.sink.abort()
        self._letters.abort()
        with contextlib.suppress(Exception):
            for folder, name in (("ids", "npy"), ("dead-letters", "jsonl")):
                self._tools.target.delete(self._tools.commits.key(folder, f"{self.stem}.{name}"))
