"""Texts of a user's file, to measure on them what int8 loses."""

from __future__ import annotations

import json
from pathlib import Path

from embed_job.bundle.files import read_text
from embed_job.errors import BundleError

MAX_TEXTS = 256
_MAX_BYTES = 2**26
_EXCERPT_CHARACTERS = 4000


def sample_texts(path: Path) -> list[str]:
    """Texts of a user's file: each longest string of a JSONL's objects, or a text's paragraphs.

    256 at most, excerpts of 4,000 characters; BundleError where it holds none.
    """
    content = read_text(path, max_bytes=_MAX_BYTES)
    if path.suffix == ".jsonl":
        texts = [_longest(line, path) for line in content.splitlines() if line.strip()]
    else:
        texts = [part.strip() for part in content.split("\n\n")]
    texts = [text[:_EXCERPT_CHARACTERS] for text in texts if text]
    if not texts:
        raise BundleError(f"--sample {path}", "holds no text", "Give a .jsonl, .txt or .md file.")
    step = max(1, len(texts) // MAX_TEXTS)
    return texts[::step][:MAX_TEXTS]


def _longest(line: str, path: Path) -> str:
    try:
        value = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise BundleError(
            f"--sample {path}", "holds a line that is not JSON", "Mend it."
        ) from error
    values = value.values() if isinstance(value, dict) else [value]
    return max((item for item in values if isinstance(item, str)), key=len, default="")
