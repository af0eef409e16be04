"""Documents to chunks that fit the model, handed on in windows of bounded size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Literal

import numpy as np

from embed_job.chunk.cut import Cut, Cutter, take_stretch
from embed_job.chunk.window import Chunk, Ending, Filling, Part, Whole, Window
from embed_job.engine import Tokens
from embed_job.errors import SpecError
from embed_job.records import Document

if TYPE_CHECKING:
    from embed_job.tokenizer import Tokenizer

__all__ = ["Chunk", "Chunker", "Ending", "Window"]

MIN_WINDOW_CHUNKS = 2_048
"""Bounds a window where texts are short: its vectors are 3 MB at dimension 384. Eight times as many
cost a worker 90 MB more at its peak and save 0.8 % of padding, so only an engine of large batches
gets more."""
_GROUP_DOCUMENTS = 1_024
_LONGEST_TOKEN_CHARS = 8
"""A text of more characters a token than this is rare: it is not tokenised whole on a guess."""
_LEAST_CONTENT_TOKENS = 4
_SEAM_TOKENS = 8


class Chunker:
    """Cuts documents for one tokenizer and one maximum.

    max_tokens counts specials and prompt. stretch_chars is the longest text handed to the
    tokenizer; a longer document is taken stretch by stretch. The chunks of a document follow from
    its text alone, never from its neighbours or from the size of windows.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        strategy: Literal["sentences", "truncate"],
        max_tokens: int,
        overlap_tokens: int,
        stretch_chars: int = 65_536,
    ) -> None:
        if max_tokens - tokenizer.overhead_tokens < _LEAST_CONTENT_TOKENS:
            raise SpecError(
                "chunk.max_tokens",
                f"{max_tokens} tokens leave no room for text, as special tokens and the prompt "
                f"take {tokenizer.overhead_tokens}",
                f"Set at least {tokenizer.overhead_tokens + _LEAST_CONTENT_TOKENS}.",
            )
        self._tokenizer = tokenizer
        self._strategy = strategy
        self._max_tokens = max_tokens
        self._stretch_chars = max(stretch_chars, 64 * max_tokens)
        self._cutter = Cutter(
            tokenizer,
            max_tokens=max_tokens,
            overlap_tokens=overlap_tokens,
            stretch_chars=self._stretch_chars,
        )
        whole = self._stretch_chars if strategy == "truncate" else _LONGEST_TOKEN_CHARS * max_tokens
        self._whole_chars = min(whole, self._stretch_chars)

    def iter_windows(
        self,
        documents: Iterable[Document],
        *,
        window_bytes: int,
        window_chunks: int = MIN_WINDOW_CHUNKS,
    ) -> Iterator[Window]:
        """Windows of chunks, every document in order; documents are read as windows are taken.

        A window is closed once its chunks' text reaches window_bytes (UTF-8) or
        there are window_chunks. It goes beyond by one group of short documents at most: one
        stretch of text, 1,024 documents.
        """
        window = Filling()
        for piece in self._pieces(documents):
            window.add(piece)
            if window.bytes >= window_bytes or len(window.chunks) >= window_chunks:
                yield window.close()
                window = Filling()
        if window.chunks:
            yield window.close()

    def _pieces(self, documents: Iterable[Document]) -> Iterator[Whole | Part]:
        group: list[Document] = []
        chars = 0
        for document in documents:
            size = len(document.text)
            if size > self._whole_chars:
                yield from self._short(group)
                group, chars = [], 0
                yield from self._long(document)
                continue
            group.append(document)
            chars += size
            if chars >= self._stretch_chars or len(group) >= _GROUP_DOCUMENTS:
                yield from self._short(group)
                group, chars = [], 0
        yield from self._short(group)

    def _short(self, group: list[Document]) -> Iterator[Whole | Part]:
        """Documents that are tokenised whole, together."""
        if not group:
            return
        texts = [document.text for document in group]
        if self._strategy == "truncate":
            tokens, lost = self._tokenizer.encode_truncated(texts, self._max_tokens)
            misfits = np.flatnonzero(lost)
        else:
            tokens = self._tokenizer.encode(texts)
            misfits = np.flatnonzero(tokens.lengths > self._max_tokens)
        begin = 0
        for at in misfits.tolist():
            if at > begin:
                yield Whole(group[begin:at], _slice(tokens, begin, at))
            if self._strategy == "truncate":
                yield self._truncated(group[at], _slice(tokens, at, at + 1), int(lost[at]))
            else:
                yield from self._cut(group[at])
            begin = at + 1
        if begin < len(group):
            yield Whole(group[begin:], _slice(tokens, begin, len(group)))

    def _long(self, document: Document) -> Iterator[Whole | Part]:
        """A document that is not tokenised whole before it is known to fit."""
        text = document.text
        if self._strategy == "truncate":
            head = take_stretch(text, 0, self._stretch_chars)
            tokens, lost = self._tokenizer.encode_truncated([head], self._max_tokens)
            beyond = self._count_from(text, len(head))
            yield self._truncated(document, tokens, int(lost[0]) + beyond)
        elif len(text) <= self._stretch_chars and self._may_fit(text):
            yield from self._short([document])
        else:
            yield from self._cut(document)

    def _may_fit(self, text: str) -> bool:
        # Prompt and text may share a token at their seam, so their tokens apart are an estimate.
        tokens = len(self._tokenizer.spans(text)) + self._tokenizer.overhead_tokens
        return tokens <= self._max_tokens + _SEAM_TOKENS

    def _count_from(self, text: str, begin: int) -> int:
        """Content tokens from a character on, by stretches."""
        count = 0
        while begin < len(text):
            stretch = take_stretch(text, begin, self._stretch_chars)
            count += len(self._tokenizer.spans(stretch))
            begin += len(stretch)
        return count

    def _truncated(self, document: Document, tokens: Tokens, lost: int) -> Part:
        """The beginning of a document as its only chunk, up to the last token that is kept."""
        head = document.text[: self._stretch_chars]
        end = len(head)
        kept = len(tokens.ids) - self._tokenizer.overhead_tokens
        if lost:
            spans = self._tokenizer.spans(head)
            end = int(spans[kept - 1, 1]) if 0 < kept <= len(spans) else end
        return Part(document, 0, Cut(0, end, tokens.ids, lost), only=True, ends=True, lost=lost)

    def _cut(self, document: Document) -> Iterator[Part]:
        number = lost = 0
        cuts = self._cutter.cut(document.text)
        cut: Cut | None = next(cuts, None) or self._without_tokens(document.text)
        while cut is not None:
            following = next(cuts, None)
            lost += cut.lost_tokens
            is_only = number == 0 and following is None
            yield Part(document, number, cut, only=is_only, ends=following is None, lost=lost)
            number, cut = number + 1, following

    def _without_tokens(self, text: str) -> Cut:
        """The one chunk of a text in which the tokenizer finds nothing, or nothing but blanks."""
        head = text[: self._stretch_chars]
        tokens, lost = self._tokenizer.encode_truncated([head], self._max_tokens)
        return Cut(0, len(head), tokens.ids, int(lost[0]))


def _slice(tokens: Tokens, begin: int, end: int) -> Tokens:
    """Texts begin to end, without a copy of their ids."""
    offsets = tokens.offsets[begin : end + 1]
    return Tokens(tokens.ids[offsets[0] : offsets[-1]], offsets - offsets[0])
