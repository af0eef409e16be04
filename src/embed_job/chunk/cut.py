"""A long text to cuts that fit the model.

Bounded stretches of the text are tokenised once to find places to cut, at the best boundary; each
cut is tokenised again by itself and held to the maximum.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from embed_job.chunk.boundaries import Layout, Level, begins_cluster, layout

if TYPE_CHECKING:
    from embed_job.tokenizer import Tokenizer

_CUTS_AT_ONCE = 32
"""Cuts planned before they are checked: bounds what is planned again when one is too long."""
_LONGEST_CLUSTER = 64


@dataclass(frozen=True, slots=True)
class Cut:
    """A stretch [start, end) of a text's characters, without blanks at its edges.

    ids: int32, what the tokenizer gives for it alone, specials and prompt included. lost_tokens:
    above 0 only where a single character has more tokens than the maximum.
    """

    start: int
    end: int
    ids: npt.NDArray[np.int32]
    lost_tokens: int = 0


@dataclass(frozen=True, slots=True)
class _Place:
    """How far a stretch is cut.

    begin: token at which the next cut begins. fresh: first token that no cut holds yet; tokens
    from begin to fresh are repeated. start, end: characters of the last cut.
    """

    begin: int
    fresh: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Planned:
    """A cut of characters [start, end), from one place to the next."""

    start: int
    end: int
    at: _Place
    then: _Place


class Cutter:
    """Cuts texts of any length in linear time, with stretch_chars of a text in hand at a time.

    The cuts of a text follow from the text and these settings alone.
    """

    def __init__(
        self, tokenizer: Tokenizer, *, max_tokens: int, overlap_tokens: int, stretch_chars: int
    ) -> None:
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self._content_tokens = max_tokens - tokenizer.overhead_tokens
        self._overlap_tokens = min(overlap_tokens, self._content_tokens // 2)
        self._stretch_chars = stretch_chars

    def cut(self, text: str) -> Iterator[Cut]:
        """The cuts in order, starts and ends strictly increasing; none where there is no token.

        Every character that is not white space lies in a cut, unless the tokenizer finds no token
        in the whole stretch around it.
        """
        begin = fresh = 0
        while fresh < len(text):
            stretch = take_stretch(text, begin, self._stretch_chars)
            is_last = begin + len(stretch) == len(text)
            found = layout(stretch, self._tokenizer.spans(stretch))
            place = _Place(0, found.token_after(fresh - begin), -1, fresh - begin)
            if place.fresh >= found.count:
                begin = fresh = begin + len(stretch)
                continue
            place = yield from self._cut_stretch(found, place, begin, is_last=is_last)
            if is_last:
                return
            begin, fresh = (
                begin + found.character(place.begin),
                begin + found.character(place.fresh),
            )
            if fresh - begin > self._stretch_chars // 4:
                begin = fresh  # repeating a few huge words would leave no room for new text

    def _cut_stretch(
        self, found: Layout, place: _Place, offset: int, *, is_last: bool
    ) -> Generator[Cut, None, _Place]:
        first, margin = place.fresh, 0
        while True:
            # Near the end of a stretch, tokens and boundaries may change with the text that
            # follows: that is left to the next stretch, unless this one would yield nothing.
            reserve = 0 if is_last else 2 * self._content_tokens
            budget = self._content_tokens - margin
            planned, place = self._plan(found, place, budget, reserve)
            if not planned and not is_last and place.fresh == first:
                planned, place = self._plan(found, place, budget, 0, most=1)
            if not planned:
                return place
            texts = [found.text[cut.start : cut.end] for cut in planned]
            tokens = self._tokenizer.encode(texts)
            excess = np.append(tokens.lengths - self._max_tokens, 1)
            good = int(np.argmax(excess > 0))
            for at in range(good):
                ids = tokens.ids[tokens.offsets[at] : tokens.offsets[at + 1]]
                yield Cut(offset + planned[at].start, offset + planned[at].end, ids)
            if good == len(planned):
                continue
            # Alone, a cut may have other tokens at its edges than within the text. What the cut
            # was too long by stays free for the rest of the stretch.
            refused, place = planned[good], planned[good].at
            if margin < self._content_tokens - 1:
                margin = min(margin + int(excess[good]), self._content_tokens - 1)
            elif place.begin < place.fresh:
                place = replace(place, begin=place.fresh)
            else:
                ids_, lost = self._tokenizer.encode_truncated([texts[good]], self._max_tokens)
                yield Cut(offset + refused.start, offset + refused.end, ids_.ids, int(lost[0]))
                place = refused.then

    def _plan(
        self,
        found: Layout,
        place: _Place,
        budget: int,
        reserve: int,
        most: int = _CUTS_AT_ONCE,
    ) -> tuple[list[_Planned], _Place]:
        """The next cuts, at most so many that planning them again is cheap, and where they end."""
        planned: list[_Planned] = []
        while (
            len(planned) < most
            and place.fresh < found.count
            and found.count - place.begin > reserve
        ):
            if place.fresh - place.begin >= budget:
                place = replace(place, begin=place.fresh)
            end = _end(found, place, budget, self._overlap_tokens)
            cut = self._planned(found, place, end)
            if cut is not None and cut.start <= place.start and place.begin < place.fresh:
                place = replace(place, begin=place.fresh)
                cut = self._planned(found, place, end)
            if cut is None:
                place = replace(place, begin=end, fresh=end)
                continue
            planned.append(cut)
            place = cut.then
        return planned, place

    def _planned(self, found: Layout, place: _Place, end: int) -> _Planned | None:
        """The cut up to a token, blanks stripped; None where it adds nothing but blanks."""
        start = found.character(place.begin)
        text = found.text[start : found.character(end)]
        stop = start + len(text.rstrip())
        start += len(text) - len(text.lstrip())
        if stop <= max(start, place.end):
            return None
        begin = _repeat_from(found, place.begin, end, self._overlap_tokens)
        return _Planned(start, stop, place, _Place(begin, end, start, stop))


def take_stretch(text: str, begin: int, size: int) -> str:
    """The text from a character on, size characters at most, ending after a blank if it can."""
    end = begin + size
    if end >= len(text):
        return text[begin:]
    blank = max(text.rfind(mark, begin + size // 2, end) for mark in " \n")
    if blank >= 0:
        return text[begin : blank + 1]
    whole = (at for at in range(end, end - _LONGEST_CLUSTER, -1) if begins_cluster(text, at))
    return text[begin : next(whole, end)]


def _end(found: Layout, place: _Place, budget: int, overlap: int) -> int:
    """The token before which a cut from a place ends: at most budget tokens on, if possible."""
    left = found.count - place.begin
    if left <= budget:
        return found.count
    room = budget
    if left - budget < budget // 8:
        # The rest would be tiny: share between this cut and the last one.
        room = min(budget, (left + overlap) // 2 + budget // 8)
    limit = max(place.begin + room, place.fresh + 1)
    half = max(place.fresh, limit - room // 2)
    paragraph = found.latest(Level.PARAGRAPH, max(half, limit - room // 4), limit)
    if paragraph is not None:
        return paragraph
    sentence = found.latest(Level.SENTENCE, place.fresh, limit)
    if sentence is not None and (
        sentence > half or found.earliest(Level.SENTENCE, limit) - sentence <= budget
    ):
        return sentence
    choices = (
        found.latest(Level.LINE, half, limit),
        found.latest(Level.WORD, place.fresh, limit),
        sentence,
        found.latest(Level.TOKEN, place.fresh, limit),
    )
    return next((at for at in choices if at is not None), None) or found.nearest(place.fresh, limit)


def _repeat_from(found: Layout, begin: int, end: int, overlap: int) -> int:
    """Where the next cut begins: with the last whole sentences, else words, of this one."""
    after = max(begin, end - overlap - 1)
    for level in (Level.SENTENCE, Level.WORD):
        at = found.earliest(level, after)
        if at < end:
            return at
    return end
