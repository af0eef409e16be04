"""One attempt at one split: its counts, its files, and its commit or the removal of its traces."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from embed_job.admit import reject
from embed_job.ahead import ahead
from embed_job.arrays import save_array
from embed_job.commit.commits import PRIVATE
from embed_job.commit.dead_letters import DeadLetters
from embed_job.ids import SeenIds, hash_ids, without
from embed_job.machine import peak_rss_bytes
from embed_job.manifest import SplitManifest, SplitSource, origin_of
from embed_job.progress.meter import ProgressUpdate
from embed_job.records import Document, Rejection
from embed_job.reuse.carry import CarriedRows, Carrier
from embed_job.reuse.ledger import LedgerWriter, entries_of
from embed_job.reuse.recall import Recall
from embed_job.rows import make_rows
from embed_job.settle import BAD_VECTOR, settle
from embed_job.sink.parquet import ParquetSink
from embed_job.sink.split_rows import SplitRows, Written
from embed_job.storage import join
from embed_job.tally import Stopwatch, Tally

if TYPE_CHECKING:
    from embed_job.batch import EmbeddedWindow, Known
    from embed_job.chunk.window import Window
    from embed_job.job import Toolbox
    from embed_job.source import Split
    from embed_job.source.reader import SplitReader

T = TypeVar("T")


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
        folder = tools.commits.folder
        sink = ParquetSink(
            tools.target,
            folder,
            schema=tools.schema,
            footer=tools.footer | {"embed_job.split": self._identity},
            spool=tools.spool,
            stem=f"part-{self.stem}",
        )
        if tools.earlier is not None:
            self._lookup = tools.earlier.lookup()
        self.rows = SplitRows(
            sink,
            LedgerWriter(tools.spool / f"{self.stem}.ledger"),
            store=tools.target,
            folder=folder,
            ledger_name=f"{PRIVATE}/ledger/{self.stem}.parquet",
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

    def carry(
        self, documents: Iterable[Document], report: Callable[[ProgressUpdate], None]
    ) -> Iterable[Document]:
        """Write the documents that are as they were by their earlier rows; hand on the others."""
        if self._tools.earlier is None:
            return documents

        def carried(taken: CarriedRows) -> None:
            self.rows.write(taken.rows, taken.entries)
            self.tally.carried.add(taken)
            lengths = [document.length or 0 for document in taken.documents]
            report(ProgressUpdate(documents=len(lengths), bytes=sum(lengths)))

        return Carrier(
            self._lookup,
            self._tools.earlier.parts(),
            carried=carried,
            watch=partial(self.watch, "carry"),
        ).unknown(documents)

    def known(self) -> Callable[[Window], Known | None]:
        """Finds the vectors of a window that earlier parts hold."""
        earlier = self._tools.earlier
        return Recall(self._lookup, earlier.parts()).known if earlier else lambda _: None

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
        """Count a window and refuse its bad documents, as of :func:`embed_job.settle.settle`; True
        for each chunk that is to be written."""
        kept, refused = settle(embedded, self.tally)
        for document in refused:
            self.refuse(reject(document, BAD_VECTOR))
            self._late.append(document.doc_id)
        return kept

    def write(self, embedded: EmbeddedWindow[Window], kept: npt.NDArray[np.bool_]) -> None:
        """Write a window's kept chunks."""
        window, origin = embedded.window, origin_of(self._identity)
        rows = make_rows(self._tools.schema, window, embedded.vectors, kept, origin=origin)
        self.rows.write(rows, entries_of(window, kept, rows))

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

    def commit(self) -> SplitManifest | None:
        """Make everything durable, then create the manifest; None where another was first."""
        tools, folder = self._tools, self._tools.commits.folder
        with self.watch("write"):
            written = self.rows.close()
            ids = self._upload_ids(f"{PRIVATE}/ids/{self.stem}.npy")
            letters = self._letters.close(
                tools.target, folder, f"{PRIVATE}/dead-letters/{self.stem}.jsonl"
            )
        manifest = self._manifest(written, ids, letters)
        # A commit that raises is unknown, not failed: what it may name must stay.
        self._settled = True
        if tools.commits.commit(manifest):
            return manifest
        self._withdraw()
        return None

    def _manifest(self, written: Written, ids: str | None, letters: str | None) -> SplitManifest:
        tools, reader = self._tools, self._reader
        return SplitManifest(
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
            parts=written.parts,
            ids=ids,
            ledger=written.ledger,
            origins=written.origins,
            dead_letters=letters,
            worker=tools.worker,
            host=tools.host,
            started_at=self._started_at,
            finished_at=time.time(),
            stages_s=self.watch.times(),
            peak_rss_bytes=peak_rss_bytes(),
        )

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
        self.rows.abort()
        self._letters.abort()
        with contextlib.suppress(Exception):
            for folder, name in (("ids", "npy"), ("dead-letters", "jsonl")):
                self._tools.target.delete(self._tools.commits.key(folder, f"{self.stem}.{name}"))
