"""Which index a dataset goes into, and what its vectors and fields are called there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from embed_job.errors import SpecError
from embed_job.manifest import DatasetDescriptor
from embed_job.opensearch.serverless.copies import GENERATION
from embed_job.spec.opensearch import WRITE_SUFFIX, OpenSearchOutput

ID = "id"
"""Field of a row's id on Serverless, where a document can't have an ``_id`` of ours."""
SPLIT = "split"
"""Field, and column, of the split that wrote a row first: see embed_job.manifest.origin_of."""
VECTOR = "vector"
KEPT_QUERIES = "canary"
"""The private folder of an output where vectors of a canary's queries are kept."""

_FINGERPRINT_CHARS = 10


def write_name_of(index: str) -> str:
    """The private alias through which a domain's index is written to."""
    return f"{index}{WRITE_SUFFIX}"


def index_name(output: OpenSearchOutput, fingerprint: str) -> str:
    """ALIAS-FINGERPRINT-GENERATION: the name of an index that the spec gives none."""
    return f"{output.alias}-{fingerprint[:_FINGERPRINT_CHARS]}-{output.generation:03}"


def is_own_name(alias: str, index: str) -> bool:
    """Whether an index's name is one that index_name gives for an alias."""
    return (
        re.fullmatch(rf"{re.escape(alias)}-[0-9a-f]{{{_FINGERPRINT_CHARS}}}-\d{{3}}", index)
        is not None
    )


@dataclass(frozen=True, slots=True)
class IndexTarget:
    """An index as the spec and the dataset's descriptor want it.

    Raises SpecError where they don't go together.
    """

    output: OpenSearchOutput
    dataset: DatasetDescriptor

    def __post_init__(self) -> None:
        for name in self.dataset.columns:
            if name in (SPLIT, *([GENERATION] if self.is_serverless else [])):
                raise SpecError(
                    "input.fields.metadata",
                    f"'{name}' is a field of every index",
                    "Rename the column in the input.",
                )
        if self.output.graph.storage == "byte" and not self.dataset.normalized:
            raise SpecError(
                "opensearch.graph.storage",
                "byte needs vectors of length 1, which this model does not make",
                "Use float16 or on_disk, or a bundle that normalises.",
            )

    @property
    def name(self) -> str:
        """The index itself."""
        return self.output.index or index_name(self.output, self.dataset.fingerprint)

    @property
    def write_name(self) -> str:
        """What rows are sent to.

        On a domain an alias of our own, sent with ``require_alias``: were the index to vanish
        during a load, the server would otherwise make a new one by itself, with guessed types.
        Serverless makes none; there it is the index.
        """
        return self.name if self.is_serverless else write_name_of(self.name)

    @property
    def alias(self) -> str | None:
        """The name that searches use, where the spec has one."""
        return self.output.alias

    @property
    def space(self) -> Literal["innerproduct", "cosinesimil"]:
        """How vectors are compared; the same order, but cheaper, where their length is 1."""
        return "innerproduct" if self.dataset.normalized else "cosinesimil"

    @property
    def is_serverless(self) -> bool:
        """Whether it is in a Serverless collection."""
        return self.output.is_serverless
