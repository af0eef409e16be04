"""An index made, or found and checked."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from opensearchpy import OpenSearch, RequestError

from embed_job.errors import OutputError
from embed_job.opensearch.errors import type_of
from embed_job.opensearch.index.alias import holders_of
from embed_job.opensearch.index.mapping import differences, index_body
from embed_job.opensearch.index.meta import IndexMeta, describe_index, meta_of
from embed_job.opensearch.patience import BRIEF, Patience
from embed_job.opensearch.target import IndexTarget


@dataclass(frozen=True, slots=True)
class OpenIndex:
    """An index that is the one wanted, as of when it was opened. created: by this call."""

    target: IndexTarget
    meta: IndexMeta
    created: bool

    @property
    def load(self) -> str:
        """The nonce of this very index: one deleted and made anew has another."""
        return self.meta.load


def open_index(
    client: OpenSearch, target: IndexTarget, *, create: bool, patience: Patience = BRIEF
) -> OpenIndex:
    """The index of a target; where it is missing and create is set, it is made.

    Safe for several hosts at once: one makes it, all check it. Raises OutputError where it is
    missing, or differs from the target in what would mix or spoil vectors; with create also where
    the alias of the spec can never be one.
    """
    where = _where(target)
    if create and target.alias is not None:
        # A name that promote will refuse is better told of before a load than after it.
        holders_of(
            client, target.alias, where=f"{target.output.url}/{target.alias}", patience=patience
        )
    found = describe_index(client, target.name, where=where, patience=patience)
    made = ""
    if found is None and create:
        made = _create(client, target, patience)
        found = describe_index(client, target.name, where=where, patience=patience)
    if found is None:
        raise OutputError(where, "there is no such index", "`embed-job load SPEC` makes it.")
    told = differences(target, found)
    meta = meta_of(found)
    if told or meta is None:
        raise _differs(target, told)
    if not target.is_serverless and target.write_name not in (found.get("aliases") or {}):
        _add_write_name(client, target, patience)
    return OpenIndex(target, meta, created=meta.load == made)


def _create(client: OpenSearch, target: IndexTarget, patience: Patience) -> str:
    """Make the index. The nonce of this attempt, whoever's is the index there then."""
    load = secrets.token_hex(6)
    body = index_body(target, load=load)

    def make() -> None:
        try:
            client.indices.create(index=target.name, body=body)
        except RequestError as error:
            # Another host was first, or this very request was and its answer got lost.
            if type_of(error) != "resource_already_exists_exception":
                raise

    patience.call(make, where=_where(target))
    return load


def _add_write_name(client: OpenSearch, target: IndexTarget, patience: Patience) -> None:
    patience.call(
        lambda: client.indices.put_alias(
            index=target.name, name=target.write_name, body={"is_hidden": True}
        ),
        where=_where(target),
    )


def _differs(target: IndexTarget, told: list[str]) -> OutputError:
    if target.output.index is None:
        way = "Name another alias, or delete that index if it is no longer needed."
    else:
        way = (
            "Leave index out, so that each fingerprint gets an index of its own, name another, or "
            "delete that one if it is no longer needed."
        )
    return OutputError(
        _where(target),
        f"the index there is not the one that this spec makes: {'; '.join(told)}",
        f"Nothing was written to it. {way}",
    )


def _where(target: IndexTarget) -> str:
    return f"{target.output.url}/{target.name}"
