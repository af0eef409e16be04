"""Origins in doubt, id by id: what the output holds of them, and what the index does.

Rows are told by a 64-bit hash of id and origin. Memory: about 50 bytes a row of a group.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from embed_job.dataset import Dataset
from embed_job.ids import Hashes, hash_ids
from embed_job.manifest import SplitManifest
from embed_job.opensearch.check.pages import Hits, PointInTime, field_of
from embed_job.opensearch.load.letters import IndexLetter
from embed_job.opensearch.load.opening import IndexLoad
from embed_job.opensearch.load.origins import holders_of
from embed_job.opensearch.load.reconcile import Doubt
from embed_job.opensearch.load.selection import Selection, selected_rows
from embed_job.opensearch.target import ID, SPLIT

GROUP_ROWS = 200_000
"""Origins are compared together up to so many rows, or documents."""
_MAX_ORIGINS = 10_000
_ODD = np.uint64(0x9E3779B97F4A7C15)

Places = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Live:
    """The rows that the output holds of a group of origins.

    ids, keys: uint64 [rows], a key being of id and origin; origins, holders: int32 [rows], their
    places in doubts and splits.
    """

    doubts: Sequence[Doubt]
    splits: Sequence[SplitManifest]
    ids: Hashes
    origins: Places
    holders: Places

    @property
    def keys(self) -> Hashes:
        return keys_of(self.ids, self.origins)

    @property
    def names(self) -> list[str]:
        """Of the origins."""
        return [doubt.origin.name for doubt in self.doubts]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a comparison says of one origin.

    missing: live rows that the index lacks and has not refused; stale: documents of no live row.
    letters: of live rows that it lacks because it has refused them.
    """

    doubt: Doubt
    missing: int
    stale: int
    letters: Sequence[IndexLetter]


def groups_of(doubts: Iterable[Doubt]) -> Iterator[list[Doubt]]:
    """Origins to be compared together. In their order, so that a part is read once or twice."""
    group: list[Doubt] = []
    size = 0
    for doubt in doubts:
        rows = max(doubt.origin.rows, doubt.found)
        if group and (size + rows > GROUP_ROWS or len(group) == _MAX_ORIGINS):
            yield group
            group, size = [], 0
        group.append(doubt)
        size += rows
    if group:
        yield group


def keys_of(ids: Hashes, origins: Places) -> Hashes:
    """One hash of id and origin, uint64 [rows]."""
    mixed: Hashes = ids ^ ((origins.astype(np.uint64) + np.uint64(1)) * _ODD)
    return mixed


def live_rows(dataset: Dataset, doubts: Sequence[Doubt]) -> Live:
    """Read ids and origins of a group from the parts that hold it. Raises OutputError."""
    places = {doubt.origin.name: place for place, doubt in enumerate(doubts)}
    splits = holders_of(doubt.origin for doubt in doubts)
    ids: list[Hashes] = [np.empty(0, np.uint64)]
    origins: list[Places] = [np.empty(0, np.int32)]
    holders: list[Places] = [np.empty(0, np.int32)]
    for holder, manifest in enumerate(splits):
        selection = Selection(manifest, places.keys() & manifest.origins.keys())
        for batch in selected_rows(dataset, selection, columns=[ID, SPLIT]):
            names = batch.column(SPLIT).to_pylist()
            ids.append(hash_ids(batch.column(ID).to_pylist()))
            origins.append(np.array([places[name] for name in names], np.int32))
            holders.append(np.full(len(names), holder, np.int32))
    return Live(
        doubts, splits, np.concatenate(ids), np.concatenate(origins), np.concatenate(holders)
    )


@dataclass(frozen=True, slots=True, eq=False)
class Page:
    """Some documents of a group; keys: uint64 [hits]; origins: int32 [hits], places in names."""

    hits: Hits
    keys: Hashes
    origins: Places


def documents_of(load: IndexLoad, moment: PointInTime, names: Sequence[str]) -> Iterator[Page]:
    """The documents of some origins, a page at a time."""
    places = {name: place for place, name in enumerate(names)}
    in_field = load.index.target.is_serverless
    fields = (SPLIT, ID) if in_field else (SPLIT,)
    query = {"terms": {SPLIT: list(names)}}
    for hits in moment.pages(query, fields=fields, sort=("doc_id", "chunk")):
        ids = hash_ids(field_of(hit, ID) if in_field else str(hit["_id"]) for hit in hits)
        origins = np.array([places[field_of(hit, SPLIT)] for hit in hits], np.int32)
        yield Page(hits, keys_of(ids, origins), origins)


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """A group after its comparison. lacking: bool [rows], live rows that are missing."""

    live: Live
    lacking: npt.NDArray[np.bool_]
    findings: Sequence[Finding]

    def selections(self) -> Iterator[Selection]:
        """What is missing, by the live split that holds it."""
        names = frozenset(self.live.names)
        for holder, manifest in enumerate(self.live.splits):
            ids = self.live.ids[self.lacking & (self.live.holders == holder)]
            if len(ids):
                yield Selection(manifest, names & manifest.origins.keys(), np.unique(ids))


def compare_group(load: IndexLoad, doubts: Sequence[Doubt]) -> Compared:
    """Hold a group against the index as it is at one moment. Raises OutputError."""
    live = live_rows(load.rows, doubts)
    found: list[Hashes] = [np.empty(0, np.uint64)]
    documents = np.zeros(len(doubts), np.int64)
    with PointInTime(load.client, load.name) as moment:
        for page in documents_of(load, moment, live.names):
            found.append(page.keys)
            documents += np.bincount(page.origins, minlength=len(doubts))
    is_there = np.isin(live.keys, np.concatenate(found))
    absent = live.keys[~is_there]
    kept = [
        _among(load.ledger.letters(doubt.receipt), place, absent)
        for place, doubt in enumerate(doubts)
    ]
    refused = np.concatenate([_letter_keys(some, place) for place, some in enumerate(kept)])
    lacking = ~is_there & ~np.isin(live.keys, refused)
    missing = np.bincount(live.origins[lacking], minlength=len(doubts))
    stale = documents - np.bincount(live.origins[is_there], minlength=len(doubts))
    findings = [
        Finding(doubt, int(missing[place]), int(stale[place]), kept[place])
        for place, doubt in enumerate(doubts)
    ]
    return Compared(live, lacking, findings)


def _among(letters: Sequence[IndexLetter], place: int, keys: Hashes) -> list[IndexLetter]:
    known = np.isin(_letter_keys(letters, place), keys)
    return [letter for letter, is_known in zip(letters, known, strict=True) if is_known]


def _letter_keys(letters: Sequence[IndexLetter], place: int) -> Hashes:
    ids = hash_ids(letter.id for letter in letters)
    return keys_of(ids, np.full(len(ids), place, np.int32))
