"""When writes are seen by searches, where no refresh can be asked for."""

from __future__ import annotations

import re
from collections.abc import Callable

from opensearchpy import OpenSearch

from embed_job.errors import OutputError
from embed_job.opensearch.patience import PATIENT, Patience
from embed_job.opensearch.serverless.scan import whole

SLOWEST_S = 60.0
"""Seconds after which an acknowledged write is taken to be seen, where the index says nothing.

The service refreshes by itself, about every ten seconds, slower under load.
"""
_INTERVALS = 3
_POLLS = 6
_LONGEST = 30
_INTERVAL = re.compile(r"(?P<number>\d+)(?P<unit>ms|s|m)")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0}


def seconds_of(refresh_interval: str | None) -> float:
    """Seconds until a write is taken to be seen: three refreshes, SLOWEST_S at most. Pure.

    refresh_interval: the setting of that name, as in "10s"; None: not set.
    """
    found = _INTERVAL.fullmatch(refresh_interval or "")
    if found is None:
        return SLOWEST_S
    return min(SLOWEST_S, _INTERVALS * int(found["number"]) * _UNIT_S[found["unit"]])


def visibility_s(client: OpenSearch, index: str, *, patience: Patience = PATIENT) -> float:
    """Seconds after which a write to this index is taken to be seen by searches."""
    found = patience.call(lambda: client.indices.get_settings(index=index), where=index)
    settings = next(iter(found.values()))["settings"]["index"]
    return seconds_of(settings.get("refresh_interval"))


def await_visible(
    client: OpenSearch,
    index: str,
    *,
    patience: Patience = PATIENT,
    stopping: Callable[[], bool] = lambda: False,
) -> bool:
    """Wait until the writes before this call are seen: until the count has not moved for so long.

    False: stopping() ended it. Raises OutputError where others keep writing.
    """
    quiet_s = visibility_s(client, index, patience=patience)
    started = moved = patience.clock()
    count = _count(client, index, patience)
    while patience.clock() - moved < quiet_s:
        if stopping():
            return False
        if patience.clock() - started > _LONGEST * quiet_s:
            raise OutputError(
                index,
                f"its number of documents kept changing for {_LONGEST * quiet_s:.0f} s",
                "Wait until nothing else writes to it, and run again.",
            )
        patience.sleep(quiet_s / _POLLS)
        now = _count(client, index, patience)
        if now != count:
            count, moved = now, patience.clock()
    return True


def _count(client: OpenSearch, index: str, patience: Patience) -> int:
    answer = patience.call(lambda: whole(client.count(index=index)), where=index)
    return int(answer["count"])
