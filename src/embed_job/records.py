"""The records that travel between the stages of one split."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

MetadataValue = str | int | float | bool | None


class Stage(StrEnum):
    """Where a document was when it was refused."""

    READ = "read"
    CHUNK = "chunk"
    EMBED = "embed"
    WRITE = "write"


class Reason(StrEnum):
    """Why a document was rejected; the keys of ``rejected_by_reason`` in the report."""

    MALFORMED = "malformed_record"
    """Not JSON, not an object, or a CSV row with more fields than its header."""
    ENCODING = "invalid_utf8"
    """Bytes that are not UTF-8, or a lone surrogate written as an escape."""
    MISSING_ID = "missing_id"
    BAD_ID = "bad_id"
    """Neither a string nor an integer."""
    ID_TOO_LONG = "id_too_long"
    DUPLICATE_ID = "duplicate_id"
    MISSING_TEXT = "missing_text"
    """None of the text fields is there."""
    BAD_TEXT = "bad_text"
    """A text field holds something else than a string."""
    EMPTY_TEXT = "empty_text"
    """Nothing but white space and control characters."""
    BAD_METADATA = "bad_metadata"
    """A value does not fit its column's type."""
    TOO_LARGE = "document_too_large"
    UNREADABLE = "unreadable_source"
    """The source ends early or is damaged from here on: one rejection stands for the rest."""
    BAD_VECTOR = "bad_vector"
    """The model answered NaN, infinity or a vector of norm zero."""
    KILLS_WORKER = "kills_worker"
    """Its worker died each time this document was embedded."""


# A tuple, as a frozen dataclass takes three times as long to make: 0.5 against 1.5 µs, of the 20 µs
# that a short document may cost beside tokenizer and model.
class Document(NamedTuple):
    """One record that can be embedded.

    ordinal counts the split's records from 0, refused ones included. key is the source file's.
    line is where the record begins, counted from 1 at the split's start (for Parquet: the row of
    the file). byte_offset and length place it in the (uncompressed) file; None for Parquet.
    metadata holds the values of the chosen columns, in the order of the spec.
    """

    ordinal: int
    key: str
    line: int
    byte_offset: int | None
    length: int | None
    doc_id: str
    text: str
    metadata: tuple[MetadataValue, ...] = ()


@dataclass(frozen=True, slots=True)
class Rejection:
    """One record that was refused; becomes a dead letter.

    Places are those of :class:`Document`: ``[byte_offset, byte_offset + length)`` of the same
    version of the file replays it. detail never holds more than an excerpt.
    """

    ordinal: int
    key: str
    line: int
    byte_offset: int | None
    length: int | None
    reason: Reason
    stage: Stage
    detail: str
    doc_id: str | None = None
