"""The settings that a load runs under: recorded first, and always put back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from opensearchpy import OpenSearch, RequestError

from embed_job.errors import OutputError
from embed_job.opensearch.errors import reason_of
from embed_job.opensearch.index.meta import (
    Described,
    IndexMeta,
    LoadProfile,
    describe_index,
    meta_of,
    settle_meta,
)
from embed_job.opensearch.index.open import OpenIndex
from embed_job.opensearch.patience import PATIENT, Patience
from embed_job.opensearch.target import IndexTarget

REFRESH = "index.refresh_interval"
REPLICAS = "index.number_of_replicas"
AUTO_EXPAND = "index.auto_expand_replicas"
THRESHOLD = "index.knn.advanced.approximate_threshold"
_LOADING = "-1"
"""Of THRESHOLD: build no graphs; of REFRESH: never."""


def begin_load(client: OpenSearch, index: OpenIndex, *, patience: Patience | None = None) -> bool:
    """Put the load profile on; False where it stays off: on Serverless, and on a live index.

    The original settings are recorded in the index before any is changed. Idempotent; several
    hosts may call it at once. A live index, one that an alias is on, keeps its replicas,
    refreshes and graphs, as searches use them, and is not merged afterwards: that would build
    the graph of every vector anew for the few that are new.
    """
    if index.target.is_serverless:
        return False

    def begun(found: dict[str, Any], meta: IndexMeta) -> IndexMeta:
        if is_live(index.target, found):
            return meta
        # One description is of one moment: a record is there before any setting is another's.
        profile = meta.profile or settings_before(index.target, found)
        return meta.model_copy(update={"merged": False, "profile": profile})

    patience = patience or _patience_of(index.target)
    found, _ = change_record(client, index, begun, patience=patience)
    if is_live(index.target, found):
        return False
    wanted = {REFRESH: _LOADING}
    if has_threshold(found):
        wanted[THRESHOLD] = _LOADING
    put_settings(client, index, found, wanted, patience=patience)
    if not expands(found):
        _drop_replicas(client, index, found, patience=patience)
    return True


def is_live(target: IndexTarget, found: Mapping[str, Any]) -> bool:
    """Whether searches use an index: an alias is on it, the spec's or another of its users'."""
    return bool((found.get("aliases") or {}).keys() - {target.write_name})


def _patience_of(target: IndexTarget) -> Patience:
    """For the steps of a load: a user's shorter deadline holds for them too."""
    return Patience(limit_s=min(PATIENT.limit_s, target.output.bulk.deadline_s))


def _drop_replicas(
    client: OpenSearch, index: OpenIndex, found: Mapping[str, Any], *, patience: Patience
) -> None:
    """Load into one copy, as copying it afterwards is cheaper than indexing twice.

    A lost node costs rows then; the load finds them by count and sends them again. A domain with
    standby nodes takes full sets of copies alone, and refuses: there the copies stay.
    """

    def drop() -> None:
        try:
            client.indices.put_settings(index=index.target.name, body={REPLICAS: "0"})
        except RequestError as error:
            if "awareness" not in reason_of(error):
                raise

    if found["settings"].get(REPLICAS) != "0":
        patience.call(drop, where=f"{index.target.output.url}/{index.target.name}")


def restore(client: OpenSearch, index: OpenIndex, *, patience: Patience | None = None) -> bool:
    """Put the recorded settings back, without merging. Idempotent; False: there were none."""
    if index.target.is_serverless:
        return False
    patience = patience or _patience_of(index.target)
    found, meta = read_state(client, index, patience=patience)
    if meta.profile is None:
        return False
    put_settings(client, index, found, originals(meta.profile, found), patience=patience)
    clear_profile(client, index, patience=patience)
    return True


def settings_before(target: IndexTarget, found: Mapping[str, Any]) -> LoadProfile:
    """The settings to put back after a load, of an index that has no record of them.

    A -1 is left from a load, one whose record was cleared by another's finish: never an original.
    """
    settings = found["settings"]
    refresh, threshold = settings.get(REFRESH), settings.get(THRESHOLD)
    left = _LOADING in (refresh, threshold)
    replicas = target.output.replicas if left else settings.get(REPLICAS, "1")
    return LoadProfile(
        refresh_interval=None if refresh == _LOADING else refresh,
        number_of_replicas=str(replicas),
        approximate_threshold=None if threshold == _LOADING else threshold,
    )


def originals(profile: LoadProfile, found: Mapping[str, Any]) -> dict[str, str | None]:
    """The settings to be put back; None: unset."""
    wanted: dict[str, str | None] = {REFRESH: profile.refresh_interval}
    if not expands(found):
        wanted[REPLICAS] = profile.number_of_replicas
    if has_threshold(found):
        wanted[THRESHOLD] = profile.approximate_threshold
    return wanted


def read_state(client: OpenSearch, index: OpenIndex, *, patience: Patience) -> Described:
    """The index as it is now, defaults included. Raises OutputError where it is another now."""
    name, where = index.target.name, f"{index.target.output.url}/{index.target.name}"
    found = describe_index(client, name, where=where, patience=patience, defaults=True)
    meta = meta_of(found) if found is not None else None
    if found is None or meta is None or meta.load != index.load:
        what = "is gone" if found is None else "was replaced by another of its name"
        raise OutputError(
            where, f"the index {what} during this command", "Find out who did it, and run again."
        )
    return found, meta


def change_record(
    client: OpenSearch,
    index: OpenIndex,
    change: Callable[[dict[str, Any], IndexMeta], IndexMeta],
    *,
    patience: Patience,
) -> Described:
    """The index once its record is as change wants it. Raises OutputError as read_state does."""
    return settle_meta(
        client,
        index.target.name,
        change,
        read=lambda: read_state(client, index, patience=patience),
        patience=patience,
    )


def put_settings(
    client: OpenSearch,
    index: OpenIndex,
    found: Mapping[str, Any],
    wanted: Mapping[str, str | None],
    *,
    patience: Patience,
) -> None:
    """Set those of the wanted settings that are others; None unsets one."""
    changed = {
        name: value for name, value in wanted.items() if found["settings"].get(name) != value
    }
    if changed:
        patience.call(
            lambda: client.indices.put_settings(index=index.target.name, body=changed),
            where=f"{index.target.output.url}/{index.target.name}",
        )


def clear_profile(client: OpenSearch, index: OpenIndex, *, patience: Patience) -> None:
    """Say in the index that no load profile is on."""
    change_record(
        client,
        index,
        lambda _, meta: meta.model_copy(update={"profile": None}),
        patience=patience,
    )


def has_threshold(found: Mapping[str, Any]) -> bool:
    """Whether the server knows the setting: since OpenSearch 2.18."""
    return THRESHOLD in found["settings"] or THRESHOLD in found.get("defaults", {})


def expands(found: Mapping[str, Any]) -> bool:
    """Whether the server itself sets the replicas, by the number of nodes."""
    return str(found["settings"].get(AUTO_EXPAND, "false")).lower() != "false"
