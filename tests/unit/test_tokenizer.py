"""Token ids, truncation and spans, on a tiny WordPiece and a tiny byte-level tokenizer."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embed_job.bundle import Bundle, open_bundle
from embed_job.bundle.build import build_bundle
from embed_job.engine import Tokens
from embed_job.errors import BundleError
from embed_job.tokenizer import Tokenizer

NO_SURROGATES = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> Bundle:
    return open_bundle(tiny_bundle)


@pytest.fixture(scope="module")
def tokenizer(bundle: Bundle) -> Tokenizer:
    return Tokenizer(bundle)


@pytest.fixture(scope="module")
def bytes_tokenizer(tiny_models: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """One that keeps spaces and has a token for each byte."""
    folder = tmp_path_factory.mktemp("roberta")
    model = tiny_models.write_model(folder / "model", "roberta")
    return Tokenizer(build_bundle(str(model), folder / "bundle").bundle)


def rows(tokens: Tokens) -> list[list[int]]:
    return [tokens.ids[a:b].tolist() for a, b in zip(tokens.offsets, tokens.offsets[1:])]  # noqa: B905


def test_tokens_are_packed_text_after_text(tokenizer: Tokenizer) -> None:
    tokens = tokenizer.encode(["the quick fox", "", "zip file"])
    assert tokens.ids.dtype == np.int32
    assert tokens.offsets.dtype == np.int64
    first, empty, last = rows(tokens)
    assert len(empty) == 2
    assert first[0] == last[0] == empty[0]
    assert first[-1] == last[-1] == empty[1]
    assert rows(tokenizer.encode(["zip file"])) == [last]


def test_no_texts_give_no_tokens(tokenizer: Tokenizer) -> None:
    tokens = tokenizer.encode([])
    assert len(tokens) == 0
    assert len(tokens.ids) == 0
    tokens, lost = tokenizer.encode_truncated([], 16)
    assert len(tokens) == len(lost) == 0


def test_overhead_counts_special_tokens_and_the_prompt(tokenizer: Tokenizer) -> None:
    assert tokenizer.overhead_tokens == 2
    prompted = tokenizer.with_prompt("query: ")
    assert prompted.overhead_tokens == tokenizer.encode(["query: "]).lengths[0]
    assert tokenizer.overhead_tokens == 2, "the first one keeps its own"


def test_the_prompt_and_the_text_are_tokenised_as_one(
    tokenizer: Tokenizer, bytes_tokenizer: Tokenizer
) -> None:
    for one in (tokenizer, bytes_tokenizer):
        prompted = one.with_prompt("query: ").encode(["fox", " fox"])
        assert rows(prompted) == rows(one.encode(["query: fox", "query:  fox"]))


def test_truncation_cuts_the_end_and_keeps_special_tokens(tokenizer: Tokenizer) -> None:
    text = "the quick brown fox jumps over the lazy dog " * 3
    whole = rows(tokenizer.encode([text]))[0]
    tokens, lost = tokenizer.encode_truncated([text, "fox"], 10)
    cut, short = rows(tokens)
    assert cut == [*whole[:9], whole[-1]]
    assert lost.tolist() == [len(whole) - 10, 0]
    assert rows(tokenizer.encode(["fox"])) == [short]


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(NO_SURROGATES, max_size=5), limit=st.integers(3, 20))
def test_truncated_and_lost_add_up(
    bytes_tokenizer: Tokenizer, texts: list[str], limit: int
) -> None:
    whole = bytes_tokenizer.encode(texts).lengths
    tokens, lost = bytes_tokenizer.encode_truncated(texts, limit)
    assert (tokens.lengths + lost == whole).all()
    assert (tokens.lengths <= limit).all()
    assert (lost[whole <= limit] == 0).all()


@settings(max_examples=100, deadline=None)
@given(text=NO_SURROGATES)
def test_spans_lie_in_the_text_and_never_step_back(
    tokenizer: Tokenizer, bytes_tokenizer: Tokenizer, text: str
) -> None:
    for one in (tokenizer, bytes_tokenizer):
        spans = one.spans(text)
        assert spans.dtype == np.int32
        assert spans.shape == (len(one.encode([text]).ids) - 2, 2)
        assert (spans >= 0).all()
        assert (spans <= len(text)).all()
        assert (spans[:, 0] <= spans[:, 1]).all()
        assert (np.diff(spans, axis=0) >= 0).all()


def test_spans_count_characters_not_bytes(tokenizer: Tokenizer) -> None:
    text = "naïve 👍🏽 zip file"
    found = [text[a:b] for a, b in tokenizer.spans(text).tolist()]
    assert "".join(found).replace(" ", "") == text.replace(" ", "")


def test_spans_ignore_the_prompt(tokenizer: Tokenizer) -> None:
    prompted = tokenizer.with_prompt("query: ")
    assert (prompted.spans("zip file") == tokenizer.spans("zip file")).all()


def test_nul_and_very_long_words_are_no_trouble(tokenizer: Tokenizer) -> None:
    tokens = tokenizer.encode(["\0", "a\0b", "x" * 100_000, "\0" * 1000])
    assert len(tokens) == 4


def test_a_lone_surrogate_is_an_error_of_the_caller(tokenizer: Tokenizer) -> None:
    with pytest.raises((UnicodeEncodeError, TypeError)):
        tokenizer.encode(["\ud800"])


def test_a_damaged_tokenizer_is_a_users_error(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(BundleError, match="can't be loaded") as caught:
        Tokenizer(Bundle(tmp_path, bundle.info))
    assert "tokenizer.json" in caught.value.where
