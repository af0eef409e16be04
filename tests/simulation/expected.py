"""What the truth must come to, by the chunker alone: no manifest, part or ledger is asked."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from embed_job.bundle import open_bundle
from embed_job.chunk.chunker import Chunker
from embed_job.records import Document
from embed_job.tokenizer import Tokenizer
from tests.simulation.corpus import Doc

MAX_TOKENS = 96
OVERLAP_TOKENS = 16


class Row(NamedTuple):
    """A row as output and index must have it, but for its vector."""

    doc_id: str
    chunk: int
    content_hash: str
    module: str
    revision: int


class Cutting:
    """Documents to the rows and texts that a job with MAX_TOKENS and OVERLAP_TOKENS makes."""

    def __init__(self, bundle: Path) -> None:
        self._chunker = Chunker(
            Tokenizer(open_bundle(bundle, precision="fp32"), prompt=""),
            strategy="sentences",
            max_tokens=MAX_TOKENS,
            overlap_tokens=OVERLAP_TOKENS,
        )
        self._cut: dict[str, tuple[str, ...]] = {}

    def texts_of(self, doc: Doc) -> tuple[str, ...]:
        """The texts of its chunks."""
        if doc.text not in self._cut:
            given = Document(0, "", 1, None, None, doc.id, doc.text)
            windows = self._chunker.iter_windows([given], window_bytes=1 << 20)
            self._cut[doc.text] = tuple(chunk.text for window in windows for chunk in window.chunks)
        return self._cut[doc.text]

    def rows(self, docs: Iterable[Doc]) -> dict[str, Row]:
        """Every row by its id."""
        rows: dict[str, Row] = {}
        for doc in docs:
            texts = self.texts_of(doc)
            for number, text in enumerate(texts):
                row = doc.id if len(texts) == 1 else f"{doc.id}#{number}"
                hashed = blake2b(text.encode(), digest_size=16).hexdigest()
                rows[row] = Row(doc.id, number, hashed, doc.module, doc.revision)
        return rows


class Known:
    """Which texts one output has vectors of: those of its last generations."""

    def __init__(self, *, keep_generations: int) -> None:
        self._keep = keep_generations
        self._generations: list[frozenset[str]] = []
        self._files: frozenset[str] = frozenset()

    def new_among(self, rows: dict[str, Row]) -> int:
        """How many texts a run over these rows must embed."""
        known = frozenset().union(*self._generations[-1 - self._keep :])
        return len({row.content_hash for row in rows.values()} - known)

    def commit(self, rows: dict[str, Row], *, files: frozenset[str]) -> None:
        """A run over these rows was a success. files: versions of the input's files: over the same
        ones again, nothing is replaced, and no older generation goes."""
        if files != self._files:
            self._generations.append(frozenset(row.content_hash for row in rows.values()))
        self._files = files

    def replace_more(self) -> None:
        """The next run replaces something, whatever its files: what another has left behind."""
        self._files = frozenset()
