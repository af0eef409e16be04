"""Claims of a host that died are taken over in time; those of a living one are not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from embed_job.commit.commits import Commits
from embed_job.fleet import Host
from embed_job.fleet.board import Board, Claim
from embed_job.fleet.claims import ClaimedSplits, Claims, Pace
from embed_job.fleet.records import JobFolder
from embed_job.source import Compression, Format, SourceFile, Split
from embed_job.storage import StoredFile
from embed_job.storage.local import LocalStore
from embed_job.workers.case import SplitCase

SPLITS = {f"s{number:02}": 10 for number in range(16)}
SPLIT_S, STALE_S = 10, 90
"""Of sixteen splits the living host has eight, then relieves the dead one of seven: 150 s. It looks
at others first when half its own are claimed, at 40 s: by 150 s that claim is older than 90 s. Had
it only looked when its own were done, the claim would be younger and nobody would go on."""


def test_a_claim_is_known_before_all_else_is_done(tmp_path: Path) -> None:
    store, folder = LocalStore(), str(tmp_path / "out")
    room = JobFolder(store, folder, "job")
    living, dead = (Host("job", name, rank, 2) for rank, name in enumerate(["algo-1", "algo-2"]))
    board = Board(SPLITS, rank=0, hosts=2)
    lost = next(split for split in SPLITS if split not in board.share)
    assert Claims(room, dead).take(Claim(lost, 1))
    now_s = 0.0
    supply = ClaimedSplits(
        _cases(), board, Claims(room, living), Commits(store, folder), ahead=1,
        pace=Pace(poll_s=0.01, max_poll_s=0.01, stale_s=STALE_S, factor=1.0),
        stopping=lambda: False, clock=lambda: now_s,
    )  # fmt: skip
    done: list[str] = []
    deadline = time.monotonic() + 20
    with supply:
        while not supply.exhausted and time.monotonic() < deadline:
            case = supply.take()
            if case is None:
                time.sleep(0.002)
                continue
            now_s += SPLIT_S
            case.committed()
            done.append(case.split.files[0].name)
            supply.ended(case)
    assert sorted(done) == sorted(SPLITS)
    assert done[-1] == lost
    assert Claims(room, living).all()[lost] == 2


def test_what_was_committed_since_the_last_look_is_not_taken_over(tmp_path: Path) -> None:
    """Listings are slow and rare: a claim that was young when they were made has not grown old."""
    store, folder = LocalStore(), str(tmp_path / "out")
    room = JobFolder(store, folder, "job")
    commits = Commits(SlowToList(), folder)
    board = Board(SPLITS, rank=0, hosts=2)
    theirs = [split for split in SPLITS if split not in board.share]
    other = Claims(room, Host("job", "algo-2", 1, 2))
    assert all(other.take(Claim(split, 1)) for split in theirs)
    supply = ClaimedSplits(
        _cases(), board, Claims(room, Host("job", "algo-1", 0, 2)), commits, ahead=1,
        pace=Pace(poll_s=0.01, max_poll_s=0.05, stale_s=0.3, factor=1.0), stopping=lambda: False,
    )  # fmt: skip
    done: list[str] = []
    deadline = time.monotonic() + 20
    with supply:
        while not supply.exhausted and time.monotonic() < deadline:
            case = supply.take()
            if case is not None:
                case.committed()
                done.append(case.split.files[0].name)
                supply.ended(case)
            elif len(done) == len(board.share):
                for split in theirs:
                    store.create(commits.key("manifests", f"{split}.json"), b"{}")
            time.sleep(0.002)
        assert supply.exhausted
    assert sorted(done) == sorted(board.share)


class SlowToList(LocalStore):
    """A store whose listings take a tenth of a second."""

    def list(self, prefix: str) -> Iterator[StoredFile]:
        time.sleep(0.1)
        return super().list(prefix)


def _cases() -> dict[str, SplitCase]:
    return {
        name: SplitCase(
            index,
            Split(
                (SourceFile(name, name, size, "etag:0", Format.JSONL, Compression.NONE),),
                0,
                size,
                size,
            ),
            max_poison_documents=1,
        )
        for index, (name, size) in enumerate(SPLITS.items())
    }
