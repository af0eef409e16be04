"""Check 2: the ids in the index are those of the Parquet parts, each with the same content."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from embed_job.ids import Hashes, hash_ids
from embed_job.opensearch.check.keys import Keys, compare, join_keys, keys_of, no_hashes
from embed_job.opensearch.check.pages import PAGE_ROWS, PointInTime, field_of
from embed_job.opensearch.check.subject import CONTENT, Answer, Subject
from embed_job.opensearch.load.origins import Origin, holders_of
from embed_job.opensearch.load.selection import Selection, selected_rows
from embed_job.opensearch.target import ID, SPLIT

GROUP_ROWS = 100_000
"""Rows of several origins are compared together, up to so many."""

_SORT = ("doc_id", "chunk")
_MAX_NAMED = 3
_MAX_TERMS = 60_000
"""A server takes 65,536 values of a terms query."""

Query = Mapping[str, Any]


@dataclass(slots=True)
class Compared:
    """What came of the comparison. missing: hashes of ids.

    foreign, changed, repeats: documents that no split holds, that have another content, and beyond
    the first of an id.
    """

    documents: int = 0
    missing: Hashes = field(default_factory=no_hashes)
    foreign: int = 0
    changed: int = 0
    repeats: int = 0
    named: dict[str, list[str]] = field(default_factory=dict)

    def answer(self) -> Answer:
        faults = [
            (len(self.missing), "missing"),
            (self.foreign, "of no committed row"),
            (self.changed, "of another content"),
            (self.repeats, "a second time"),
        ]
        told = [f"{count:,} {what}{self._such_as(what)}" for count, what in faults if count]
        good = f"{self.documents:,} ids and content hashes agree"
        return Answer(not told, "; ".join(told) or good)

    def _such_as(self, what: str) -> str:
        names = self.named.get(what, [])
        return f", such as {', '.join(repr(name[:60]) for name in names)}" if names else ""


def compare_ids(
    subject: Subject, *, page_rows: int = PAGE_ROWS, group_rows: int = GROUP_ROWS
) -> Compared:
    """Read every id and content hash of index and Parquet, and compare them origin by origin.

    An id is in one origin alone: an output whose splits share ids is not loaded.

    The index is seen as of one moment. Memory: about 150 bytes a row of the largest origin (or of
    group_rows, whichever is more), 8 a missing row, and one page.
    """
    compared = Compared()
    with PointInTime(subject.client, subject.name, page_rows=page_rows) as moment:
        reader = _Reader(subject, moment)
        for group in _groups(subject.origins.values(), group_rows):
            _compare_group(compared, subject, reader, group)
        _add_strangers(compared, subject, reader)
        if len(compared.missing):
            batches = subject.dataset.iter_rows(columns=[ID])
            rows = (batch.column(ID).to_pylist() for batch in batches)
            compared.named["missing"] = _names(rows, compared.missing)
    return compared


def _compare_group(
    compared: Compared, subject: Subject, reader: _Reader, group: Sequence[Origin]
) -> None:
    names = [origin.name for origin in group]
    query = {"terms": {SPLIT: names}}
    refused = np.concatenate([subject.refused.get(name, no_hashes()) for name in names])
    expected = join_keys(_rows(subject, group)).without(refused)
    found = reader.keys(query)
    difference = compare(expected, found)
    compared.documents += len(found.ids)
    compared.missing = np.concatenate([compared.missing, difference.missing])
    compared.foreign += len(difference.foreign)
    compared.changed += len(difference.changed)
    compared.repeats += difference.repeats
    for what, hashes in (
        ("of no committed row", difference.foreign),
        ("of another content", difference.changed),
    ):
        if len(hashes) and what not in compared.named:
            compared.named[what] = _names(reader.ids(query), hashes)


def _add_strangers(compared: Compared, subject: Subject, reader: _Reader) -> None:
    """Documents whose origin has no live row, or that name none."""
    live = list(subject.origins)
    blocks = [live[at : at + _MAX_TERMS] for at in range(0, len(live), _MAX_TERMS)]
    query = {"bool": {"must_not": [{"terms": {SPLIT: block}} for block in blocks]}}
    for ids in reader.ids(query):
        compared.documents += len(ids)
        compared.foreign += len(ids)
        named = compared.named.setdefault("of no committed row", [])
        named += ids[: _MAX_NAMED - len(named)]


@dataclass(frozen=True, slots=True)
class _Reader:
    """An index's ids and content hashes, as of one moment."""

    subject: Subject
    moment: PointInTime

    def keys(self, query: Query) -> Keys:
        fields = (CONTENT, *self.subject.id_fields)
        pages = self.moment.pages(query, fields=fields, sort=_SORT)
        return join_keys(
            keys_of(
                [self.subject.id_of(hit) for hit in hits], [field_of(hit, CONTENT) for hit in hits]
            )
            for hits in pages
        )

    def ids(self, query: Query) -> Iterator[list[str]]:
        pages = self.moment.pages(query, fields=self.subject.id_fields, sort=_SORT)
        return ([self.subject.id_of(hit) for hit in hits] for hits in pages)


def _rows(subject: Subject, group: Sequence[Origin]) -> Iterator[Keys]:
    """Ids and content hashes of some origins' live rows, a batch at a time."""
    names = {origin.name for origin in group}
    for manifest in holders_of(group):
        selection = Selection(manifest, names & manifest.origins.keys())
        for batch in selected_rows(subject.dataset, selection, columns=[ID, CONTENT, SPLIT]):
            yield keys_of(batch.column(ID).to_pylist(), batch.column(CONTENT).to_pylist())


def _groups(origins: Iterable[Origin], group_rows: int) -> Iterator[list[Origin]]:
    group: list[Origin] = []
    rows = 0
    for origin in origins:
        if group and (rows + origin.rows > group_rows or len(group) == _MAX_TERMS):
            yield group
            group, rows = [], 0
        group.append(origin)
        rows += origin.rows
    if group:
        yield group


def _names(blocks: Iterable[list[str]], wanted: Hashes) -> list[str]:
    """The first few ids of those hashes."""
    names: list[str] = []
    for ids in blocks:
        chosen = np.flatnonzero(np.isin(hash_ids(ids), wanted))
        names += [ids[place] for place in chosen[: _MAX_NAMED - len(names)]]
        if len(names) >= _MAX_NAMED:
            break
    return names
