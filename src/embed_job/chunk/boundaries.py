"""Where a text may be cut: between tokens, graded from paragraph down to bare token."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

# Each pattern ends where the next sentence begins. Possessive quantifiers and the look-behind keep
# every one linear, also over a megabyte of dots or blanks.
_SENTENCES = (
    re.compile(r"(?<![.!?…])[.!?…]++[\"'”’»)\]]*+\s++(?![a-zß-ÿ])"),
    re.compile(r"[。！？｡]++[」』）”’]*+"),
)
_PARAGRAPHS = (
    re.compile(r"\n[^\S\n]*+\n\s*+"),
    re.compile(r"\n(?=[ \t]{0,12}(?:#{1,6}|[-*+•]|\d{1,3}[.)])[ \t])"),
)
_LINES = (re.compile(r"[\n\r\u2028\u2029]"),)

_BLANKS = np.array([code for code in range(0x3001) if chr(code).isspace()], dtype=np.uint32)
_IDEOGRAPHS = ((0x2E80, 0x312F), (0x31A0, 0xA4CF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF))
"""Scripts written without blanks, where each character may begin a word."""


class Level(IntEnum):
    """How good a place to cut is; each level holds those above it too."""

    PARAGRAPH = 0
    """After a blank line, before a heading or a list item."""
    SENTENCE = 1
    LINE = 2
    """A line break within a sentence: hard-wrapped prose, code, a log."""
    WORD = 3
    TOKEN = 4


@dataclass(frozen=True, slots=True)
class Layout:
    """The tokens of a text and the places between them.

    A place is the index i of a token: the cut falls before it, at character ``starts[i]``, where
    no token of either side reaches across. places: by level, ascending, each in 1 … count - 1.
    """

    text: str
    count: int
    starts: list[int]
    ends: list[int]
    places: tuple[list[int], ...]

    def character(self, token: int) -> int:
        """Where a cut before a token falls; the text's ends for the first and past the last."""
        if token <= 0:
            return 0
        return len(self.text) if token >= self.count else self.starts[token]

    def token_after(self, character: int) -> int:
        """The first token that reaches beyond a character position."""
        return bisect_right(self.ends, character)

    def latest(self, level: Level, after: int, limit: int) -> int | None:
        """The last place in (after, limit] that splits no character cluster."""
        places = self.places[level]
        at = bisect_right(places, limit) - 1
        while at >= 0 and places[at] > after:
            if begins_cluster(self.text, self.starts[places[at]]):
                return places[at]
            at -= 1
        return None

    def earliest(self, level: Level, after: int) -> int:
        """The first place beyond a token that splits no cluster; count where there is none."""
        places = self.places[level]
        for at in range(bisect_right(places, after), len(places)):
            if begins_cluster(self.text, self.starts[places[at]]):
                return places[at]
        return self.count

    def nearest(self, after: int, limit: int) -> int:
        """The last place in (after, limit], clusters split or not, else the first beyond it."""
        places = self.places[Level.TOKEN]
        at = bisect_right(places, limit)
        if at and places[at - 1] > after:
            return places[at - 1]
        return places[at] if at < len(places) else self.count


def layout(text: str, spans: npt.NDArray[np.int32]) -> Layout:
    """Grade the places between the tokens of a text; spans int [n, 2] in characters."""
    count = len(spans)
    ends = np.maximum.accumulate(spans[:, 1])
    starts = np.minimum.accumulate(spans[::-1, 0])[::-1]
    free = np.zeros(count, dtype=np.bool_)
    free[1:] = starts[1:] >= ends[:-1]
    paragraphs = _tokens_at(text, _PARAGRAPHS, ends)
    sentences = paragraphs | _tokens_at(text, _SENTENCES, ends)
    lines = sentences | _tokens_at(text, _LINES, ends)
    words = lines | _word_starts(text, starts, ends)
    graded = (paragraphs & free, sentences & free, lines & free, words & free, free)
    return Layout(
        text=text,
        count=count,
        starts=starts.tolist(),
        ends=ends.tolist(),
        places=tuple(np.flatnonzero(marked).tolist() for marked in graded),
    )


def _tokens_at(
    text: str, patterns: tuple[re.Pattern[str], ...], ends: npt.NDArray[np.int32]
) -> npt.NDArray[np.bool_]:
    """Which tokens begin where a match of one of the patterns ends."""
    # By the token's end, not its start: a token may hold the blank before its word.
    characters = [match.end() for pattern in patterns for match in pattern.finditer(text)]
    tokens = np.searchsorted(ends, np.array(characters, dtype=ends.dtype), side="right")
    found = np.zeros(len(ends) + 1, dtype=np.bool_)
    found[tokens] = True
    return found[:-1]


def _word_starts(
    text: str, starts: npt.NDArray[np.int32], ends: npt.NDArray[np.int32]
) -> npt.NDArray[np.bool_]:
    """Which tokens begin a word: after a blank or a gap, or an ideograph."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    first = codes[np.minimum(starts, len(codes) - 1)]
    before = codes[np.maximum(starts - 1, 0)]
    found = np.isin(before, _BLANKS) | np.isin(first, _BLANKS)
    found[1:] |= starts[1:] > ends[:-1]
    for low, high in _IDEOGRAPHS:
        found |= (first >= low) & (first <= high)
    return found


def begins_cluster(text: str, at: int) -> bool:
    """Whether a cut at a character leaves what a reader sees as one character whole.

    An approximation of grapheme clusters: combining marks, joiners, variation selectors, emoji
    modifiers and tags, flags, conjoining Hangul and surrogates.
    """
    if at <= 0 or at >= len(text):
        return True
    code, before = ord(text[at]), ord(text[at - 1])
    if code < 0x300 and before < 0x300:
        return True
    return not (
        before == 0x200D
        or code == 0x200D
        or 0x1160 <= code <= 0x11FF
        or 0x1F3FB <= code <= 0x1F3FF
        or 0xE0020 <= code <= 0xE007F
        or 0xDC00 <= code <= 0xDFFF
        or unicodedata.category(text[at]).startswith("M")
        or (_is_flag_half(code) and _flag_halves_before(text, at) % 2 == 1)
    )


def _is_flag_half(code: int) -> bool:
    return 0x1F1E6 <= code <= 0x1F1FF


def _flag_halves_before(text: str, at: int) -> int:
    run = 0
    while at - run > 0 and _is_flag_half(ord(text[at - run - 1])):
        run += 1
    return run
