"""Windows: chunks that are embedded and written together, and how one is filled."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import repeat
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from embed_job.chunk.cut import Cut
from embed_job.engine import Tokens
from embed_job.records import Document

T = TypeVar("T", bound=tuple[object, ...])


# Chunk and Ending are tuples, as a frozen dataclass takes three times as long to make and there is
# one of each for every short document: 0.5 against 1.5 µs.
class Chunk(NamedTuple):
    """A piece of a document.

    document: index into its window's documents. number: from 0 within the document, across
    windows. only: whether the document has no other chunk. text is
    ``document.text[char_start:char_end]``.
    """

    document: int
    number: int
    char_start: int
    char_end: int
    text: str
    only: bool


class Ending(NamedTuple):
    """A document whose last chunk is in this window; the sums are over all its windows.

    document: index into the window's documents. truncated_tokens: tokens that are in no chunk.
    """

    document: int
    chunks: int
    truncated_tokens: int


@dataclass(frozen=True, slots=True)
class Window:
    """Chunks to be embedded and written together.

    documents: those that have a chunk here, in the order they were read. chunks: in the order of
    documents and numbers. tokens: one text a chunk, in their order; what the tokenizer gives for
    the chunk's text alone (truncating: for the document's text, cut off). finished: ascending. A
    document spans several windows where its chunks do; it ends in exactly one of them.
    """

    documents: list[Document]
    chunks: list[Chunk]
    tokens: Tokens
    finished: list[Ending]


@dataclass(frozen=True, slots=True)
class Whole:
    """Documents that are one chunk each."""

    documents: list[Document]
    tokens: Tokens


@dataclass(frozen=True, slots=True)
class Part:
    """One chunk of a document. lost: tokens lost so far."""

    document: Document
    number: int
    cut: Cut
    only: bool
    ends: bool
    lost: int


@dataclass(slots=True)
class Filling:
    """A window that is being filled."""

    bytes: int = 0
    documents: list[Document] = field(default_factory=list)
    chunks: list[Chunk] = field(default_factory=list)
    finished: list[Ending] = field(default_factory=list)
    _ids: list[npt.NDArray[np.int32]] = field(default_factory=list)
    _lengths: list[npt.NDArray[np.int64]] = field(default_factory=list)

    def add(self, piece: Whole | Part) -> None:
        if isinstance(piece, Whole):
            self._add_whole(piece)
        else:
            self._add_part(piece)

    def _add_whole(self, piece: Whole) -> None:
        first = len(self.documents)
        texts = [document.text for document in piece.documents]
        self.documents += piece.documents
        places = range(first, len(self.documents))
        none = repeat(0)
        self.chunks += _made(Chunk, zip(places, none, none, map(len, texts), texts, repeat(True)))
        self.finished += _made(Ending, zip(places, repeat(1), none))
        self.bytes += _utf8_bytes("".join(texts))
        self._ids.append(piece.tokens.ids)
        self._lengths.append(piece.tokens.lengths)

    def _add_part(self, piece: Part) -> None:
        if piece.number == 0 or not self.documents:
            self.documents.append(piece.document)
        document, cut = len(self.documents) - 1, piece.cut
        text = piece.document.text[cut.start : cut.end]
        self.chunks.append(Chunk(document, piece.number, cut.start, cut.end, text, piece.only))
        if piece.ends:
            self.finished.append(Ending(document, piece.number + 1, piece.lost))
        self.bytes += _utf8_bytes(text)
        self._ids.append(cut.ids)
        self._lengths.append(np.array([len(cut.ids)]))

    def close(self) -> Window:
        lengths = np.concatenate(self._lengths)
        offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
        np.cumsum(lengths, out=offsets[1:])
        tokens = Tokens(ids=np.concatenate(self._ids), offsets=offsets)
        return Window(self.documents, self.chunks, tokens, self.finished)


def _made(kind: type[T], values: Iterable[tuple[object, ...]]) -> Iterator[T]:
    """Named tuples of checked values. Their own constructor is a Python function: 0.3 µs more for
    each, twice for every short document."""
    return map(partial(tuple.__new__, kind), values)


def _utf8_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
