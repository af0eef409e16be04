"""Rows that an index refused: where each comes from, and the server's reason."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import orjson

from embed_job.errors import OutputError

_MAX_REASON_CHARS = 500


@dataclass(frozen=True, slots=True)
class IndexLetter:
    """One refused row: enough to find it in the Parquet parts again, without a copy of it.

    split: the live split that held the row; file: the name, below the input, of its first file.
    kind: the reason in a word or two, to be counted by; detail: the server's own words, cut to 500
    characters. status: HTTP's; None where the row was refused before it was sent.
    """

    file: str
    split: str
    id: str
    doc_id: str
    kind: str
    detail: str
    status: int | None


def encode_letters(letters: Iterable[IndexLetter]) -> bytes:
    """A letter as JSON a line."""
    return b"".join(orjson.dumps(letter, option=orjson.OPT_APPEND_NEWLINE) for letter in letters)


def decode_letters(data: bytes, *, where: str) -> list[IndexLetter]:
    """Letters in the order in which they were refused.

    Raises OutputError where they are damaged.
    """
    try:
        return [IndexLetter(**orjson.loads(line)) for line in data.splitlines()]
    except (orjson.JSONDecodeError, TypeError) as error:
        raise OutputError(
            where,
            f"is no file of dead letters ({str(error)[:100]})",
            "Remove it, and send every row again: embed-job load SPEC --all.",
        ) from error


def shortened(text: str) -> str:
    """A server's reason, no longer than a dead letter keeps it."""
    return text if len(text) <= _MAX_REASON_CHARS else f"{text[: _MAX_REASON_CHARS - 1]}…"
