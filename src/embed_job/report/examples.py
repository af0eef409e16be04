"""Dead letters as a report shows them."""

from __future__ import annotations

from collections.abc import Iterable

from embed_job.commit.dead_letters import DeadLetter, first_letters
from embed_job.manifest import SplitManifest
from embed_job.report.model import MAX_EXAMPLES, RejectedExample
from embed_job.storage import Store


def rejected_examples(
    store: Store, folder: str, manifests: Iterable[SplitManifest]
) -> list[RejectedExample]:
    """The first rejected records of a job. manifests: all of it, in the order of the input."""
    return [
        _example(found) for found in first_letters(store, folder, manifests, limit=MAX_EXAMPLES)
    ]


def _example(letter: DeadLetter) -> RejectedExample:
    return RejectedExample(
        file=letter.file,
        line=letter.line,
        byte_offset=letter.byte_offset,
        reason=letter.reason,
        stage=letter.stage,
        detail=letter.detail,
        doc_id=letter.id,
    )
