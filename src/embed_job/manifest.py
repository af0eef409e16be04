"""What is committed: one manifest a split, and the job manifest over all of them.

A manifest is created only where none is (``If-None-Match: *``), after everything it names is
durable. Readers trust manifests alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from embed_job.sink import Part
from embed_job.source.metadata import ConcreteType

FORMAT_VERSION: Literal[2] = 2
"""2: rows tell of the split that wrote them first; a record of another version is refused."""

_ORIGIN_CHARS = 16


def origin_of(split: str) -> str:
    """How rows name the split that wrote them first: the beginning of its identity."""
    return split[:_ORIGIN_CHARS]


class Record(BaseModel):
    """A part of a manifest: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Counts(Record):
    """What became of the documents, or chunks, that were read."""

    read: int = 0
    written: int = 0
    rejected: int = 0
    skipped: int = 0

    @property
    def balanced(self) -> bool:
        """The identity: read = written + rejected + skipped."""
        return self.read == self.written + self.rejected + self.skipped

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            read=self.read + other.read,
            written=self.written + other.written,
            rejected=self.rejected + other.rejected,
            skipped=self.skipped + other.skipped,
        )


class StageTimes(Record):
    """Seconds of a worker by stage; wait is what none of the others explains.

    carry: documents that are as they were, found in earlier parts and copied.
    Where stages overlap (on a GPU, or above one thread) they add up to more than the time that
    passed, and wait is that of the writing thread.
    """

    read: float = 0.0
    carry: float = 0.0
    tokenize: float = 0.0
    embed: float = 0.0
    write: float = 0.0
    wait: float = 0.0

    def __add__(self, other: StageTimes) -> StageTimes:
        return StageTimes(
            read=self.read + other.read,
            carry=self.carry + other.carry,
            tokenize=self.tokenize + other.tokenize,
            embed=self.embed + other.embed,
            write=self.write + other.write,
            wait=self.wait + other.wait,
        )


class SplitCounts(Record):
    """Everything that is counted in a split; sums over splits are the job's.

    tokens: of distinct and repeated chunks alike, special tokens included. embedded_tokens: those
    that went through the model (identical chunks of a window go once). padded_tokens: what the
    model was given, padding included. lines: line breaks of the split, to number lines across
    splits. absent_fields: per text or metadata field, records in which it was missing.
    carried_documents, carried_chunks: written ones whose rows are those of an earlier part.
    reused_chunks: other written ones whose vector is. taken_over_tokens: of both. embedded_chunks:
    texts that went through the model.
    """

    documents: Counts = Counts()
    chunks: Counts = Counts()
    lines: int = 0
    tokens: int = 0
    embedded_tokens: int = 0
    padded_tokens: int = 0
    truncated_documents: int = 0
    truncated_tokens: int = 0
    carried_documents: int = 0
    carried_chunks: int = 0
    reused_chunks: int = 0
    taken_over_tokens: int = 0
    embedded_chunks: int = 0
    rejected_by_reason: dict[str, int] = Field(default_factory=dict)
    absent_fields: dict[str, int] = Field(default_factory=dict)

    def __add__(self, other: SplitCounts) -> SplitCounts:
        return SplitCounts(
            documents=self.documents + other.documents,
            chunks=self.chunks + other.chunks,
            lines=self.lines + other.lines,
            tokens=self.tokens + other.tokens,
            embedded_tokens=self.embedded_tokens + other.embedded_tokens,
            padded_tokens=self.padded_tokens + other.padded_tokens,
            truncated_documents=self.truncated_documents + other.truncated_documents,
            truncated_tokens=self.truncated_tokens + other.truncated_tokens,
            carried_documents=self.carried_documents + other.carried_documents,
            carried_chunks=self.carried_chunks + other.carried_chunks,
            reused_chunks=self.reused_chunks + other.reused_chunks,
            taken_over_tokens=self.taken_over_tokens + other.taken_over_tokens,
            embedded_chunks=self.embedded_chunks + other.embedded_chunks,
            rejected_by_reason=_add(self.rejected_by_reason, other.rejected_by_reason),
            absent_fields=_add(self.absent_fields, other.absent_fields),
        )


def _add(left: dict[str, int], right: dict[str, int]) -> dict[str, int]:
    return {key: left.get(key, 0) + right.get(key, 0) for key in sorted(left.keys() | right.keys())}


class SplitSource(Record):
    """Where a split's documents came from; files as (name, version)."""

    files: tuple[tuple[str, str], ...]
    start: int
    end: int
    bytes: int


class DatasetDescriptor(Record):
    """Whose output folder this is; created by the first run, compared by every later one.

    fingerprint covers what changes a vector or a row. engine: null, or any: which of the others ran
    changes nothing, and the report tells of it. bundle: the model bundle's folder as the
    spec names it; model_fingerprint: its content. normalized: whether its vectors have length 1.
    columns: metadata column to type, as the first run found them. created_at in Unix seconds.
    """

    format_version: Literal[2] = FORMAT_VERSION
    name: str
    input_uri: str
    fingerprint: str
    model_fingerprint: str
    bundle: str
    engine: str
    precision: str
    prompt: str
    dimension: int
    normalized: bool
    max_tokens: int
    vector_type: str
    text: bool
    columns: dict[str, ConcreteType]
    created_at: float


class SplitManifest(Record):
    """The commit of one split.

    attempt: the nonce of the attempt that won. parts, ids and dead_letters name files below the
    output's folder, ledger likewise: the table by which a later run takes over its rows. origins:
    rows of the parts by the split that wrote them first. started_at and finished_at are Unix
    seconds, for the report alone.
    """

    format_version: Literal[2] = FORMAT_VERSION
    split: str
    attempt: str
    fingerprint: str
    source: SplitSource
    counts: SplitCounts
    parts: tuple[Part, ...]
    ids: str | None
    ledger: str | None = None
    origins: dict[str, int] = Field(default_factory=dict)
    dead_letters: str | None
    worker: int
    host: str
    started_at: float
    finished_at: float
    stages_s: StageTimes
    peak_rss_bytes: int


class JobManifest(Record):
    """The commit of a whole job: the splits that count, written last.

    generation: that of the run's lease, greater than that of every job that it replaced.
    duplicates_across_splits: how many ids occur in more than one file or split.
    """

    format_version: Literal[2] = FORMAT_VERSION
    name: str
    generation: int = 1
    fingerprint: str
    splits: tuple[str, ...]
    counts: SplitCounts
    duplicates_across_splits: int
    finished_at: float


def total(counts: Iterable[SplitCounts]) -> SplitCounts:
    """The sum over splits."""
    return sum(counts, SplitCounts())
