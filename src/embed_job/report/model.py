"""What ``report.json`` holds, and what a run must know to have one built."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from embed_job.engine.facts import EngineFacts
from embed_job.manifest import Counts, SplitManifest, StageTimes
from embed_job.spec import JobSpec

MAX_EXAMPLES = 100


class Part(BaseModel):
    """A part of the report: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class JobCounts(Part):
    """Over all committed splits. tokens: special tokens included, repeated chunks counted each
    time; embedded_tokens: those that went through the model."""

    documents: Counts
    chunks: Counts
    tokens: int
    embedded_tokens: int


class Throughput(Part):
    """Of what this run embedded, over embedding_s = wall_s - load_s, less what an index took when
    all was embedded; 0 where it embedded nothing. What was taken over from earlier runs is not in
    it.

    committed_tokens_per_s_per_worker: tokens of all committed splits, those of earlier runs
    included, by the seconds that workers spent on them; None where there are none.
    """

    tokens_per_s: float
    documents_per_s: float
    documents: int
    tokens: int
    embedding_s: float
    committed_tokens_per_s_per_worker: float | None


class Truncated(Part):
    """What was cut off and is in no vector."""

    documents: int
    tokens: int


class RejectedExample(Part):
    """A dead letter. line counts from 1 in the file (for Parquet: the row)."""

    file: str
    line: int
    byte_offset: int | None
    reason: str
    stage: str
    detail: str
    doc_id: str | None = None


class SplitReport(Part):
    """One committed split. id: the first 12 digits. started_at: Unix seconds. host: None where one
    machine did all. straggler: it took over twice the median. reused: committed before this run.
    """

    id: str
    file: str
    start: int
    end: int
    documents: int
    tokens: int
    started_at: float
    seconds: float
    tokens_per_s: float
    worker: int
    host: str | None = None
    straggler: bool
    reused: bool


class WorkerReport(Part):
    """One worker in this run. busy_fraction: of the run's embedding_s. host: None where one machine
    did all."""

    worker: int
    host: str | None = None
    splits: int
    documents: int
    tokens: int
    busy_s: float
    busy_fraction: float
    peak_rss_bytes: int


class Resumed(Part):
    """What this run found done, and what it did.

    In the splits that it embedded: documents_carried are as they were, and so are their rows, and
    documents_embedded are the other written ones; chunks_reused of these had a known text, and
    chunks_embedded texts went through the model.
    """

    splits_reused: int
    splits_embedded: int
    documents_embedded: int
    documents_carried: int = 0
    chunks_reused: int = 0
    chunks_embedded: int = 0


class Machine(Part):
    """Where the run took place."""

    cores: int
    cpu: str
    python: str
    platform: str


class HostReport(Part):
    """One machine of a job of several. seconds: from its start to its end; busy_s: of its workers
    together. ended: whether it came to its end and said so; machine, workers, seconds: None where
    it did not. engines: that its workers ran on."""

    host: str
    splits: int
    documents: int
    tokens: int
    busy_s: float
    peak_rss_bytes: int
    ended: bool
    exit_code: int | None = None
    seconds: float | None = None
    workers: int | None = None
    machine: Machine | None = None
    engines: tuple[EngineFacts, ...] = ()


class Inputs(Part):
    """What the input consists of. bytes: as stored. ignored: files of an unknown ending."""

    uri: str
    files: int
    bytes: int
    splits: int
    ignored: int = 0
    ignored_examples: tuple[str, ...] = ()
    hidden: int = 0


class DeliveryFacts(Part):
    """How this run's rows went to an index. splits: those delivered; retries: requests that sent
    rows again; throttled: rows that were answered 429, to be sent again; bytes: of requests;
    seconds: of the machine that was at it longest. last_reason: the last that the server gave for
    rows that were sent again."""

    splits: int = 0
    rows: int = 0
    requests: int = 0
    retries: int = 0
    throttled: int = 0
    bytes: int = 0
    seconds: float = 0.0
    last_reason: str | None = None

    def __add__(self, other: DeliveryFacts) -> DeliveryFacts:
        return DeliveryFacts(
            splits=self.splits + other.splits,
            rows=self.rows + other.rows,
            requests=self.requests + other.requests,
            retries=self.retries + other.retries,
            throttled=self.throttled + other.throttled,
            bytes=self.bytes + other.bytes,
            seconds=max(self.seconds, other.seconds),
            last_reason=other.last_reason or self.last_reason,
        )

    @property
    def rows_per_s(self) -> float:
        return self.rows / self.seconds if self.seconds else 0.0


class PromotionReport(Part):
    """What became of the alias at the end of a run.

    promoted: it points to this index; previous: what it pointed to before. checks: how many were
    made; failed: names of those that did not hold, and then nothing was moved. canary: what it
    found, in a line; page: where its page lies. deleted: older indexes that went; stayed: a
    sentence of each that should have gone. notes: what to know besides.
    """

    alias: str
    promoted: bool
    previous: str | None = None
    checks: int = 0
    failed: tuple[str, ...] = ()
    canary: str | None = None
    page: str | None = None
    deleted: tuple[str, ...] = ()
    stayed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class IndexReport(Part):
    """What a load came to.

    rows: of the splits that are loaded, by this run or before: read = written + rejected.
    dead_letters: the folder of the rejected ones; None where there are none.
    splits_loaded: of splits, those with every row acknowledged or refused; splits_again: those of
    this run's that the index had lost documents of. deleted: documents that the output no longer
    holds. memory_bytes: what the graphs of all rows need; None where not all are loaded. finished:
    graphs are built and the settings of the load are put back. recall: as the last `verify` found
    it, where nothing was sent or deleted since. promotion: None where the run left the alias alone.
    """

    url: str
    index: str
    alias: str | None
    created: bool
    generation: int | None
    rows: Counts
    refused_by_reason: dict[str, int]
    dead_letters: str | None
    splits: int
    splits_loaded: int
    splits_again: int
    deleted: int
    delivery: DeliveryFacts
    memory: str | None = None
    memory_bytes: int | None = None
    finished: bool
    recall: float | None = None
    promotion: PromotionReport | None = None


class OutputReport(Part):
    """What lies in an output. files, bytes: of Parquet; of an index, the requests' bytes."""

    kind: str
    uri: str
    files: int
    rows: int
    bytes: int
    index: IndexReport | None = None


class SampleInfo(Part):
    """What a dry run's sample is of. of_bytes: bytes of the whole input."""

    documents: int
    bytes: int
    of_bytes: int


class Estimates(Part):
    """The whole corpus, at the rate of this machine. None: unknown; `missing` says what to set.

    hours_on_compute: on the spec's machines, one vCPU counted as one core of this machine,
    start-up not included.
    """

    corpus_documents: int | None
    corpus_tokens: int | None
    output_bytes: int | None
    hours_here: float | None
    hours_on_compute: float | None
    cost_usd: float | None
    usd_per_million_documents: float | None
    usd_per_million_tokens: float | None
    missing: tuple[str, ...]


class Neighbour(Part):
    """A document near a query. score: cosine."""

    doc_id: str
    score: float
    text: str


class NearestExample(Part):
    """A query, or a document that stands for one, and what lies nearest to it."""

    query: str
    neighbours: tuple[Neighbour, ...]


class Report(Part):
    """A run, as ``report.json`` holds it. Times are Unix seconds.

    ok: nothing is wrong; problems: what is, each in one line; warnings: what is worth a look.
    peak_rss_bytes: of the largest worker. hosts: empty where one machine did all; else machine is
    the first of them, and load_s of the slowest. engines: that this run embedded on, each once;
    none where it embedded nothing.
    """

    format_version: int = 1
    name: str
    version: str
    ok: bool
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    started_at: float
    finished_at: float
    wall_s: float
    load_s: float
    counts: JobCounts
    identity_holds: bool
    throughput: Throughput
    stages_s: StageTimes
    padding_fraction: float
    truncated: Truncated
    rejected_by_reason: dict[str, int]
    rejected_examples: tuple[RejectedExample, ...] = Field(max_length=MAX_EXAMPLES)
    duplicates_across_splits: int
    duplicate_examples: tuple[str, ...] = Field(max_length=MAX_EXAMPLES)
    absent_fields: dict[str, int]
    peak_rss_bytes: int
    fingerprint: str
    resumed: Resumed
    hosts: tuple[HostReport, ...] = ()
    workers: tuple[WorkerReport, ...]
    engines: tuple[EngineFacts, ...] = ()
    splits: tuple[SplitReport, ...]
    machine: Machine
    inputs: Inputs
    outputs: tuple[OutputReport, ...]
    sample: SampleInfo | None
    estimates: Estimates
    examples: tuple[NearestExample, ...]
    spec: dict[str, Any]


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What a run knows when it ends.

    manifests: every split that counts. fresh: identities of those that this run embedded.
    load_s: until the first worker was ready. incidents: workers that died and splits that failed,
    a line each. Examples beyond the first hundred are dropped. engines: that its workers ran on.
    hosts: those of a job of several.
    index: what became of the opensearch output, where there is one and the run came so far;
    index_s: seconds that it took when all was embedded.
    """

    spec: JobSpec
    fingerprint: str
    manifests: Sequence[SplitManifest]
    fresh: frozenset[str]
    inputs: Inputs
    machine: Machine
    workers: int
    started_at: float
    finished_at: float
    wall_s: float
    load_s: float
    problems: Sequence[str] = ()
    incidents: Sequence[str] = ()
    rejected_examples: Sequence[RejectedExample] = ()
    duplicates_across_splits: int = 0
    duplicate_examples: Sequence[str] = ()
    sample: SampleInfo | None = None
    examples: Sequence[NearestExample] = ()
    engines: Sequence[EngineFacts] = ()
    hosts: Sequence[HostReport] = ()
    index: IndexReport | None = None
    index_s: float = 0.0
