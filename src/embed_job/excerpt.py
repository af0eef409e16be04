"""A stranger's text on one line of a terminal."""

from __future__ import annotations

import unicodedata

_ESCAPED = frozenset(["Cc", "Cf", "Cs", "Co", "Cn"])
"""Control characters, marks that change a line's direction, lone surrogates."""


def excerpt(text: str, *, limit: int = 160) -> str:
    """The beginning of text, `limit` characters at most; white space folded, what a terminal
    would act upon escaped."""
    folded = " ".join(text[: 4 * limit].split())
    plain = "".join(_escaped(char) for char in folded[: limit + 1])
    if len(plain) <= limit and len(text) <= 4 * limit:
        return plain
    return f"{plain[: limit - 1].rstrip()}…"


def _escaped(char: str) -> str:
    if unicodedata.category(char) not in _ESCAPED:
        return char
    code = ord(char)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
