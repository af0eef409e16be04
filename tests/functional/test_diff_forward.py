"""How many forward passes are foretold where only a share of the texts is cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from embed_job.bundle import open_bundle
from embed_job.chunk.chunker import Chunker
from embed_job.records import Document
from embed_job.reuse.diff.forward import ForwardPasses
from embed_job.reuse.document_hash import Keys
from embed_job.tokenizer import Tokenizer
from tests.functional.conftest import sentence


@pytest.fixture
def chunker(tiny_bundle: Path) -> Chunker:
    tokenizer = Tokenizer(open_bundle(tiny_bundle, verify=False), prompt="")
    return Chunker(tokenizer, strategy="sentences", max_tokens=64, overlap_tokens=0)


def no_text(contents: Keys) -> npt.NDArray[np.bool_]:
    return np.zeros(len(contents), dtype=np.bool_)


def every_other(contents: Keys) -> npt.NDArray[np.bool_]:
    return np.arange(len(contents)) % 2 == 0


def documents(numbers: range) -> list[Document]:
    return [Document(n, "f", n, None, None, f"d{n}", sentence(n)) for n in numbers]


def passes(chunker: Chunker | None, *, characters: int = 1 << 20) -> ForwardPasses:
    return ForwardPasses(chunker, no_text, window_bytes=1 << 20, characters_per_share=characters)


def test_a_text_that_stands_twice_in_a_window_goes_once(chunker: Chunker) -> None:
    found = passes(chunker)
    found.add([*documents(range(10)), *documents(range(10))])
    facts = found.facts(carried=5)
    assert (facts.carried, facts.chunked) == (5, 20)
    assert (facts.embedded_chunks, facts.reused_chunks) == (10, 0)
    found.add(documents(range(10)))
    facts = found.facts(carried=5)
    assert (facts.embedded_chunks, facts.estimated) == (20, False)


def test_known_texts_are_reused_and_cost_no_tokens(chunker: Chunker) -> None:
    found, all_of_them = passes(chunker), passes(chunker)
    found.known = every_other
    for one in (found, all_of_them):
        one.add(documents(range(100)))
    facts, all_facts = found.facts(carried=0), all_of_them.facts(carried=0)
    assert (facts.reused_chunks, facts.embedded_chunks) == (50, 50)
    assert facts.tokens is not None
    assert all_facts.tokens is not None
    assert 0 < facts.tokens < all_facts.tokens


def test_of_much_text_a_share_is_cut_and_scaled(chunker: Chunker) -> None:
    whole, some = passes(chunker), passes(chunker, characters=2_000)
    for start in range(0, 4_000, 500):
        for one in (whole, some):
            one.add(documents(range(start, start + 500)))
    exact, about = whole.facts(carried=0), some.facts(carried=0)
    assert (exact.embedded_chunks, exact.estimated) == (4_000, False)
    assert about.estimated
    assert (about.chunked, about.chunked_chars) == (exact.chunked, exact.chunked_chars)
    assert about.embedded_chunks == pytest.approx(exact.embedded_chunks, rel=0.1)
    assert about.tokens == pytest.approx(exact.tokens, rel=0.1)


def test_without_a_model_documents_are_counted_alone() -> None:
    found = passes(None)
    found.add(documents(range(7)))
    facts = found.facts(carried=0)
    assert (facts.chunked, facts.estimated) == (7, False)
    assert (facts.embedded_chunks, facts.reused_chunks, facts.tokens) == (None, None, None)
