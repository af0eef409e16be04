"""The force merge that builds the graphs: one segment a shard, by tasks of the server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from opensearchpy import ConflictError, NotFoundError, OpenSearch

from embed_job.errors import OutputError
from embed_job.opensearch.patience import Patience
from embed_job.opensearch.target import IndexTarget

_MAX_MERGES = 10
"""Tasks begun, at most: a node that restarts forgets its own."""

_REFRESH_TIMEOUT_S = 600
"""The first refresh after a load without any writes out all that is in memory."""


@dataclass(frozen=True, slots=True)
class Merging:
    """The merge of one index, of which the threshold for graphs is 0 already."""

    client: OpenSearch
    target: IndexTarget
    patience: Patience

    def run(self, *, progress: Callable[[str], None], stopping: Callable[[], bool]) -> bool:
        """Merge to the end; False: stopped before, and the server goes on. Idempotent.

        To be called after refresh().
        """
        for shard in self._shards_of_one_segment():
            self._touch(shard)
        self.refresh()
        for _ in range(_MAX_MERGES):
            done = self._one_merge(stopping)
            if done is not None:
                # Until then, searches and the warm-up would see the segments from before.
                self.refresh()
                return done
            progress("the node forgot the merge (it restarted): merging again")
        raise OutputError(
            self._where,
            f"{_MAX_MERGES} merges were lost, each with its node",
            "Look at why the nodes restart; `embed-job finalize SPEC` goes on from here.",
        )

    def _shards_of_one_segment(self) -> list[int]:
        answer = self._call(lambda: self.client.indices.segments(index=self.target.name))
        shards = answer["indices"][self.target.name]["shards"]
        return [
            int(shard)
            for shard, copies in shards.items()
            if any(copy["routing"]["primary"] and len(copy["segments"]) == 1 for copy in copies)
        ]

    def _touch(self, shard: int) -> None:
        """Write one document again, as it is, so that the shard has a second segment.

        A single segment is not merged. Written without a graph, it would stay without one, and
        each search would read every vector of it.
        """
        answer = self._call(
            lambda: self.client.search(
                index=self.target.name,
                params={"preference": f"_shards:{shard}", "size": 1, "version": "true"},
            )
        )
        for hit in answer["hits"]["hits"]:
            self._call(lambda hit=hit: self._write_again(hit))  # type: ignore[misc]

    def _write_again(self, hit: dict[str, Any]) -> None:
        params = {
            "version": hit["_version"],
            "version_type": "external_gte",
            "require_alias": "true",
        }
        try:
            self.client.index(
                index=self.target.write_name, id=hit["_id"], body=hit["_source"], params=params
            )
        except ConflictError:
            return  # a later version has come, and with it the second segment

    def _one_merge(self, stopping: Callable[[], bool]) -> bool | None:
        """One task to its end; None: its node has forgotten it."""
        params = {"max_num_segments": 1, "wait_for_completion": "false"}
        task = self._call(
            lambda: self.client.indices.forcemerge(index=self.target.name, params=params)
        )["task"]
        for _ in self.patience.polls(stopping):
            state = self._call(lambda: self._state_of(task))
            if state is None:
                return None
            if state["completed"]:
                self._check(state)
                return True
        return False

    def _state_of(self, task: str) -> dict[str, Any] | None:
        try:
            state: dict[str, Any] = self.client.tasks.get(task_id=task)
        except NotFoundError:
            return None
        return state

    def _check(self, state: dict[str, Any]) -> None:
        failures = (state.get("response") or {}).get("_shards", {}).get("failures") or []
        failure = state.get("error") or (failures[0].get("reason") if failures else None)
        if failure:
            told = failure.get("reason") if isinstance(failure, dict) else failure
            raise OutputError(
                self._where,
                f"the merge failed ({told})",
                "Often a disk is full: a merge needs room for the index once more. "
                "`embed-job finalize SPEC` goes on from here.",
            )

    def refresh(self) -> None:
        """Let searches see what was written."""
        params = {"request_timeout": _REFRESH_TIMEOUT_S}
        self._call(lambda: self.client.indices.refresh(index=self.target.name, params=params))

    def _call(self, operation: Callable[[], Any]) -> Any:
        return self.patience.call(operation, where=self._where)

    @property
    def _where(self) -> str:
        return f"{self.target.output.url}/{self.target.name}"
