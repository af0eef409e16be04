"""Where vectors go. A sink takes the rows of one split and answers with what is durable."""

from __future__ import annotations

from typing import Protocol

import pyarrow as pa
from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """A file of rows, as a manifest names it. name: relative to the output's folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    rows: int
    bytes: int
    sha256: str


class SplitSink(Protocol):
    """The rows of one attempt at one split.

    Nothing of it counts until the split's manifest is committed; the same split may be written
    again by another attempt, at the same time even.
    """

    def write(self, rows: pa.RecordBatch) -> None:
        """Take rows of the output's schema, in any number of calls."""
        ...

    def close(self) -> list[Part]:
        """Make all rows durable and name what holds them; empty where there were none."""
        ...

    def abort(self) -> None:
        """Drop what was written, as far as it can be reached; never raises."""
        ...
