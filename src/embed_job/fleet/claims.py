"""Splits of a common plan, claimed one by one among the hosts of a job.

A claim is a file that only one host can create. It keeps two hosts from the same work; it is not
what makes the result right, which is that a split is committed once, whoever embedded it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import orjson

from embed_job.commit.commits import Commits
from embed_job.fleet import Host
from embed_job.fleet.board import Board, Claim
from embed_job.fleet.records import JobFolder
from embed_job.storage import list_files
from embed_job.workers.case import SplitCase

_LEAVE_WITHIN_S = 5.0
_BUSY_FRACTION = 10
"""Looking at what others do may take one in so many seconds."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a host looks at what others do, and when it takes over.

    poll_s: the first wait when there is nothing to claim; it doubles up to max_poll_s. stale_s: a
    claim that has been known longer, and factor times longer than this host's own splits take at
    the median, is taken over. delivery_s: how long no split may come into the index from any host
    before the one that ends the job delivers what is left.
    """

    poll_s: float = 1.0
    max_poll_s: float = 15.0
    stale_s: float = 60.0
    factor: float = 3.0
    delivery_s: float = 300.0


class Claims:
    """The claims of a job, as files ``claims/<split>.<generation>`` of its folder."""

    def __init__(self, room: JobFolder, host: Host) -> None:
        self._room = room
        self._host = host

    def take(self, claim: Claim) -> bool:
        """True where this host has it from now on."""
        text = {"host": self._host.name, "rank": self._host.rank, "at": time.time()}
        return self._room.store.create(self._key(claim), orjson.dumps(text))

    def _key(self, claim: Claim) -> str:
        return self._room.key("claims", f"{claim.split}.{claim.generation:03}")

    def all(self) -> dict[str, int]:
        """Every claimed split, with the generation of its last claim."""
        found: dict[str, int] = {}
        for file in list_files(self._room.store, self._room.key("claims")):
            split, _, generation = file.key.rpartition("/")[2].rpartition(".")
            if generation.isdigit():
                found[split] = max(int(generation), found.get(split, 0))
        return found


class ClaimedSplits:
    """A :class:`embed_job.workers.supply.Supply` of claimed splits; a context manager.

    Claims are made by a thread of its own, `ahead` of the workers at most, so that no worker waits
    for the network. Exhausted only when every split of the plan is committed, or given up here:
    until then a host without work watches the others, and takes over what they don't finish.
    What the store raises is raised by take and exhausted.
    """

    def __init__(
        self,
        cases: Mapping[str, SplitCase],
        board: Board,
        claims: Claims,
        commits: Commits,
        *,
        ahead: int,
        pace: Pace,
        stopping: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """cases: what is not committed yet, by identity."""
        self._cases = cases
        self._names = {case.index: split for split, case in cases.items()}
        self._board = board
        self._claims = claims
        self._commits = commits
        self._ahead = ahead
        self._pace = pace
        self._stopping = stopping
        self._clock = clock
        self._ready: deque[str] = deque()
        self._begun: dict[int, float] = {}
        self._looked_at = self._looked_until = float("-inf")
        self._look_below = board.own_bytes // 2
        self._error: Exception | None = None
        self._left = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="claims", daemon=True)

    def __enter__(self) -> ClaimedSplits:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._left = True
            self._changed.notify_all()
        self._thread.join(_LEAVE_WITHIN_S)

    def take(self) -> SplitCase | None:
        with self._changed:
            self._raise()
            while self._ready:
                split = self._ready.popleft()
                self._changed.notify_all()
                if not self._board.is_settled(split):
                    case = self._cases[split]
                    self._begun[case.index] = self._clock()
                    return case
        return None

    def ended(self, case: SplitCase) -> None:
        with self._changed:
            took_s = self._clock() - self._begun.pop(case.index)
            self._board.settle(self._names[case.index], took_s=took_s if case.done else None)
            self._changed.notify_all()

    @property
    def exhausted(self) -> bool:
        with self._changed:
            self._raise()
            return self._board.done

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            wait_s = self._pace.poll_s
            while self._has_room():
                if self._claim_one():
                    wait_s = self._pace.poll_s
                else:
                    self._wait(wait_s)
                    wait_s = min(2 * wait_s, self._pace.max_poll_s)
        except Exception as error:  # noqa: BLE001 - raised again where the pool asks
            with self._changed:
                self._error = error

    def _has_room(self) -> bool:
        """Waits until another claim may be made; False when none is to be made any more."""
        with self._changed:
            while len(self._ready) >= self._ahead and not self._is_over():
                self._changed.wait(self._pace.poll_s)
            return not self._is_over()

    def _is_over(self) -> bool:
        return self._left or self._stopping() or self._board.done

    def _wait(self, seconds: float) -> None:
        until = self._clock() + seconds
        with self._changed:
            while not self._is_over() and (left_s := until - self._clock()) > 0:
                self._changed.wait(min(left_s, self._pace.poll_s))

    def _claim_one(self) -> bool:
        """Claim the next split; False where there is none at the moment."""
        while not self._is_over():
            if self._board.own_bytes < self._look_below:
                # Claims are old from when they were seen: those of a host that has died are old
                # already when all else is done. A few listings are what that costs.
                self._look_below = self._board.own_bytes // 2
                self._look()
            claim = self._next(self._board.own)
            if claim is None:
                self._look()
                claim = self._next(self._board.relief) or self._next(self._stale)
            if claim is None:
                return False
            if self._claims.take(claim):
                with self._changed:
                    self._board.won(claim)
                    self._ready.append(claim.split)
                return True
            with self._changed:
                self._board.taken(claim.split, claim.generation, self._clock())
        return False

    def _next(self, choose: Callable[[], Claim | None]) -> Claim | None:
        with self._changed:
            return choose()

    def _stale(self) -> Claim | None:
        """Old when others were last looked at: since then a claim may have come to its commit."""
        pace = self._pace
        return self._board.stale(self._looked_at, stale_s=pace.stale_s, factor=pace.factor)

    def _look(self) -> None:
        """See what others have claimed and committed, unless that was seen a moment ago."""
        began = self._clock()
        if began < self._looked_until:
            return
        # Claims first: of what is claimed then, no later commit is missed.
        claimed, committed = self._claims.all(), self._commits.committed_names()
        now = self._clock()
        with self._changed:
            self._board.committed(committed)
            for split, generation in claimed.items():
                self._board.taken(split, generation, now)
        self._looked_at = now
        self._looked_until = now + _BUSY_FRACTION * (now - began)
