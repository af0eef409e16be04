"""The index of a job of several hosts: each loads what it commits, the last one ends it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from embed_job.dataset import open_dataset
from embed_job.fleet import Host
from embed_job.fleet.records import JobFolder
from embed_job.fleet.waiting import Others
from embed_job.opensearch.load.loading import load_rest, loading
from embed_job.plan import Plan
from embed_job.progress import Progress
from embed_job.stop import StopSignals

if TYPE_CHECKING:
    from embed_job.opensearch.load.load import LoadResult
    from embed_job.opensearch.load.loader import Loader


@dataclass(frozen=True, slots=True)
class HostIndex:
    """What one host does for the index. others: the hosts of the job, as it sees them."""

    plan: Plan
    host: Host
    room: JobFolder
    others: Others
    progress: Progress
    stop: StopSignals

    def loading(self, *, shared: bool) -> AbstractContextManager[Loader | None]:
        """Load what this host commits; of what is committed already, what nobody else does.

        shared: whether all hosts have the same plan.
        """
        share, host = self.plan.planned, self.host
        if shared:
            share = tuple(sorted(share)[host.rank :: host.count])
        return loading(self.plan, share, host=host, progress=self.progress, stop=self.stop)

    def load_rest(self, loader: Loader | None) -> LoadResult | None:
        """Bring the index to what the job came to, as its last deed."""
        if loader is not None and not loader.live and self.host.count > 1:
            self.progress.event("index", step="waiting for what other hosts deliver")
            self.others.await_deliveries(loader.receipts)
        loaded = load_rest(
            self.plan.spec,
            self.plan.target,
            self.plan.commits.folder,
            host=self.host,
            progress=self.progress,
            stop=self.stop,
        )
        if loaded is None or loaded.problems or self.stop.requested:
            return loaded
        return self._promoted(loaded)

    def _promoted(self, loaded: LoadResult) -> LoadResult:
        """What the spec wants done with an index that is loaded."""
        from embed_job.opensearch.promotion.at_end import promote_at_end

        return promote_at_end(
            self.plan.spec,
            open_dataset(self.plan.target, self.plan.commits.folder),
            loaded,
            bundle=self.plan.place.bundle,
            write_page=self._write_page,
            progress=self.progress,
        )

    def _write_page(self, page: bytes) -> str:
        self.room.write_report("canary.html", page)
        return self.room.key("canary.html")
