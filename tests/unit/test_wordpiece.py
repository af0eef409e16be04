"""The fast tokenizer is used as long as it gives what the reference gives, and no longer."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from embed_job.bundle import open_bundle
from embed_job.engine import Tokens
from embed_job.tokenizer import Tokenizer
from embed_job.wordpiece import Checked


def encoder(wrong: str | None = None) -> tuple[Callable[[list[str]], Tokens], list[list[str]]]:
    """Lengths as ids, but for a text; and the texts of each call."""
    calls: list[list[str]] = []

    def encode(texts: list[str]) -> Tokens:
        calls.append(texts)
        ids = np.array([-1 if text == wrong else len(text) for text in texts], np.int32)
        return Tokens(ids, np.arange(len(texts) + 1, dtype=np.int64))

    return encode, calls


def test_after_the_sample_the_reference_is_asked_no_more() -> None:
    (fast, fast_calls), (reference, calls) = encoder(), encoder()
    checked = Checked(fast, reference, sampled_texts=3)
    checked.check(["fixed"])
    for texts in (["a", "bb"], ["ccc", "d"], ["ee"]):
        assert checked(texts).ids.tolist() == [len(text) for text in texts]
    assert calls == [["fixed"], ["a", "bb"], ["ccc", "d"]]
    assert fast_calls == [*calls, ["ee"]]
    assert checked.is_fast


@pytest.mark.parametrize("wrong", ["fixed", "bb"])
def test_one_difference_is_enough_to_give_it_up(
    caplog: pytest.LogCaptureFixture, wrong: str
) -> None:
    (fast, fast_calls), (reference, _) = encoder(wrong), encoder()
    checked = Checked(fast, reference, sampled_texts=100)
    with caplog.at_level(logging.WARNING):
        checked.check(["fixed"])
        for texts in (["a", "bb"], ["ccc"], ["bb"]):
            assert checked(texts).ids.tolist() == [len(text) for text in texts]
    assert not checked.is_fast
    assert fast_calls[-1] == (["fixed"] if wrong == "fixed" else ["a", "bb"])
    (told,) = [record.getMessage() for record in caplog.records]
    assert "is not used" in told


def test_nanotoken_gives_what_tokenizers_gives(tiny_bundle: Path) -> None:
    pytest.importorskip("nanotoken")
    tokenizer = Tokenizer(open_bundle(tiny_bundle))
    checked = tokenizer._encode
    assert isinstance(checked, Checked)
    assert checked.is_fast
    texts = [f"The {n}th lighthouse naïve {chr(0x4E00 + n)}{chr(n)}" for n in range(3000)]
    found, right = checked(texts), checked._reference(texts)
    assert found.ids.tolist() == right.ids.tolist()
    again = checked(texts)
    assert again.ids.tolist() == right.ids.tolist()
    assert again.offsets.tolist() == right.offsets.tolist()
