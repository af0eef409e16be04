"""Which chunks of the documents that are not carried would go through the model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from embed_job.chunk.chunker import Chunker
from embed_job.chunk.window import Window
from embed_job.records import Document
from embed_job.reuse.diff.facts import WorkFacts
from embed_job.reuse.document_hash import Keys
from embed_job.reuse.ledger import content_keys
from embed_job.rows import content_hash

_CHARACTERS_PER_SHARE = 32 << 20
"""Of texts that are cut at a full share: some seconds of tokenizing. Every so many characters cut,
half as large a share of the rest is."""

Known = Callable[[Keys], npt.NDArray[np.bool_]]


@dataclass(slots=True)
class ForwardPasses:
    """Sums over documents: chunks with an earlier vector, chunks that go through the model, and the
    tokens of these.

    chunker: None where the model is not at hand; documents are counted alone. known: of content
    keys, whether an earlier vector is there. Where there is much text, only a share of it is cut,
    and each figure scaled by it.
    """

    chunker: Chunker | None
    known: Known
    window_bytes: int
    characters_per_share: int = _CHARACTERS_PER_SHARE
    documents: int = field(default=0, init=False)
    characters: int = field(default=0, init=False)
    _reused: float = 0
    _embedded: float = 0
    _tokens: float = 0
    _weight: int = 1
    _cut: int = 0
    _weights: dict[int, int] = field(default_factory=dict)

    def add(self, documents: Iterable[Document]) -> None:
        """The documents of one split that are not carried."""
        chosen = self._chosen(documents)
        if self.chunker is None:
            for _ in chosen:
                pass
            return
        for window in self.chunker.iter_windows(chosen, window_bytes=self.window_bytes):
            self._count(window)
        self._weights.clear()

    def facts(self, *, carried: int) -> WorkFacts:
        """The sums. carried: documents that were not given to this."""
        return WorkFacts(
            carried=carried,
            chunked=self.documents,
            chunked_chars=self.characters,
            reused_chunks=self._known(self._reused),
            embedded_chunks=self._known(self._embedded),
            tokens=self._known(self._tokens),
            estimated=self.chunker is not None and self._weight > 1,
        )

    def _known(self, figure: float) -> int | None:
        return None if self.chunker is None else round(figure)

    def _chosen(self, documents: Iterable[Document]) -> Iterator[Document]:
        for document in documents:
            self.documents += 1
            self.characters += len(document.text)
            if self.documents % self._weight:
                continue
            if self._weight > 1:
                self._weights[document.ordinal] = self._weight
            self._cut += len(document.text)
            if self._cut >= self.characters_per_share:
                self._weight, self._cut = self._weight * 2, 0
            yield document

    def _count(self, window: Window) -> None:
        whole = np.ones(len(window.chunks), dtype=np.bool_)
        keys = content_keys(window, whole, [content_hash(chunk.text) for chunk in window.chunks])
        known = self.known(keys)
        weights = np.array(
            [
                self._weights.get(window.documents[chunk.document].ordinal, 1)
                for chunk in window.chunks
            ]
        )
        first = np.zeros(len(keys), dtype=np.bool_)
        first[np.unique(keys, return_index=True)[1]] = True
        passed = first & ~known
        self._reused += float(weights[known].sum())
        self._embedded += float(weights[passed].sum())
        self._tokens += float((weights * window.tokens.lengths)[passed].sum())
