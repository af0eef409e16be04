"""What the checks look at: an index as the server tells of it, and what was loaded into it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from opensearchpy import OpenSearch

from embed_job.dataset import Dataset
from embed_job.errors import OutputError
from embed_job.ids import Hashes, hash_ids
from embed_job.opensearch.check.keys import no_hashes
from embed_job.opensearch.check.pages import Hits, field_of, search_each
from embed_job.opensearch.index.meta import IndexMeta, meta_of
from embed_job.opensearch.load.ledger import LoadLedger, Receipt
from embed_job.opensearch.load.origins import Origin, origins_of
from embed_job.opensearch.target import ID, IndexTarget

CONTENT = "content_hash"
_FETCHED_AT_A_TIME = 64


@dataclass(frozen=True, slots=True)
class Answer:
    """What a check found. detail: what was looked at, or the first things wrong; figure: the
    number that it measures, where it measures one; skipped: it can't be asked of this server."""

    ok: bool
    detail: str
    figure: float | None = None
    skipped: bool = False


@dataclass(frozen=True)
class Subject:
    """An index under examination. Not slotted, as it keeps what it joins.

    found: what ``GET /<index>?flat_settings=true`` answers for it, on a domain with defaults.
    ledger: of the load that the index names; None where it names none. origins: of the output, by
    name; receipts, refused: likewise, the latter hashes of the ids in dead letters.
    """

    client: OpenSearch
    target: IndexTarget
    dataset: Dataset
    found: Mapping[str, Any]
    ledger: LoadLedger | None
    origins: Mapping[str, Origin]
    receipts: Mapping[str, Receipt]
    refused: Mapping[str, Hashes]

    @property
    def name(self) -> str:
        return self.target.name

    @cached_property
    def refused_ids(self) -> Hashes:
        """Of all dead letters; an id is in one origin alone."""
        return np.concatenate([no_hashes(), *self.refused.values()])

    @property
    def meta(self) -> IndexMeta | None:
        """What the index says of itself; None where it is none of ours."""
        return meta_of(self.found)

    @property
    def id_fields(self) -> tuple[str, ...]:
        """The fields to ask for, for id_of."""
        return (ID,) if self.target.is_serverless else ()

    def id_of(self, hit: Mapping[str, Any]) -> str:
        """The row that a document is of."""
        return field_of(hit, ID) if self.target.is_serverless else str(hit["_id"])

    def fetch(self, ids: Sequence[str], *, fields: Sequence[str] | None) -> dict[str, Any]:
        """Documents by their row ids; those that are not there are left out.

        fields: which of them; None: all.
        """
        blocks = (
            ids[at : at + _FETCHED_AT_A_TIME] for at in range(0, len(ids), _FETCHED_AT_A_TIME)
        )
        found: dict[str, Any] = {}
        for block in blocks:
            found |= {self.id_of(hit): hit["_source"] for hit in self._fetched(block, fields)}
        return found

    def _fetched(
        self, ids: Sequence[str], fields: Sequence[str] | None
    ) -> Iterator[dict[str, Any]]:
        source = True if fields is None else list(fields)
        if not self.target.is_serverless:
            documents = [{"_id": row_id, "_source": source} for row_id in ids]
            answer = self.client.mget(index=self.name, body={"docs": documents})
            return (document for document in answer["docs"] if document.get("found"))
        body = {
            "size": 10 * len(ids),
            "query": {"terms": {ID: list(ids)}},
            "_source": source,
            "docvalue_fields": [ID],
        }
        return iter(next(search_each(self.client, self.name, iter([body]))))


def open_subject(client: OpenSearch, target: IndexTarget, dataset: Dataset) -> Subject:
    """The index of a target, with what its ledger holds.

    Raises OutputError where there is no such index.
    """
    params = {"flat_settings": "true", "ignore_unavailable": "true", "allow_no_indices": "true"}
    if not target.is_serverless:
        params["include_defaults"] = "true"
    answer = client.indices.get(index=target.name, params=params)
    if target.name not in answer:
        raise OutputError(
            f"{target.output.url}/{target.name}",
            "there is no such index",
            "`embed-job load SPEC` makes it.",
        )
    origins = origins_of(dataset.splits)
    bare = Subject(client, target, dataset, answer[target.name], None, origins, {}, {})
    if bare.meta is None:
        return bare
    ledger = LoadLedger(dataset.store, dataset.folder, index=target.name, load=bare.meta.load)
    found = ledger.receipts()
    receipts = {name: found[name] for name in origins if name in found}
    refused = {
        name: hash_ids(letter.id for letter in ledger.letters(receipt))
        for name, receipt in receipts.items()
        if receipt.dead_letters is not None
    }
    return Subject(client, target, dataset, bare.found, ledger, origins, receipts, refused)


def hits_by(subject: Subject, bodies: Iterator[Mapping[str, Any]]) -> Iterator[Hits]:
    """The hits of each of many searches in the index itself, never in the alias."""
    return search_each(subject.client, subject.name, bodies)
