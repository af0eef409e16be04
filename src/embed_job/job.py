"""The whole data path of one split, top to bottom of one function:

read → refuse, dedupe → carry → chunk + tokenize ⇢ recall → batch by tokens → embed ⇢ write → commit

What earlier runs have embedded is taken over: a document that is as it was is carried with its
rows, a text that is known recalls its vector. At each ⇢ one thread may hand windows to the next,
one ahead; without a GPU it is all one thread.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa

from embed_job.admit import Admission, Exclusion
from embed_job.attempt import Attempt
from embed_job.batch import embed_windows
from embed_job.chunk.chunker import MIN_WINDOW_CHUNKS, Chunker
from embed_job.chunk.window import Window
from embed_job.commit.commits import Commits
from embed_job.engine import Engine
from embed_job.manifest import DatasetDescriptor, SplitManifest
from embed_job.progress.meter import ProgressUpdate
from embed_job.records import Document
from embed_job.reuse.earlier import Earlier
from embed_job.source import Split
from embed_job.source.reader import SplitReader
from embed_job.spec import JobSpec
from embed_job.storage import Store


@dataclass(frozen=True, slots=True)
class Toolbox:
    """What a worker holds for all its splits: the loaded model, the stores, the job.

    earlier: what earlier runs of this output have embedded; None where nothing is to be taken over.
    overlap: whether reading, embedding and writing go on at the same time, in three threads.
    """

    spec: JobSpec
    dataset: DatasetDescriptor
    schema: pa.Schema
    footer: dict[str, str]
    source: Store
    target: Store
    commits: Commits
    chunker: Chunker
    engine: Engine
    spool: Path
    host: str
    worker: int
    earlier: Earlier | None = None
    overlap: bool = False

    def windows(self, documents: Iterable[Document]) -> Iterator[Window]:
        """Documents as chunks with their tokens, in windows as large as serves the engine."""
        return self.chunker.iter_windows(
            documents,
            window_bytes=int(self.spec.execution.window_mib * (1 << 20)),
            window_chunks=max(MIN_WINDOW_CHUNKS, self.engine.batch_tokens // 4),
        )


def embed_split(
    split: Split,
    tools: Toolbox,
    *,
    exclude: Mapping[int, Exclusion],
    report: Callable[[ProgressUpdate], None],
) -> SplitManifest | None:
    """Read, embed, write and commit one split; None where another attempt committed it first.

    exclude: documents, by ordinal, that go to the dead letters unembedded. Guarantee: either the
    manifest is committed and everything it names is durable, or nothing of this attempt counts.
    """
    spec = tools.spec
    with Attempt(split, tools, nonce=secrets.token_hex(6)) as attempt:
        admission = Admission(
            policy=spec.input.on_duplicate_id,
            read=lambda: attempt.reading(
                SplitReader(tools.source, split, spec.input, tools.dataset.columns)
            ),
            exclude=exclude,
            refuse=attempt.refuse,
            tally=attempt.tally,
            watch=attempt.watch,
            seen=attempt.seen,
        )
        embed = partial(
            embed_windows,
            engine=tools.engine,
            batch_tokens=spec.execution.batch_tokens,
            on_batch=lambda tokens: report(ProgressUpdate(tokens=tokens)),
            known=attempt.known(),
        )
        changed = attempt.carry(admission.documents(), report)
        with (
            attempt.stage("tokenize", tools.windows(changed)) as windows,
            attempt.stage("embed", embed(windows)) as embedded,
        ):
            for done in embedded:
                kept = attempt.settle(done)
                with attempt.watch("write"):
                    attempt.write(done, kept)
                report(attempt.progress(done.window))
        return attempt.commit()


def probe_split(
    split: Split,
    tools: Toolbox,
    *,
    exclude: Mapping[int, Exclusion],
    chosen: range,
    report: Callable[[ProgressUpdate], None],
) -> int:
    """Read a split, and embed the chosen ordinals of it for nothing but to see whether that kills.

    Returns the number of the split's records. report: told of each batch, as one that embeds half
    a split in silence would be taken for one that hangs.
    """
    spec, records = tools.spec, 0

    def documents() -> Iterator[Document]:
        nonlocal records
        for record in SplitReader(tools.source, split, spec.input, tools.dataset.columns):
            records += 1
            if (
                isinstance(record, Document)
                and record.ordinal in chosen
                and record.ordinal not in exclude
            ):
                yield record

    for _ in embed_windows(
        tools.windows(documents()),
        tools.engine,
        batch_tokens=spec.execution.batch_tokens,
        on_batch=lambda tokens: report(ProgressUpdate(tokens=tokens)),
    ):
        pass
    return records
