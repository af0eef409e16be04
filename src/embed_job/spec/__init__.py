"""The job, as its user writes it: one frozen spec that the launcher writes and the engine reads.

Every default lives here. ``file.py`` reads it from YAML and words its errors.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from embed_job.spec.compute import ComputeSpec
from embed_job.spec.opensearch import OpenSearchOutput, unfit_field
from embed_job.spec.schedule import ScheduleSpec
from embed_job.spec.section import Section

COLUMNS = (
    "id",
    "doc_id",
    "chunk",
    "char_start",
    "char_end",
    "n_tokens",
    "content_hash",
    "split",
    "text",
    "vector",
)
"""The columns of every output; metadata goes between text and vector."""


MetadataType = Literal["auto", "string", "int64", "float64", "bool", "timestamp"]


class Fields(Section):
    """Which fields of a record are its id, its text and its metadata."""

    id: str = Field("id", min_length=1, description="The field that identifies a document.")
    text: tuple[str, ...] = Field(
        ("text",),
        min_length=1,
        description="The field, or fields in order, that make the text; joined by a line break.",
    )
    metadata: dict[str, MetadataType] = Field(
        default_factory=dict,
        description="Columns carried along: a list of names (types are found in the input) "
        "or a mapping of name to type.",
    )

    @field_validator("text", mode="before", json_schema_input_type=str | tuple[str, ...])
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator(
        "metadata",
        mode="before",
        json_schema_input_type=tuple[str, ...] | dict[str, MetadataType],
    )
    @classmethod
    def _names_or_types(cls, value: object) -> object:
        return dict.fromkeys(value, "auto") if isinstance(value, list | tuple) else value

    @field_validator("metadata")
    @classmethod
    def _no_reserved_name(cls, value: dict[str, MetadataType]) -> dict[str, MetadataType]:
        taken = sorted(set(value) & set(COLUMNS))
        if taken:
            raise ValueError(f"'{taken[0]}' is a column of every output; rename it in the input")
        return value


class InputSpec(Section):
    """Where the documents are and what is refused among them."""

    uri: str = Field(
        min_length=1,
        description="A file, a folder, a glob or an s3:// prefix of "
        ".jsonl .csv .tsv .parquet .txt .md, and .gz and .zst of all but Parquet.",
    )
    fields: Fields = Fields()
    on_duplicate_id: Literal["reject", "last_wins", "suffix"] = Field(
        "reject",
        description="A second document of the same id within a file, or within the range of a "
        "large file that is a split: refuse it, let it replace "
        "the first, or give it the suffix ~2.",
    )
    allow_duplicates_across_splits: bool = Field(
        False,
        description="Whether a run may succeed though an id occurs in several files or splits.",
    )
    max_rejected_fraction: float = Field(
        0.05, ge=0, le=1, description="Above this share of rejected documents the run fails."
    )
    max_id_bytes: int = Field(
        512, ge=1, le=65536, description="A longer id is refused; 512 is OpenSearch's limit."
    )
    max_document_mib: int = Field(
        64, ge=1, le=1024, description="A longer record, in MiB as read, is refused."
    )
    split_mib: float | None = Field(
        None,
        gt=0,
        le=1024,
        description="Size of a split in MiB; unset: 16, less where the file is small.",
    )


class ChunkSpec(Section):
    """What becomes of documents longer than the model."""

    strategy: Literal["sentences", "truncate"] = Field(
        "sentences",
        description="Cut on sentence and token boundaries, or keep the beginning and count "
        "what is lost.",
    )
    max_tokens: int | None = Field(
        None,
        ge=8,
        description="Tokens of a chunk, special tokens and prompt included; unset: the model's "
        "maximum.",
    )
    overlap_tokens: int = Field(
        32, ge=0, description="Tokens that a chunk repeats from the one before it, at most."
    )

    @model_validator(mode="after")
    def _overlap_leaves_room(self) -> ChunkSpec:
        if self.max_tokens is not None and self.overlap_tokens > self.max_tokens // 2:
            raise ValueError("overlap_tokens may be half of max_tokens at most")
        return self


HALF = ("fp16", "bf16")
"""Precisions that need nothing of their own in a bundle: they are made of its fp32 weights."""
PRECISIONS = {
    "native": ("fp32", "int8"),
    "onnx": ("fp32", "int8"),
    "torch": ("fp32", *HALF),
}
"""Which engine computes in which precision; of auto and null, any may be asked."""


class ModelSpec(Section):
    """Which bundle, on which engine."""

    bundle: Path = Field(
        Path("/models/default"),
        description="The model bundle's folder; outside the image this default is models/default.",
    )
    engine: Literal["auto", "native", "onnx", "torch", "null"] = Field(
        "auto",
        description="auto: torch where there is a GPU, else native where it knows the model, else "
        "onnx. null: vectors that are a hash of the tokens, to measure or test everything but "
        "the model.",
    )
    precision: Literal["fp32", "fp16", "bf16", "int8"] = Field(
        "fp32",
        description="fp16 (cosine 0.9999 to fp32 at least) and bf16 (0.999) are for the torch "
        "engine on a GPU. int8 is lossy, for CPUs, and needs a bundle made with --precision int8.",
    )
    prompt: str | None = Field(
        None,
        description="Name of the bundle's prompt put before each document; unset: its default.",
    )

    @model_validator(mode="after")
    def _engine_has_precision(self) -> ModelSpec:
        known = PRECISIONS.get(self.engine)
        if known is not None and self.precision not in known:
            raise ValueError(
                f"engine {self.engine} has no precision {self.precision}, only "
                f"{', '.join(known)}; engine: auto takes one that has it"
            )
        return self


class ParquetOutput(Section):
    """Vectors as Parquet files in a folder."""

    uri: str = Field(min_length=1, description="A local folder or an s3:// prefix.")
    text: bool = Field(False, description="Whether each row carries its text.")
    vector_type: Literal["float32", "float16"] = Field(
        "float32", description="float16 halves the file and loses about 3 decimal digits."
    )


class Output(Section):
    """One place where vectors land: parquet, or opensearch beside it."""

    parquet: ParquetOutput | None = Field(None, description="Vectors as Parquet files in a folder.")
    opensearch: OpenSearchOutput | None = Field(
        None, description="Vectors in an OpenSearch index, loaded from the Parquet output."
    )

    @model_validator(mode="after")
    def _one_kind(self) -> Output:
        if (self.parquet is None) == (self.opensearch is None):
            raise ValueError("is either parquet or opensearch; each is an item of its own")
        return self


class ExecutionSpec(Section):
    """How a machine is used. Nothing here changes a vector or a row."""

    workers: Literal["auto"] | int = Field(
        "auto",
        description="Processes; auto: the cores this process may use ÷ threads_per_worker, and on "
        "GPUs workers_per_gpu for each.",
    )
    workers_per_gpu: Literal["auto"] | int = Field(
        "auto",
        description="Processes that share one GPU; auto: one for 2 cores, 8 at most.",
    )
    threads_per_worker: int = Field(
        1,
        ge=1,
        description="Threads of the model in one process; above 1, documents are read and "
        "tokenised, and rows are written, while the model works. On a GPU that is always so, and "
        "all cores tokenise.",
    )
    batch_tokens: Literal["auto"] | int = Field(
        "auto",
        description="Tokens of a batch, padding included, 16 at least; a longer text goes alone. "
        "auto: what the engine runs best with.",
    )
    window_mib: float = Field(
        4, gt=0, le=1024, description="MiB of text that are sorted by length at a time."
    )
    drain_timeout_s: float = Field(
        30, ge=0, description="Seconds that running splits get to finish after SIGINT or SIGTERM."
    )
    stall_timeout_s: float = Field(
        900, gt=0, description="Seconds without any progress after which a worker is replaced."
    )
    max_poison_documents: int = Field(
        8, ge=0, description="Documents of one split that may kill their worker and be set aside."
    )

    @field_validator("workers", "workers_per_gpu", "batch_tokens")
    @classmethod
    def _enough_or_auto(cls, value: int | str, info: ValidationInfo) -> int | str:
        least = 16 if info.field_name == "batch_tokens" else 1
        if isinstance(value, int) and value < least:
            raise ValueError(f"at least {least}, or auto")
        return value


class RefreshSpec(Section):
    """What a later run makes of the output of an earlier one."""

    reuse: bool = Field(
        True,
        description="Whether rows and vectors of texts that were embedded before are taken over "
        "from the output instead of being computed again.",
    )
    keep_generations: int = Field(
        2,
        ge=0,
        le=100,
        description="Generations whose replaced files stay, out of readers' sight, so that a text "
        "that comes back costs nothing.",
    )
    max_delete_fraction: float = Field(
        0.02,
        ge=0,
        le=1,
        description="Share of the documents, or of an index, that a run may delete because the "
        "input no longer holds them; above, nothing is deleted and the run fails.",
    )


class JobSpec(Section):
    """A batch-embedding job."""

    name: str = Field(
        pattern=r"^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}$",
        description="Letters, digits and single dashes inside; 63 at most.",
    )
    input: InputSpec
    chunk: ChunkSpec = ChunkSpec()
    model: ModelSpec = ModelSpec()
    outputs: Annotated[tuple[Output, ...], Field(min_length=1, max_length=2)]
    execution: ExecutionSpec = ExecutionSpec()
    refresh: RefreshSpec = RefreshSpec()
    compute: ComputeSpec | None = None
    schedule: ScheduleSpec | None = None

    @field_validator("outputs")
    @classmethod
    def _one_parquet(cls, value: tuple[Output, ...], info: ValidationInfo) -> tuple[Output, ...]:
        if sum(output.parquet is not None for output in value) != 1:
            raise ValueError(
                "needs exactly one parquet output: it holds the manifests, and an index is loaded "
                "from it, again if need be, without embedding twice"
            )
        source: InputSpec | None = info.data.get("input")  # none where it is wrong itself
        if source is None or len(value) == 1:
            return value
        if source.allow_duplicates_across_splits:
            raise ValueError(
                "an index holds each id once: set input.allow_duplicates_across_splits to false"
            )
        metadata = source.fields.metadata
        serverless = any(one.opensearch and one.opensearch.is_serverless for one in value)
        for name in metadata:
            reason = unfit_field(name, beside=(*COLUMNS, *metadata), is_serverless=serverless)
            if reason is not None:
                raise ValueError(f"an index can't hold input.fields.metadata.{name}: {reason}")
        return value

    @property
    def parquet(self) -> ParquetOutput:
        """The Parquet output, where the run also keeps its manifests."""
        return next(output.parquet for output in self.outputs if output.parquet is not None)

    @property
    def parquet_key(self) -> str:
        """Where the Parquet output stands in the spec, as in outputs.0.parquet."""
        return f"outputs.{self._place_of('parquet')}.parquet"

    @property
    def opensearch_key(self) -> str:
        """Where the OpenSearch output stands, or would stand, as in outputs.1.opensearch."""
        return f"outputs.{self._place_of('opensearch')}.opensearch"

    def _place_of(self, kind: str) -> int:
        """Its place in outputs; behind them where there is none of that kind."""
        held = [getattr(output, kind) is not None for output in self.outputs]
        return held.index(True) if True in held else len(held)

    @property
    def opensearch(self) -> OpenSearchOutput | None:
        """The index that is loaded from the Parquet output, where there is one."""
        return next((output.opensearch for output in self.outputs if output.opensearch), None)
