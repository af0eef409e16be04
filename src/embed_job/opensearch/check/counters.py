"""Check 7: the k-NN plugin counts no new errors.

Its counters are a node's, from its start on, over all indexes: a load keeps them as they stood
before its first row, and what has been added since is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from opensearchpy import OpenSearch
from opensearchpy.exceptions import AuthorizationException

from embed_job.opensearch.check.subject import Answer, Subject
from embed_job.opensearch.load.ledger import LoadLedger
from embed_job.opensearch.patience import PATIENT
from embed_job.storage import Store

Counters = dict[str, dict[str, int]]
"""Node to counter to value."""

_ALSO = frozenset(["load_exception_count"])


def read_counters(client: OpenSearch) -> Counters:
    """The counters of every node as they stand. Not to be had of Serverless."""
    stats: Mapping[str, Any] = client.transport.perform_request("GET", "/_plugins/_knn/stats")
    return {
        node: {name: int(value) for name, value in counters.items() if _counts_errors(name)}
        for node, counters in stats["nodes"].items()
    }


def counters_before(subject: Subject) -> Counters:
    """The counters as an examination begins, for :func:`check_counters`, which fails where they
    may not be asked for."""
    if subject.target.is_serverless:
        return {}
    try:
        return read_counters(subject.client)
    except AuthorizationException:
        return {}


def record_counters(
    client: OpenSearch, store: Store, ledger: LoadLedger, *, generation: int
) -> None:
    """Keep the counters as they stand before a load's first row; the first host of a job does.

    Nothing is kept where we may not ask for them: the check, which needs them, says so. Raises
    OutputError where the cluster stays out of reach.
    """

    def read() -> Counters | None:
        try:
            return read_counters(client)
        except AuthorizationException:
            return None

    counters = PATIENT.call(read, where=ledger.index)
    if counters is not None:
        store.create(_key(ledger, generation), orjson.dumps(counters))


def check_counters(subject: Subject, before: Counters) -> Answer:
    """before: as they stood when this examination began, for loads that have kept none."""
    if subject.target.is_serverless:
        return Answer(ok=True, detail="Serverless does not tell", skipped=True)
    kept = _kept(subject)
    since = "this examination began" if kept is None else "the load began"
    growth = grown(before if kept is None else kept, read_counters(subject.client))
    told = ", ".join(f"{name} +{more}" for name, more in sorted(growth.items()))
    if growth:
        return Answer(ok=False, detail=f"since {since}, on the whole cluster: {told}")
    return Answer(ok=True, detail=f"no error since {since}")


def grown(before: Counters, after: Counters) -> dict[str, int]:
    """By how much each counter grew, over all nodes; those that did not are left out.

    A counter below its former value is of a node that was started since: all of it is new.
    """
    growth: dict[str, int] = {}
    for node, counters in after.items():
        for name, value in counters.items():
            former = before.get(node, {}).get(name, 0)
            more = value - former if value >= former else value
            if more:
                growth[name] = growth.get(name, 0) + more
    return growth


def _counts_errors(name: str) -> bool:
    return name.endswith("_errors") or name in _ALSO


def _key(ledger: LoadLedger, generation: int) -> str:
    return ledger.key("knn-errors", f"{generation:012}.json")


def _kept(subject: Subject) -> Counters | None:
    """What the last load that kept any kept: a redrive keeps none, but its errors count too."""
    if subject.ledger is None:
        return None
    for generation in reversed(subject.ledger.generations()):
        try:
            data = subject.dataset.store.read(_key(subject.ledger, generation))
        except FileNotFoundError:
            continue
        kept: Counters = orjson.loads(data)
        return kept
    return None
