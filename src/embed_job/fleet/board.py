"""What one host knows of the splits of a common plan, and which it should take next. No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from statistics import median

from embed_job.fleet.shares import lpt_shares

_LOOK_AHEAD = 4
"""Splits a host among which a relieving one chooses."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The next thing to try: a claim on a split. generation: 1 for a split that nobody claimed;
    one more than the claim that is taken over."""

    split: str
    generation: int


@dataclass(frozen=True, slots=True)
class _Taken:
    """Another host's claim. seen_at: when this host first knew of it, by its own clock."""

    generation: int
    seen_at: float


class Board:
    """The splits of a plan: unclaimed, claimed by others, this host's, committed.

    Each host has a share by LPT over the bytes of the whole plan, the same wherever it is
    computed. It takes its own share first, the largest first; then what the host with most
    unclaimed bytes has left; then what others claimed long ago. What it knows of others may be
    old: a claim decides.
    """

    def __init__(self, sizes: Mapping[str, int], *, rank: int, hosts: int) -> None:
        """sizes: bytes of every split of the plan, by identity, in an order all hosts share."""
        # A split of no bytes has work too: it must weigh enough for relief to see it.
        self._sizes = {split: max(1, size) for split, size in sizes.items()}
        self._rank = rank
        self._hosts = hosts
        self._open: list[deque[str]] = [deque() for _ in range(hosts)]
        self._open_bytes = [0] * hosts
        self._owner: dict[str, int] = {}
        owners = lpt_shares(list(self._sizes.values()), hosts).tolist()
        ranked = zip(self._sizes.items(), owners, strict=True)
        for (split, size), owner in sorted(ranked, key=lambda item: -item[0][1]):
            self._owner[split] = owner
            self._open[owner].append(split)
            self._open_bytes[owner] += size
        self._settled: set[str] = set()
        self._mine: set[str] = set()
        self._others: dict[str, _Taken] = {}
        self._times_s: list[float] = []

    @property
    def share(self) -> list[str]:
        """This host's own share."""
        return [split for split, owner in self._owner.items() if owner == self._rank]

    @property
    def own_bytes(self) -> int:
        """Bytes of this host's own share that nobody has claimed."""
        return self._open_bytes[self._rank]

    @property
    def done(self) -> bool:
        """Whether every split is committed, or given up by this host."""
        return len(self._settled) == len(self._sizes)

    def is_settled(self, split: str) -> bool:
        return split in self._settled

    def own(self) -> Claim | None:
        """The largest unclaimed split of this host's share."""
        return self._first(self._rank, 0)

    def relief(self) -> Claim | None:
        """A large one of the host with most unclaimed bytes; hosts begin at different ones, so
        that they don't all try the same."""
        most = max(range(self._hosts), key=lambda owner: self._open_bytes[owner])
        return self._first(most, self._rank)

    def stale(self, now: float, *, stale_s: float, factor: float) -> Claim | None:
        """The claim of another that has been known longest, if that is long: stale_s, and factor
        times what this host's own splits take."""
        limit_s = max(stale_s, factor * median(self._times_s)) if self._times_s else stale_s
        waiting = ((taken.seen_at, split) for split, taken in self._others.items())
        seen_at, split = min(waiting, default=(now, ""))
        if not split or now - seen_at < limit_s:
            return None
        return Claim(split, self._others[split].generation + 1)

    def won(self, claim: Claim) -> None:
        """A claim of this host stands."""
        self._close(claim.split)
        self._others.pop(claim.split, None)
        self._mine.add(claim.split)

    def taken(self, split: str, generation: int, now: float) -> None:
        """Another host's claim stands; for a claim that is known already nothing changes."""
        if split in self._mine or split in self._settled or split not in self._owner:
            return
        self._close(split)
        known = self._others.get(split)
        if known is None or known.generation < generation:
            self._others[split] = _Taken(generation, now)

    def committed(self, splits: Iterable[str]) -> None:
        for split in splits:
            if split in self._owner and split not in self._settled:
                self.settle(split)

    def settle(self, split: str, *, took_s: float | None = None) -> None:
        """A split is committed, or given up. took_s: where this host worked on it."""
        self._close(split)
        self._settled.add(split)
        self._mine.discard(split)
        self._others.pop(split, None)
        if took_s is not None:
            self._times_s.append(took_s)

    def _first(self, owner: int, skip: int) -> Claim | None:
        queue = self._open[owner]
        while queue and self._is_closed(queue[0]):
            queue.popleft()
        if not queue:
            return None
        near = islice(queue, _LOOK_AHEAD * self._hosts)
        some = [split for split in near if not self._is_closed(split)]
        return Claim(some[skip % len(some)], 1)

    def _is_closed(self, split: str) -> bool:
        return split in self._mine or split in self._settled or split in self._others

    def _close(self, split: str) -> None:
        if not self._is_closed(split):
            self._open_bytes[self._owner[split]] -= self._sizes[split]
