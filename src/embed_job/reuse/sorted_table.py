"""A table on disk, sorted by 64-bit hash, made in bounded memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Entries = npt.NDArray[Any]
"""A structured array with the field head, uint64, by which it is sorted."""

_SHARD_ENTRIES = 1 << 19
"""Entries that are sorted at a time: 16 MiB of 32 bytes each, and about twice as much for that."""

_GATHERED_ENTRIES = 1 << 19
"""Entries that are handed out to the shards at a time."""


class SortedTable:
    """Takes entries in any order; ``close`` leaves them in ``NAME.entries``, and their heads alone
    in ``NAME.heads``, ascending, equal heads in the order in which they came.

    entries: how many there are going to be, about. distinct: is given all entries of some heads,
    sorted, and gives back those that are to stay, in their order.
    """

    def __init__(
        self, folder: Path, name: str, *, entries: int, distinct: Callable[[Entries], Entries]
    ) -> None:
        self._folder = folder
        self._name = name
        self._distinct = distinct
        self._bits = max(0, (entries // _SHARD_ENTRIES).bit_length())
        self._held: list[Entries] = []
        self._count = 0

    def add(self, entries: Entries) -> None:
        self._held.append(entries)
        self._count += len(entries)
        if self._count >= _GATHERED_ENTRIES:
            self._hand_out()

    def close(self) -> None:
        self._hand_out()
        paths = (self._folder / f"{self._name}.entries", self._folder / f"{self._name}.heads")
        with paths[0].open("wb") as entries_file, paths[1].open("wb") as heads_file:
            for number in range(1 << self._bits):
                shard = self._shard(number)
                if not shard.exists():
                    continue
                entries = np.fromfile(shard, dtype=self._dtype)
                shard.unlink()
                order = np.argsort(entries["head"], kind="stable")
                entries = self._distinct(entries[order])
                entries_file.write(entries.data)
                heads_file.write(np.ascontiguousarray(entries["head"]).data)

    def _hand_out(self) -> None:
        """Append what is held to the shards: files by the first bits of the head."""
        if not self._count:
            return
        entries = np.concatenate(self._held)
        self._dtype = entries.dtype
        self._held, self._count = [], 0
        if not self._bits:
            self._append(0, entries)
            return
        shards = (entries["head"] >> np.uint64(64 - self._bits)).astype(np.int64)
        order = np.argsort(shards, kind="stable")
        bounds = np.searchsorted(shards[order], np.arange(1, 1 << self._bits))
        for number, part in enumerate(np.split(entries[order], bounds)):
            if len(part):
                self._append(number, part)

    def _append(self, number: int, entries: Entries) -> None:
        with self._shard(number).open("ab") as stream:
            stream.write(entries.data)  # tofile drops the errno of a full disk

    def _shard(self, number: int) -> Path:
        return self._folder / f"{self._name}.{number:05}"


def mapped(path: Path, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """A file of entries as an array of which only what is touched is read."""
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return np.empty(0, dtype=dtype)
        # numpy.memmap takes ten times as long, and every split opens five of them.
        return np.frombuffer(mmap(file.fileno(), 0, access=ACCESS_READ), dtype=dtype)
