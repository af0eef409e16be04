"""The end of a load: graphs built, replicas up, searches warm. Killed anywhere, it goes on."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from opensearchpy import ConnectionTimeout, OpenSearch

from embed_job.errors import OutputError
from embed_job.opensearch.index.merge import Merging
from embed_job.opensearch.index.open import OpenIndex
from embed_job.opensearch.index.profile import (
    REPLICAS,
    THRESHOLD,
    change_record,
    clear_profile,
    expands,
    has_threshold,
    originals,
    put_settings,
    read_state,
    settings_before,
)
from embed_job.opensearch.patience import Patience
from embed_job.opensearch.serverless.sweep import sweep_duplicates

_STUCK_S = 120.0
"""Without a copy on its way for so long, it has no place: a lost node is waited for 60 s."""
_WARM_UP_S = 3600.0


def finish(
    client: OpenSearch,
    index: OpenIndex,
    *,
    progress: Callable[[str], None],
    stopping: Callable[[], bool],
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> bool:
    """Threshold 0 → refresh → force merge → replicas, refresh interval → green → warm-up.

    progress: gets one short line a step. False: stopping() ended it early; call it again.
    Idempotent. On Serverless only duplicates are swept. Raises OutputError, such as where the
    replicas of the spec have no place.
    """
    if index.target.is_serverless:
        progress("sweeping documents that are there twice")
        patience = Patience(clock=clock, sleep=sleep)
        swept = sweep_duplicates(client, index.target.name, stopping=stopping, patience=patience)
        return swept.clean
    steps = _Steps(client, index, progress, stopping, Patience(clock=clock, sleep=sleep))
    return (
        steps.merge()
        and steps.put_back()
        and steps.await_green()
        and steps.warm_up()
        and steps.settle()
    )


@dataclass(frozen=True, slots=True)
class _Steps:
    """Each may be done again, and answers False where it was asked to stop."""

    client: OpenSearch
    index: OpenIndex
    progress: Callable[[str], None]
    stopping: Callable[[], bool]
    patience: Patience

    @property
    def _name(self) -> str:
        return self.index.target.name

    @property
    def _where(self) -> str:
        return f"{self.index.target.output.url}/{self._name}"

    def merge(self) -> bool:
        """Build the graphs: one segment a shard, unless that was done since the last load."""
        found, meta = read_state(self.client, self.index, patience=self.patience)
        if has_threshold(found):
            # Without it the merge would build no graphs either, and each search read every vector.
            self._put(found, {THRESHOLD: "0"})
        merging = Merging(self.client, self.index.target, self.patience)
        merging.refresh()
        if meta.merged:
            return True
        self.progress("merging segments, which builds the graphs")
        began_s = self.patience.clock()
        if not merging.run(progress=self.progress, stopping=self.stopping):
            return False
        self.progress(f"merged in {self.patience.clock() - began_s:.1f} s")
        change_record(
            self.client,
            self.index,
            lambda _, meta: meta.model_copy(update={"merged": True}),
            patience=self.patience,
        )
        return True

    def put_back(self) -> bool:
        """The recorded settings, and the replicas of the spec."""
        found, meta = read_state(self.client, self.index, patience=self.patience)
        target = self.index.target
        wanted = originals(meta.profile or settings_before(target, found), found)
        if has_threshold(found):
            wanted[THRESHOLD] = "0"
        if not expands(found):
            wanted[REPLICAS] = str(target.output.replicas)
        self._put(found, wanted)
        return True

    def await_green(self) -> bool:
        """Wait until every copy of every shard is there."""
        stuck_since_s: float | None = None
        told = False
        for now_s in self.patience.polls(self.stopping):
            health = self._call(lambda: self.client.cluster.health(index=self._name))
            if health["status"] == "green":
                return True
            self._check_room(health)
            if not told:
                self.progress(f"waiting for {_missing(health)} copies of shards")
                told = True
            if health["initializing_shards"] or stuck_since_s is None:
                stuck_since_s = now_s
            if now_s - stuck_since_s > _STUCK_S:
                raise OutputError(
                    self._where,
                    f"is {health['status']}: {health['unassigned_shards']} copies of shards "
                    f"found no place in {_STUCK_S:.0f} s",
                    "The server tells why at _cluster/allocation/explain; then run "
                    "`embed-job finalize SPEC` again.",
                )
        return False

    def _check_room(self, health: dict[str, Any]) -> None:
        replicas, nodes = self.index.target.output.replicas, health["number_of_data_nodes"]
        if replicas >= nodes and health["status"] == "yellow":
            raise OutputError(
                self._where,
                f"is yellow: {replicas} replicas can't be placed on {nodes} data node"
                f"{'s' if nodes > 1 else ''}, as each copy needs a node of its own",
                f"Set replicas to {nodes - 1} or add nodes, and run `embed-job finalize SPEC`.",
            )

    def warm_up(self) -> bool:
        """Read the graphs into memory, before the first search has to."""
        self.progress("warming up")
        began_s = self.patience.clock()
        answer: dict[str, Any] | None = None
        for now_s in self.patience.polls(self.stopping):
            answer = self._call(self._warmed)
            if answer is not None:
                break
            if now_s - began_s > _WARM_UP_S:
                raise OutputError(
                    self._where,
                    f"its graphs were not read into memory in {_WARM_UP_S:.0f} s",
                    "Look at the k-NN memory: _plugins/_knn/stats; then run finalize again.",
                )
        if answer is None:
            return False
        failed = answer.get("_shards", {}).get("failed", 0)
        if failed:
            raise OutputError(
                self._where,
                f"{failed} shards could not be read into memory",
                "Look at the k-NN memory: _plugins/_knn/stats; then run finalize again.",
            )
        return True

    def _warmed(self) -> dict[str, Any] | None:
        """The answer; None: not yet. The server goes on then, and what it has read it keeps."""
        try:
            answer: dict[str, Any] = self.client.transport.perform_request(
                "GET", f"/_plugins/_knn/warmup/{self._name}"
            )
        except ConnectionTimeout:
            return None
        return answer

    def settle(self) -> bool:
        """Say in the index that nothing is left to put back."""
        clear_profile(self.client, self.index, patience=self.patience)
        self.progress(f"{self._name} is finished")
        return True

    def _put(self, found: dict[str, Any], wanted: dict[str, str | None]) -> None:
        put_settings(self.client, self.index, found, wanted, patience=self.patience)

    def _call(self, operation: Callable[[], Any]) -> Any:
        return self.patience.call(operation, where=self._where)


def _missing(health: dict[str, Any]) -> int:
    return int(health["unassigned_shards"]) + int(health["initializing_shards"])
