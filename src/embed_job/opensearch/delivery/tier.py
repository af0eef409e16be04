"""What differs between a domain and Serverless in how rows are named and sent again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import orjson

from embed_job.spec.opensearch import BulkSpec


class Tier(Protocol):
    """Used by many threads at a time.

    checks_ids: whether an item's ``_id`` in a reply must be the one sent at its position.
    requires_alias: whether rows go to an alias, so that a vanished index is an error and the
    server does not make a new one. start_bulk_bytes: size of a bulk to begin with.
    """

    @property
    def checks_ids(self) -> bool: ...

    @property
    def requires_alias(self) -> bool: ...

    @property
    def start_bulk_bytes(self) -> int: ...

    def action(self, row_id: str, generation: int) -> bytes:
        """The line that stands before a document, with its line break."""
        ...

    def extra_fields(self, row_id: str) -> Mapping[str, object]:
        """Fields of a document beside the row's columns."""
        ...

    def missing(self, ids: Sequence[str], generation: int) -> Sequence[str]:
        """Which of these rows to send again after nobody knows whether they were applied.

        ids: distinct rows. May wait and ask the server; raises OutputError, or an error of the
        client, which is then retried.
        """
        ...


class Domain:
    """Rows have an ``_id`` and a version: a replay overwrites a row with itself.

    Guarantee: one copy of each row, whatever is sent how often; an older generation never wins.
    """

    checks_ids = True
    requires_alias = True

    def __init__(self, bulk: BulkSpec) -> None:
        self.start_bulk_bytes = int(bulk.max_mib * (1 << 20))

    def action(self, row_id: str, generation: int) -> bytes:
        return b'{"index":{"_id":%b,"version":%d,"version_type":"external_gte"}}\n' % (
            orjson.dumps(row_id),
            generation,
        )

    def extra_fields(self, row_id: str) -> Mapping[str, object]:  # noqa: ARG002
        return {}

    def missing(self, ids: Sequence[str], generation: int) -> Sequence[str]:  # noqa: ARG002
        return ids
