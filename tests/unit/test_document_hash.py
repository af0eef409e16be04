"""The hash by which a document is known again."""

from __future__ import annotations

from typing import Any

import pytest

from embed_job.records import Document
from embed_job.reuse.document_hash import hash_documents, hash_texts


def document(**changes: Any) -> Document:
    whole = {"ordinal": 0, "key": "a", "line": 1, "byte_offset": 0, "length": 9}
    return Document(
        **{**whole, "doc_id": "1", "text": "some text", "metadata": ("x", 1), **changes}
    )


def test_where_a_document_stands_is_no_part_of_it() -> None:
    moved = document(ordinal=5, key="b", line=77, byte_offset=None, length=None)
    first, second = hash_documents([document(), moved])
    assert first == second


@pytest.mark.parametrize(
    "changes",
    [
        {"doc_id": "2"},
        {"text": "some text "},
        {"doc_id": "1" + "9:some text", "text": ""},
        {"metadata": ("x", 1.0)},
        {"metadata": ("x", True)},
        {"metadata": ("x", "1")},
        {"metadata": ("x", None)},
        {"metadata": ("x",)},
        {"text": "some text('x', 1)", "metadata": ()},
    ],
)
def test_whatever_a_row_follows_from_is(changes: dict[str, Any]) -> None:
    first, second = hash_documents([document(), document(**changes)])
    assert first != second


def test_the_text_has_a_hash_of_its_own() -> None:
    same, other = document(doc_id="2", metadata=()), document(text="another")
    hashes = hash_texts([document(), same, other])
    assert hashes[0] == hashes[1] != hashes[2]
    assert len(hash_documents([])) == 0
