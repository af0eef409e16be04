"""Check 3: rows drawn from the Parquet parts are in the index with all they have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from embed_job.opensearch.check.sample import Sample
from embed_job.opensearch.check.subject import Answer, Subject
from embed_job.opensearch.check.vectors import comes_back
from embed_job.opensearch.target import VECTOR

_MAX_NAMED = 3
_COMPARED_AS = {
    "float32": "to the last bit",
    "float16": "to half precision",
    "byte": "as round(127·v)",
    "on_disk": "to the last bit",
}


def check_readback(subject: Subject, sample: Sample) -> Answer:
    """Vectors and every other field of sampled rows, as `_source` holds them.

    A vector's tolerance: see :func:`embed_job.opensearch.check.vectors.comes_back`.
    """
    if not len(sample):
        return Answer(ok=True, detail="there are no rows")
    found = subject.fetch(sample.ids, fields=None)
    faults: list[str] = []
    for number, row in enumerate(sample.documents):
        document = found.get(row["id"])
        if document is None:
            faults.append(f"{row['id'][:60]!r} is not there")
            continue
        if not comes_back(subject.target, document.get(VECTOR), sample.vectors[number]):
            faults.append(f"{row['id'][:60]!r} has another vector")
        faults += [f"{row['id'][:60]!r} has another {name}" for name in _differing(row, document)]
    if faults:
        told = "; ".join(faults[:_MAX_NAMED])
        return Answer(ok=False, detail=f"{len(faults)} faults in {len(sample)} rows: {told}")
    how = _COMPARED_AS[subject.target.output.graph.storage]
    return Answer(ok=True, detail=f"{len(sample)} rows drawn at random; vectors {how}")


def _differing(row: Mapping[str, Any], document: Mapping[str, Any]) -> Iterator[str]:
    for name, value in row.items():
        # A domain has the row's id as the document's _id, and fetched it by that.
        if name != "id" and not _same(value, document.get(name)):
            yield name


def _same(value: object, found: object) -> bool:
    if isinstance(value, datetime):
        return isinstance(found, str | int) and _moment(found) == value.astimezone(UTC)
    return value == found


def _moment(found: str | int) -> datetime | None:
    """A date as the index was given it: ISO 8601, or milliseconds since 1970."""
    if isinstance(found, int):
        return datetime.fromtimestamp(found / 1000, UTC)
    try:
        moment = datetime.fromisoformat(found)
    except ValueError:
        return None
    return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
