"""Rows cut into bulk requests, by bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import accumulate
from typing import NamedTuple


class Operation(NamedTuple):
    """A row as a bulk request holds it: two lines, each with its line break."""

    id: str
    doc_id: str
    action: bytes
    document: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Rows of one split as the body of one bulk request, in their order.

    split: its whole identity. ends: where each row's lines end in body. attempts: how often
    these rows were sent. unsure: nobody knows whether the last attempt was applied.
    """

    split: str
    ids: Sequence[str]
    doc_ids: Sequence[str]
    ends: Sequence[int]
    body: bytes
    attempts: int = 0
    unsure: bool = False

    def __len__(self) -> int:
        return len(self.ids)

    def part(self, positions: Sequence[int]) -> Chunk:
        """The rows at these positions."""
        if len(positions) == len(self.ids):
            return self
        starts = [0, *self.ends]
        bodies = [self.body[starts[at] : self.ends[at]] for at in positions]
        return replace(
            self,
            ids=[self.ids[at] for at in positions],
            doc_ids=[self.doc_ids[at] for at in positions],
            ends=list(accumulate(map(len, bodies))),
            body=b"".join(bodies),
        )

    def halves(self) -> tuple[Chunk, Chunk]:
        """Two chunks of at least one row each, of about as many bytes. Needs two rows."""
        middle = len(self.body) / 2
        cut = 1 + sum(end <= middle for end in self.ends[1:-1])
        return self.part(range(cut)), self.part(range(cut, len(self)))


def cut(
    split: str, operations: Iterable[Operation], limit_bytes: Callable[[], int]
) -> Iterator[Chunk]:
    """Chunks of at most limit_bytes() each, asked anew for every chunk; a row that is larger goes
    alone. Every row once, in order."""
    filling, limit = _Filling(split), limit_bytes()
    for operation in operations:
        length = len(operation.action) + len(operation.document)
        if filling.ids and filling.size + length > limit:
            yield filling.chunk()
            filling, limit = _Filling(split), limit_bytes()
        filling.add(operation, length)
    if filling.ids:
        yield filling.chunk()


class _Filling:
    """A chunk that grows. Lines are copied while they are in the processor's cache, and the
    buffer becomes the body as it is."""

    __slots__ = ("_body", "_doc_ids", "_ends", "_split", "ids", "size")

    def __init__(self, split: str) -> None:
        self._split = split
        self._body = BytesIO()
        self._doc_ids: list[str] = []
        self._ends: list[int] = []
        self.ids: list[str] = []
        self.size = 0

    def add(self, operation: Operation, length: int) -> None:
        row_id, doc_id, action, document = operation
        self._body.write(action)
        self._body.write(document)
        self.size += length
        self.ids.append(row_id)
        self._doc_ids.append(doc_id)
        self._ends.append(self.size)

    def chunk(self) -> Chunk:
        return Chunk(self._split, self.ids, self._doc_ids, self._ends, self._body.getvalue())
