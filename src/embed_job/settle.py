"""What becomes of an embedded window: which of its chunks are written, which documents refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from embed_job.admit import Exclusion
from embed_job.records import Document, Reason, Stage
from embed_job.tally import Tally

if TYPE_CHECKING:
    from embed_job.batch import EmbeddedWindow
    from embed_job.chunk.window import Window

BAD_VECTOR = Exclusion(Reason.BAD_VECTOR, Stage.EMBED, "a vector is NaN, infinite or zero")


class RefusedError(Exception):
    """A document turned out bad after part of it was written; begin again without it."""

    def __init__(self, ordinal: int, exclusion: Exclusion) -> None:
        super().__init__(f"document {ordinal}: {exclusion.detail}")
        self.ordinal = ordinal
        self.exclusion = exclusion


def settle(
    embedded: EmbeddedWindow[Window], tally: Tally
) -> tuple[npt.NDArray[np.bool_], list[Document]]:
    """Count a window's chunks and documents; True for each chunk that is to be written, and the
    documents that are to be refused.

    Refused is a document with a vector that is no direction (NaN, infinity, norm zero), and whole.
    Raises RefusedError where part of it stands in another window.
    """
    window, vectors = embedded.window, embedded.vectors
    squares = np.einsum("ij,ij->i", vectors, vectors)
    bad = ~(np.isfinite(squares) & (squares > 0))
    tally.embedded_chunks += embedded.embedded_texts
    tally.embedded_tokens += embedded.embedded_tokens
    tally.padded_tokens += embedded.padded_tokens
    tally.chunks_read += len(window.chunks)
    tally.tokens += len(window.tokens.ids)
    kept = np.ones(len(window.chunks), dtype=np.bool_)
    refused: frozenset[int] = frozenset()
    if bad.any():
        refused = frozenset(window.chunks[i].document for i in np.flatnonzero(bad))
        kept = np.array([chunk.document not in refused for chunk in window.chunks])
        _check_whole(window, refused)
    reused = embedded.known[kept[embedded.known]]
    tally.reused_chunks += len(reused)
    tally.reused_tokens += int(window.tokens.lengths[reused].sum())
    written = int(kept.sum())
    tally.chunks_written += written
    tally.chunks_rejected += len(kept) - written
    finished = window.finished
    if refused:
        finished = [end for end in finished if end.document not in refused]
    truncated = [end.truncated_tokens for end in finished if end.truncated_tokens]
    tally.documents_written += len(finished)
    tally.truncated_tokens += sum(truncated)
    tally.truncated_documents += len(truncated)
    return kept, [window.documents[index] for index in sorted(refused)]


def _check_whole(window: Window, refused: frozenset[int]) -> None:
    chunks_here: dict[int, int] = {}
    for chunk in window.chunks:
        chunks_here[chunk.document] = chunks_here.get(chunk.document, 0) + 1
    whole = {end.document for end in window.finished if chunks_here[end.document] == end.chunks}
    for index in sorted(refused - whole):
        raise RefusedError(window.documents[index].ordinal, BAD_VECTOR)
