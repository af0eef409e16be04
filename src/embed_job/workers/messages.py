"""What parent and worker say to each other: descriptions and counts, never a document or vector."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from embed_job.admit import Exclusion
from embed_job.engine.facts import EngineFacts
from embed_job.errors import UserError
from embed_job.manifest import DatasetDescriptor, SplitManifest
from embed_job.progress.meter import ProgressUpdate
from embed_job.source import Split
from embed_job.spec import JobSpec


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """All that a worker process is given when it starts.

    input_uri: where splits are read. target_uri, bundle: None: those of the spec.
    temporary: as of :func:`embed_job.storage.store_for`, for the target. gpus: the CUDA devices
    that the workers share, worker n on the one of place n modulo their number. threads: that
    tokenise in one worker. earlier: the folder of
    :func:`embed_job.reuse.build.build_lookup`; None: nothing is taken over.
    """

    number: int
    spec: JobSpec
    dataset: DatasetDescriptor
    input_uri: str
    spool: str
    host: str
    target_uri: str | None = None
    bundle: Path | None = None
    temporary: Path | None = None
    gpus: tuple[str, ...] = ()
    threads: int = 1
    earlier: Path | None = None


class Kind(Enum):
    """EMBED: the real thing. COUNT: read only. PROBE: read, chunk and embed, write nothing."""

    EMBED = "embed"
    COUNT = "count"
    PROBE = "probe"


@dataclass(frozen=True, slots=True)
class Task:
    """Work on one split. A probe takes the documents with first <= ordinal < last."""

    split_index: int
    split: Split
    kind: Kind = Kind.EMBED
    exclude: dict[int, Exclusion] = field(default_factory=dict)
    first: int = 0
    last: int = 0


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker has loaded and checked its model, on the engine that it tells of."""

    load_s: float
    engine: EngineFacts


@dataclass(frozen=True, slots=True)
class Embedded:
    """A split is committed: by this attempt, or (manifest None) by another before it."""

    manifest: SplitManifest | None


@dataclass(frozen=True, slots=True)
class Survived:
    """A COUNT or PROBE came to its end; records of the split."""

    records: int


@dataclass(frozen=True, slots=True)
class Noted:
    """Something that the user should know, while the work goes on."""

    what: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """A mistake that only the user can mend: the run ends."""

    error: UserError


@dataclass(frozen=True, slots=True)
class Crashed:
    """The task raised something unforeseen; treated as if it had killed its worker.

    is_last: it does kill it. What fails on a GPU may leave the process without the use of it.
    """

    traceback: str
    is_last: bool = False


Answer = Ready | ProgressUpdate | Noted | Embedded | Survived | Stopped | Crashed
