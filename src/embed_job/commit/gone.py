"""What the last generation held and the input no longer does, before anything of it is removed.

Two guards: no more documents go than was allowed, and none at all because of an incomplete listing.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np

from embed_job.commit.commits import Commits
from embed_job.commit.duplicates import doc_ids_of
from embed_job.commit.ending import Ending
from embed_job.commit.id_hashes import HASHES_IN_MEMORY, all_ids, ids_of, partition, ranges_for
from embed_job.ids import Hashes, hash_ids
from embed_job.manifest import JobManifest, SplitManifest
from embed_job.storage import Store

_MAX_SAMPLED = 1000
_MAX_NAMED = 3
_PARALLEL_ASKS = 16
_NAMES_AT_A_TIME = 1 << 16


@dataclass(frozen=True, slots=True)
class Gone:
    """count: ids that are gone, each once, told by their 64-bit hashes. sample: of the first
    thousand, sorted."""

    count: int
    sample: Hashes


def find_gone(
    before: Iterable[Hashes],
    after: Iterable[Hashes],
    *,
    hashes: int,
    hashes_in_memory: int = HASHES_IN_MEMORY,
) -> Gone:
    """Ids of `before` that are not in `after`, arrays of hashes both.

    hashes: about how many there are in both. Memory: hashes_in_memory × 24 bytes.
    """
    ranges = ranges_for(hashes, in_memory=hashes_in_memory)
    count = sampled = 0
    sample = [np.empty(0, np.uint64)]
    with tempfile.TemporaryDirectory(prefix="embed-job-gone-") as scratch:
        old, new = Path(scratch, "before"), Path(scratch, "after")
        partition(old, ranges, before)
        partition(new, ranges, after)
        for path in sorted(old.iterdir()):
            other = new / path.name
            kept = np.fromfile(other, np.uint64) if other.exists() else sample[0]
            missing = np.setdiff1d(np.fromfile(path, np.uint64), kept)
            count += len(missing)
            sample.append(missing[: _MAX_SAMPLED - sampled])
            sampled += len(sample[-1])
    return Gone(count, np.concatenate(sample))


def absent_files(before: Iterable[SplitManifest], present: Iterable[str]) -> list[str]:
    """Names of files that splits of the last generation were read from and that are not among
    `present`, sorted. Memory: 8 bytes a present file, and the names of those splits' files."""
    names = sorted({name for manifest in before for name, _ in manifest.source.files})
    absent = np.ones(len(names), dtype=bool)
    hashes = hash_ids(names)
    left = iter(present)
    while some := list(islice(left, _NAMES_AT_A_TIME)):
        absent &= ~np.isin(hashes, hash_ids(some))
    return [name for name, is_absent in zip(names, absent, strict=True) if is_absent]


def still_there(names: Sequence[str], size_of: Callable[[str], int]) -> list[str]:
    """Those of the names that the input holds after all, with something in them: a listing that
    lacks them is incomplete. One that may not be asked for counts as there. Stops at the first
    thousand that hold such a one."""

    def is_there(name: str) -> bool:
        try:
            return size_of(name) > 0
        except FileNotFoundError:
            return False
        except PermissionError:
            return True

    found: list[str] = []
    with ThreadPoolExecutor(_PARALLEL_ASKS) as pool:
        for start in range(0, len(names), _MAX_SAMPLED):
            some = names[start : start + _MAX_SAMPLED]
            asked = zip(some, pool.map(is_there, some), strict=True)
            if found := [name for name, there in asked if there]:
                break
    return found


def objections(commits: Commits, ending: Ending, base: JobManifest | None) -> list[str]:
    """Why the job must not replace the last generation, a sentence each; empty where it may.

    base: the last generation; None: there is none.
    """
    planned = set(ending.planned)
    names = base.splits if base else ()
    leaving = [ending.found[s] for s in names if s in ending.found and s not in planned]
    if base is None or not leaving:
        return []
    present = (name for split in ending.planned for name, _ in ending.live[split].source.files)
    absent = absent_files(leaving, chain(present, ending.without_splits))
    allowed = ending.spec.refresh.max_delete_fraction
    try:
        gone = _gone(commits, ending, base, leaving) if allowed < 1 else None
    except FileNotFoundError as error:
        return [ids_are_lost(str(error.filename or error))]
    documents = base.counts.documents.written
    too_many = gone is not None and is_over(gone.count, documents, allowed)
    # Of many, some are asked for, to tell a listing that is cut short from a corpus that shrank.
    asked = absent[:: -(-len(absent) // _MAX_SAMPLED)] if too_many and absent else absent
    if there := still_there(asked, ending.size_of):
        return [incomplete_listing(there, len(absent))]
    if gone is None or not too_many:
        return []
    some = _examples(commits.store, commits.folder, leaving, gone)
    return [too_many_gone(gone.count, documents, some, allowed)]


def _gone(
    commits: Commits, ending: Ending, base: JobManifest, leaving: Sequence[SplitManifest]
) -> Gone:
    stayed = set(base.splits) if not base.duplicates_across_splits else set()
    # An id that a split keeps was nowhere else, unless duplicates were allowed.
    after = [ending.live[split] for split in ending.planned if split not in stayed]
    read = (all_ids(commits.store, commits.folder, some) for some in (leaving, after))
    documents = sum(m.counts.documents.written for m in (*leaving, *after))
    return find_gone(*read, hashes=documents)


def _examples(
    store: Store, folder: str, leaving: Sequence[SplitManifest], gone: Gone
) -> Iterator[str]:
    named = 0
    with suppress(FileNotFoundError):  # a part that is lost names nothing
        for manifest in leaving:
            if not np.isin(ids_of(store, folder, manifest), gone.sample).any():
                continue
            for doc_id in doc_ids_of(store, folder, manifest):
                if np.isin(hash_ids([doc_id]), gone.sample)[0]:
                    yield doc_id
                    named += 1
                    if named == _MAX_NAMED:
                        return


_UNTOUCHED = "so nothing was committed as the job, retired or deleted"


def incomplete_listing(there: Sequence[str], absent: int) -> str:
    """The sentence of the first guard. absent: files that the listing lacks; there: some that can
    be read."""
    some = ", ".join(there[:_MAX_NAMED])
    return (
        f"the listing of the input is not complete: {absent:,} files of the last generation are "
        f"not in it, and {some} can still be read, {_UNTOUCHED}: run or submit again, which lists "
        "anew"
    )


def ids_are_lost(key: str) -> str:
    """The sentence where nobody can tell how much is gone. key: the file that is missing."""
    return (
        f"{key} of the last generation is lost, so that nobody can tell which of its documents are "
        f"gone, {_UNTOUCHED}: bring it back, or check the input and run or submit again with --set "
        "refresh.max_delete_fraction=1, which embeds nothing again"
    )


def is_over(count: int, of: int, allowed: float) -> bool:
    """Whether a deletion is more than the share that is allowed, of so many.

    Divided, as too_many_gone does, so that the share that it names is enough.
    """
    return count > 0 and count / of > allowed


def too_many_gone(count: int, documents: int, some: Iterable[str], allowed: float) -> str:
    """The sentence of the second guard. count: documents that are gone, of so many; some: ids of
    them; allowed: what share may go."""
    share = count / documents
    needed = min(1.0, math.ceil(share * 1000) / 1000)
    ids = ", ".join(repr(doc_id[:60]) for doc_id in some)
    named = f"such as {ids}, " if ids else ""
    return (
        f"{count:,} of the {documents:,} documents of the last generation are not in the input "
        f"any more ({share:.1%}), {named}{_UNTOUCHED}: check the input; if they are really "
        f"gone, run or submit again with --set refresh.max_delete_fraction={needed:g} (now "
        f"{allowed:g}), which embeds nothing again"
    )
