"""Hosts that share a job, by events in simulated time. Which split a host takes next, whom it
relieves and what it takes over is decided by the engine's own Board and Pace; time, failures and
the counting of requests are this model's."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from embed_job.fleet.board import Board, Claim
from embed_job.fleet.claims import Pace

PAGE = 1000
_LOOK_REST = 10
"""A host looks at the others for one second in so many at most, as ClaimedSplits does."""


@dataclass(frozen=True, slots=True)
class World:
    """What the simulation takes as given.

    bytes_per_s: of one worker. request_s: until a small request is answered; page_s: until a page
    of a listing is. up_within_s: hosts come up within this time, evenly. noise: sigma of the
    lognormal by which the time of a split varies. put_a_split, get_a_split: requests by whoever
    embeds a split, claims left out; HEAD counts as GET.
    """

    hosts: int
    workers: int
    bytes_per_s: float
    request_s: float
    page_s: float
    put_a_split: int
    get_a_split: int
    up_within_s: float = 60.0
    noise: float = 0.1
    pace: Pace = field(default_factory=Pace)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Seconds from the first host's start. done_s: the last split is committed. left_s: the last
    host has seen it. busy_s: of each host's workers, in sum. twice: splits embedded twice. taken:
    claims of a dead or slow host that were taken over. puts, gets: peak requests in one second."""

    done_s: float
    left_s: float
    busy_s: tuple[float, ...]
    committed_by: tuple[int, ...]
    twice: int
    taken: int
    requests: Counter[str]
    peak_puts: int
    peak_gets: int


@dataclass(slots=True)
class _Host:
    rank: int
    board: Board
    ready: deque[str] = field(default_factory=deque)
    working: int = 0
    claiming: bool = False
    dead: bool = False
    seen_claims: int = 0
    seen_commits: int = 0
    looked_at: float = float("-inf")
    looked_until: float = float("-inf")
    look_below: int = 0
    wait_s: float = 0.0
    busy_s: float = 0.0
    commits: int = 0
    left_s: float | None = None


class Fleet:
    """One job of a world's hosts; committed: splits of an earlier one."""

    def __init__(
        self, sizes: Mapping[str, int], world: World, *, seed: int, committed: Collection[str] = ()
    ) -> None:
        self._sizes = sizes
        self._world = world
        self._rng = np.random.default_rng(seed)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._ticket = itertools.count()
        self._now = 0.0
        self._claims: dict[str, int] = {}
        self._claim_log: list[tuple[str, int]] = []
        self._committed = dict.fromkeys(committed)
        self._commit_log = list(committed)
        self._twice = self._taken = 0
        self._seconds: dict[str, Counter[int]] = {"PUT": Counter(), "GET": Counter()}
        self._requests: Counter[str] = Counter()
        self._done_s = 0.0
        self._hosts = [
            _Host(rank, Board(sizes, rank=rank, hosts=world.hosts)) for rank in range(world.hosts)
        ]

    def run(self, *, dies: int | None = None, at_s: float = 0.0) -> Outcome:
        """To the end. dies: a host that is gone from at_s on, with what it has claimed."""
        for host in self._hosts:
            start_s = self._rng.uniform(0, self._world.up_within_s)
            self._after(start_s, partial(self._come_up, host))
        if dies is not None:
            self._after(at_s, partial(self._die, self._hosts[dies]))
        while self._events:
            self._now, _, event = heapq.heappop(self._events)
            event()
        assert len(self._committed) == len(self._sizes), "splits are left over"
        return Outcome(
            done_s=self._done_s,
            left_s=max(host.left_s or 0.0 for host in self._hosts),
            busy_s=tuple(host.busy_s for host in self._hosts),
            committed_by=tuple(host.commits for host in self._hosts),
            twice=self._twice,
            taken=self._taken,
            requests=self._requests,
            peak_puts=max(self._seconds["PUT"].values(), default=0),
            peak_gets=max(self._seconds["GET"].values(), default=0),
        )

    def _after(self, seconds: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self._now + seconds, next(self._ticket), event))

    def _ask(self, verb: str, count: int, *, kind: str) -> None:
        self._requests[kind] += count
        self._seconds["PUT" if verb == "PUT" else "GET"][int(self._now)] += count

    def _list(self, pages: int) -> None:
        """One page after the other."""
        self._requests["LIST"] += pages
        for page in range(pages):
            self._seconds["GET"][int(self._now + page * self._world.page_s)] += 1

    def _die(self, host: _Host) -> None:
        host.dead = True

    def _come_up(self, host: _Host) -> None:
        """List what is committed, and read each manifest: sixteen at a time."""
        found = len(self._committed)
        pages = -(-found // PAGE) or 1
        self._list(pages)
        reading_s = found / 16 * self._world.request_s
        for second in range(int(reading_s) + 1):
            share = found // (int(reading_s) + 1)
            self._requests["GET"] += share
            self._seconds["GET"][int(self._now) + second] += share
        host.board.committed(self._commit_log)
        host.seen_commits = len(self._commit_log)
        host.look_below = host.board.own_bytes // 2
        self._after(pages * self._world.page_s + reading_s, partial(self._claim, host))

    def _claim(self, host: _Host) -> None:
        """What ClaimedSplits does in its thread: claim ahead of the workers, or wait."""
        host.claiming = False
        if host.dead or self._has_left(host):
            return
        if len(host.ready) >= max(1, self._world.workers // 2):
            return
        host.claiming = True
        looked_s = 0.0
        if host.board.own_bytes < host.look_below:
            host.look_below = host.board.own_bytes // 2
            looked_s = self._look(host)
        claim = host.board.own()
        if claim is None:
            looked_s += self._look(host)
            pace = self._world.pace
            claim = host.board.relief() or host.board.stale(
                host.looked_at, stale_s=pace.stale_s, factor=pace.factor
            )
        if claim is None:
            wait_s = host.wait_s or self._world.pace.poll_s
            host.wait_s = min(2 * wait_s, self._world.pace.max_poll_s)
            self._after(looked_s + wait_s, partial(self._claim, host))
        else:
            self._after(looked_s + self._world.request_s, partial(self._decide, host, claim))

    def _look(self, host: _Host) -> float:
        """List commits and claims, unless that was done a moment ago; the seconds it takes."""
        if self._now < host.looked_until:
            return 0.0
        pages = sum(-(-len(log) // PAGE) or 1 for log in (self._commit_log, self._claim_log))
        self._list(pages)
        took_s = pages * self._world.page_s
        host.board.committed(self._commit_log[host.seen_commits :])
        for split, generation in self._claim_log[host.seen_claims :]:
            host.board.taken(split, generation, self._now)
        host.seen_commits, host.seen_claims = len(self._commit_log), len(self._claim_log)
        host.looked_at = self._now
        host.looked_until = self._now + took_s * (1 + _LOOK_REST)
        return took_s

    def _decide(self, host: _Host, claim: Claim) -> None:
        """S3 has answered whether the claim stands."""
        if host.dead:
            return
        self._ask("PUT", 1, kind="PUT")
        if self._claims.get(claim.split, 0) >= claim.generation:
            self._ask("GET", 1, kind="GET")  # whose it is
            host.board.taken(claim.split, claim.generation, self._now)
        else:
            self._claims[claim.split] = claim.generation
            self._claim_log.append((claim.split, claim.generation))
            self._taken += claim.generation > 1
            host.board.won(claim)
            host.ready.append(claim.split)
            host.wait_s = 0.0
            self._feed(host)
        self._claim(host)

    def _feed(self, host: _Host) -> None:
        while host.ready and host.working < self._world.workers:
            split = host.ready.popleft()
            if host.board.is_settled(split):
                continue
            host.working += 1
            slow = self._rng.lognormal(0, self._world.noise)
            took_s = self._sizes[split] / self._world.bytes_per_s * slow
            self._after(took_s, partial(self._finish, host, split, took_s))

    def _finish(self, host: _Host, split: str, took_s: float) -> None:
        if host.dead:
            return
        self._ask("PUT", self._world.put_a_split, kind="PUT")
        self._ask("GET", self._world.get_a_split, kind="GET")
        host.busy_s += took_s
        host.working -= 1
        if split in self._committed:
            self._twice += 1
        else:
            self._committed[split] = None
            self._commit_log.append(split)
            host.commits += 1
            self._done_s = self._now
        host.board.settle(split, took_s=took_s)
        self._feed(host)
        if not host.claiming:
            self._claim(host)

    def _has_left(self, host: _Host) -> bool:
        if host.board.done and not host.working and host.left_s is None:
            host.left_s = self._now
            self._ask("PUT", 1, kind="PUT")  # its record
        return host.board.done
