"""The queries of a canary: a JSON object a line, judged or not."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from embed_job.errors import InputError
from embed_job.storage import resolve, store_for

MAX_BYTES = 32 << 20
MAX_QUERIES = 10_000
_KEYS = frozenset(["query", "judgements", "filters"])
_FORM = (
    'Write {"query": "how do I read a zip file", "judgements": {"doc-17": 3}, '
    '"filters": ["language=en"]}; the last two may be left out.'
)


@dataclass(frozen=True, slots=True)
class CanaryQuery:
    """A question. judgements: grades of documents, 0 and up, by doc_id; empty: not judged.
    filters: as of ``embed-job search --filter``. where: file and line, for messages."""

    text: str
    where: str
    judgements: Mapping[str, float] = field(default_factory=dict)
    filters: tuple[str, ...] = ()

    @property
    def is_judged(self) -> bool:
        """Whether any document is worth finding: without one nDCG has no ideal to compare with."""
        return any(grade > 0 for grade in self.judgements.values())


def read_queries(uri: str) -> tuple[CanaryQuery, ...]:
    """The queries of a file, local or in S3.

    Raises InputError where it can't be read, is larger than MAX_BYTES, holds no query or more than
    MAX_QUERIES, or has a line that is none.
    """
    key = resolve(uri)
    store = store_for(key)
    try:
        size = store.stat(key).size
        if size > MAX_BYTES:
            raise InputError(
                uri, f"has {size:,} bytes, over {MAX_BYTES:,}", "Choose fewer queries."
            )
        data = store.read(key)
    except OSError as error:
        hint = "Set gates.canary.queries to a file of queries that can be read from here."
        what = "there is no such file" if isinstance(error, FileNotFoundError) else str(error)
        raise InputError(uri, what, hint) from error
    return parse_queries(data, uri)


def parse_queries(data: bytes, name: str) -> tuple[CanaryQuery, ...]:
    """As of read_queries; name: the file's, for messages. Empty lines are passed over."""
    queries = tuple(
        _parse(line, f"{name}:{number}")
        for number, line in enumerate(data.split(b"\n"), 1)
        if line.strip()
    )
    if not queries:
        raise InputError(name, "holds no query", _FORM)
    if len(queries) > MAX_QUERIES:
        raise InputError(
            name, f"holds {len(queries):,} queries, over {MAX_QUERIES:,}", "Choose fewer."
        )
    return queries


def _parse(line: bytes, where: str) -> CanaryQuery:
    try:
        plain = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise InputError(where, f"is not JSON ({error})", _FORM) from None
    for fault in _faults(plain):
        raise InputError(where, fault, _FORM)
    judgements = {name: float(grade) for name, grade in (plain.get("judgements") or {}).items()}
    return CanaryQuery(plain["query"], where, judgements, tuple(plain.get("filters") or ()))


def _faults(plain: Any) -> Iterator[str]:
    if not isinstance(plain, dict):
        yield "is not an object"
        return
    unknown = sorted(plain.keys() - _KEYS)
    if unknown:
        yield f"has the unknown key {unknown[0][:60]!r}"
    text, judgements = plain.get("query"), plain.get("judgements")
    if not isinstance(text, str) or not text.strip():
        yield "has no query, a text that is not empty"
    if not isinstance(judgements, dict | None):
        yield "judgements is not an object of grades by doc_id"
    elif any(not _is_grade(grade) for grade in (judgements or {}).values()):
        yield "holds a grade that is no number of 0 or more"
    filters = plain.get("filters")
    if filters is not None and not (
        isinstance(filters, list) and all(isinstance(one, str) for one in filters)
    ):
        yield "filters is not a list of texts"


def _is_grade(value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and value >= 0  # type: ignore[arg-type,operator]
