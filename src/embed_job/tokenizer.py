"""Text to token ids, as sentence-transformers makes them."""

from __future__ import annotations

import os
from array import array
from collections.abc import Sequence
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from embed_job.bundle import Bundle
from embed_job.engine import Tokens
from embed_job.errors import BundleError
from embed_job.wordpiece import Encode, fastest


def use_one_thread() -> None:
    """Keep Hugging Face's tokenizers from starting a thread a core in this process.

    They read it from the environment alone; a worker calls this before its first text.
    """
    os.environ["TOKENIZERS_PARALLELISM"] = "false"


class Tokenizer:
    """A bundle's tokenizer with a prompt that is put before each text.

    As in sentence-transformers, prompt and text are joined first and tokenised as one, so what
    they have at their seam may become one token. Texts are taken as they are, not stripped.
    A lone surrogate raises TypeError or UnicodeEncodeError (readers refuse it). One thread at a
    time.
    """

    def __init__(self, bundle: Bundle, *, prompt: str = "") -> None:
        self._set(_load(bundle), prompt)

    def _set(self, inner: Any, prompt: str, *, encode: Encode | None = None) -> None:
        self._inner = inner
        self._encode = encode or fastest(inner, partial(_encode, inner))
        self._prompt = prompt
        self._suffix = _suffix_tokens(inner)
        self.overhead_tokens = len(inner.encode(prompt).ids)
        """Special tokens and those of the prompt alone."""

    def with_prompt(self, prompt: str) -> Tokenizer:
        """The same tokenizer with another prompt; nothing is loaded again."""
        other = Tokenizer.__new__(Tokenizer)
        other._set(self._inner, prompt, encode=self._encode)
        return other

    def encode(self, texts: Sequence[str]) -> Tokens:
        """Token ids of whole texts with prompt and special tokens, never truncated."""
        return self._encode([self._prompt + text for text in texts] if self._prompt else [*texts])

    def encode_truncated(
        self, texts: Sequence[str], max_tokens: int
    ) -> tuple[Tokens, npt.NDArray[np.int64]]:
        """Token ids cut to max_tokens, and how many each text lost, int64 [texts].

        As sentence-transformers cuts: the end of the text goes, special tokens stay.
        """
        whole = self.encode(texts)
        lengths = whole.lengths
        lost = np.maximum(lengths - max_tokens, 0)
        if not lost.any():
            return whole, lost
        places = np.arange(len(whole.ids)) - np.repeat(whole.offsets[:-1], lengths)
        # What is cut out lies before the special tokens at the end.
        ends = np.repeat(lengths - self._suffix, lengths)
        begins = ends - np.repeat(lost, lengths)
        kept = (places < begins) | (places >= ends)
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths - lost)])
        return Tokens(whole.ids[kept], offsets), lost

    def spans(self, text: str) -> npt.NDArray[np.int32]:
        """Where each token of the text alone lies, without prompt and special tokens.

        int32 [tokens, 2]: character offsets [start, end) in text. Starts and ends never decrease;
        tokens of one character that became several share its span.
        """
        # A batch of one, as encode alone would keep other threads of Python waiting.
        (encoding,) = self._inner.encode_batch([text], add_special_tokens=False)
        offsets = encoding.offsets
        flat = np.fromiter(chain.from_iterable(offsets), np.int32, 2 * len(offsets))
        ordered: npt.NDArray[np.int32] = np.maximum.accumulate(flat.reshape(-1, 2), axis=0)
        return ordered


def _encode(inner: Any, texts: list[str]) -> Tokens:
    ids, offsets = array("i"), array("q", [0])
    for encoding in inner.encode_batch_fast(texts):
        ids.fromlist(encoding.ids)
        offsets.append(len(ids))
    return Tokens(np.frombuffer(ids, np.int32), np.frombuffer(offsets, np.int64))


def _load(bundle: Bundle) -> Any:
    import tokenizers

    path = bundle.path / "tokenizer.json"
    try:
        inner = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:
        # tokenizers raises plain Exception.
        raise BundleError(
            str(path),
            f"can't be loaded ({str(error)[:200]})",
            f"Make it again: embed-job bundle {bundle.info.source} --out {bundle.path}",
        ) from error
    inner.no_truncation()
    inner.no_padding()
    return inner


def _suffix_tokens(inner: Any) -> int:
    """Special tokens after a text."""
    mask = inner.encode("a").special_tokens_mask
    return len(mask) - 1 - max((at for at, special in enumerate(mask) if not special), default=-1)
