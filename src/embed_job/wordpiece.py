"""A faster tokenizer of uncased BERT vocabularies, used where it gives what the reference gives.

nanotoken is an optional package: 10 to 14 million tokens a second and core where tokenizers makes
0.3, which is what a GPU waits for. It is young, so it has to show itself first.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from embed_job.bundle.golden_texts import golden_texts
from embed_job.engine import Tokens

Encode = Callable[[list[str]], Tokens]
"""Whole texts to their token ids, special tokens included."""

_LOG = logging.getLogger(__name__)

SAMPLED_TEXTS = 1_024
_CACHED_WORDS = 1 << 16
"""It remembers words, a million by default, which grow to 200 MB a process where many are numbers.
Fewer fit the processor's cache: short texts of many distinct words ran at 39.8 million tokens a
second with these, at 25.3 by default, longer ones alike (AMD Zen 4)."""
_ODD_TEXTS = (
    "",
    " \t\r\n",
    "Cafe\u0301 nai\u0308ve \u0130stanbul \u1e9e \ufb01n \u212b",
    "[CLS] a [SEP] [MASK] [PAD][UNK] [sep] ##ing",
    "\u4e2d\u6587\u5b57 \u3042\u30a2 \ud55c\uae00 \uf900\U00020000",
    "a\u200bb\u00adc\ufeffd\x00e\x7ff\ufffdg\u2028h\u3000i\u00a0j",
    "don't e.g. 3.14 $5 <b>&amp;</b> a_b-c/d \u2014 \u201cq\u201d \u20ac\u2122",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f \U0001f1e9\U0001f1ea",
    "x" * 99 + " " + "y" * 100 + " " + "z" * 101,
    "\u0627\u0644\u0639\u0631\u0628\u064a\u0629 \u0e44\u0e17\u0e22 \u05e9\u05c1",
    "\u0939\u093f\u0928\u094d\u0926\u0940 \u1100\u1161 \u0130i\u0307 \u03a3\u03c2",
)


def fastest(inner: Any, reference: Encode) -> Encode:
    """What is best used for a tokenizer; reference gives inner's own ids."""
    if find_spec("nanotoken") is None or not _is_uncased(inner):
        return reference
    import nanotoken

    nanotoken.set_cache_entries(_CACHED_WORDS)
    try:
        tokenizer = nanotoken.Tokenizer.from_json(inner.to_str())
    except nanotoken.UnsupportedTokenizerError:
        return reference

    def encode(texts: list[str]) -> Tokens:
        # One core is enough for it, and more would be taken from other workers.
        found = tokenizer.encode_batch(texts, parallel=False)
        return Tokens(found.ids.view(np.int32), found.offsets)

    checked = Checked(encode, reference)
    checked.check((*golden_texts(()), *_ODD_TEXTS))
    return checked


class Checked:
    """A fast tokenizer, given up for good where it differs from the reference.

    The first texts it is given are compared as well: what a fixed list lacks, the input may have.
    """

    def __init__(
        self, fast: Encode, reference: Encode, *, sampled_texts: int = SAMPLED_TEXTS
    ) -> None:
        self._fast: Encode | None = fast
        self._reference = reference
        self._unchecked = sampled_texts

    @property
    def is_fast(self) -> bool:
        """Whether it has always given what the reference gives."""
        return self._fast is not None

    def check(self, texts: Sequence[str]) -> Tokens:
        """The reference's tokens, after a comparison."""
        right = self._reference(list(texts))
        if self._fast is not None and not _are_equal(self._fast(list(texts)), right):
            self._fast = None
            _LOG.warning("nanotoken differs from tokenizers on this vocabulary and is not used")
        return right

    def __call__(self, texts: list[str]) -> Tokens:
        if self._fast is None:
            return self._reference(texts)
        if self._unchecked <= 0:
            return self._fast(texts)
        self._unchecked -= len(texts)
        return self.check(texts)


def _are_equal(one: Tokens, other: Tokens) -> bool:
    return np.array_equal(one.offsets, other.offsets) and np.array_equal(one.ids, other.ids)


def _is_uncased(inner: Any) -> bool:
    """Whether it is of the kind that nanotoken was compared on at length."""
    said = json.loads(inner.to_str())
    normalizer = said["normalizer"] or {}
    return said["model"].get("type") == "WordPiece" and bool(normalizer.get("lowercase"))
