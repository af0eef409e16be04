"""What no live split names goes: replaced splits out of readers' sight, orphans for good."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from embed_job.commit.commits import PRIVATE, RETIRED, Commits, encode_record, files_of
from embed_job.manifest import SplitManifest
from embed_job.storage import join, list_files

T = TypeVar("T")

_PARALLEL = 16
"""Moves at a time: in S3 each is two requests, and a new corpus retires thousands of splits."""

_OURS = re.compile(
    r"part-[0-9a-f]{16}-[0-9a-f]{12}-\d{3,}\.parquet"
    rf"|{PRIVATE}/(manifests/[0-9a-f]{{64}}\.json"
    r"|(ids|dead-letters|ledger)/[0-9a-f]{16}-[0-9a-f]{12}\.\w+)"
)
"""Names that only we give: nothing else is ever removed, whatever a user keeps in the folder."""

_RETIRED = re.compile(rf"({PRIVATE}/{RETIRED}/\d{{8}})/(.+)")


@dataclass(frozen=True, slots=True)
class Swept:
    """retired: splits that were put aside; removed: files that were deleted."""

    retired: int
    removed: int


class Sweep:
    """Removes, after the commit of a job, what no live split of it names; idempotent.

    A split that leaves is *retired*: its manifest is copied to ``retired/<generation>/`` and taken
    away, and then its parts and its ledger are moved there, under the names that they had. Its
    other files go, and so do orphans, and generations beyond those that are kept, of which only
    those count that retired something. Killed anywhere, the next sweep ends it: what a retired
    manifest names and still lies in the open is moved then.
    """

    def __init__(
        self, commits: Commits, *, generation: int, keep: int, holds: Callable[[], bool]
    ) -> None:
        """generation: that of the job. keep: how many generations of retired splits stay. holds:
        asked before each step whether this run may still remove anything; if not, the rest is left
        to the next sweep."""
        self._commits = commits
        self._store = commits.store
        self._generation = generation
        self._keep = keep
        self._holds = holds

    def run(self, live: Mapping[str, SplitManifest], found: Mapping[str, SplitManifest]) -> Swept:
        """live: splits that count; found: every committed one. To be called once every split of the
        input is committed: an attempt still on its way can only lose."""
        leaving = [manifest for split, manifest in found.items() if split not in live]
        retired = self._each(self._mark, leaving) if self._keep else 0
        doomed, kept = self._sorted_out(live)
        stay = sorted(kept)[-self._keep :] if self._keep else []
        owners = self._owners(name for folder in stay for name in kept[folder]) if doomed else {}
        # Manifests go first: a reader may see a part without its manifest, never the reverse.
        removed = self._each(self._delete, (name for name in doomed if name.endswith(".json")))
        left = [name for name in doomed if not name.endswith(".json")]
        self._each(lambda name: self._move(name, owners[name]), (n for n in left if n in owners))
        gone = [name for name in left if name not in owners]
        gone += [name for folder in kept.keys() - set(stay) for name in kept[folder]]
        return Swept(retired, removed + self._each(self._delete, gone))

    def _sorted_out(
        self, live: Mapping[str, SplitManifest]
    ) -> tuple[list[str], dict[str, list[str]]]:
        """What lies in the open and no live split names; what is retired, by its folder."""
        named = {name for manifest in live.values() for name in files_of(manifest)}
        named |= {f"{PRIVATE}/manifests/{split}.json" for split in live}
        doomed: list[str] = []
        kept: defaultdict[str, list[str]] = defaultdict(list)
        start = len(self._commits.folder) + 1
        for file in list_files(self._store, self._commits.folder):
            name = file.key[start:]
            if (retired := _RETIRED.fullmatch(name)) and _OURS.fullmatch(retired[2]):
                kept[retired[1]].append(name)
            elif _OURS.fullmatch(name) and name not in named:
                doomed.append(name)
        return doomed, kept

    def _each(self, step: Callable[[T], None], items: Iterable[T]) -> int:
        """Take a step for each while this run may; for how many it was taken."""

        def guarded(item: T) -> bool:
            if not self._holds():
                return False
            step(item)
            return True

        with ThreadPoolExecutor(_PARALLEL) as pool:
            return sum(pool.map(guarded, items))

    def _mark(self, manifest: SplitManifest) -> None:
        name = f"{PRIVATE}/manifests/{manifest.split}.json"
        folder = self._commits.key(RETIRED, f"{self._generation:08}")
        self._store.replace(join(folder, name), encode_record(manifest))
        self._store.delete(join(self._commits.folder, name))

    def _move(self, name: str, folder: str) -> None:
        self._store.move(join(self._commits.folder, name), join(self._commits.folder, folder, name))

    def _delete(self, name: str) -> None:
        self._store.delete(join(self._commits.folder, name))

    def _owners(self, names: Iterable[str]) -> dict[str, str]:
        """Files that retired splits take along, to the folder of each. names: all that is retired;
        of two generations that name the same file, the later has it."""
        found = [_RETIRED.fullmatch(name) for name in names if name.endswith(".json")]
        keys = [join(self._commits.folder, name[0]) for name in found if name]
        manifests = zip(filter(None, found), self._commits.manifests_at(keys), strict=True)
        return {
            name: retired[1]
            for retired, manifest in manifests
            if manifest
            for name in (*(part.name for part in manifest.parts), manifest.ledger)
            if name
        }
