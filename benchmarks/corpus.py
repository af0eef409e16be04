"""The corpora, made of what every machine has: nothing is fetched, nothing is kept in git."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from importlib import metadata
from itertools import islice
from pathlib import Path

from embed_job.dry_run.stdlib_docs import write_stdlib_docs

FIELDS = ("title", "body")


def write_corpus(path: Path, *, documents: int) -> int:
    """Documentation strings of the standard library, id, title, body and module; how many."""
    return write_stdlib_docs(path, count=documents)


def write_adversarial(path: Path, *, descriptions: int) -> int:
    """Documents that tell implementations apart: scripts, clusters, lengths, marks, markup.

    descriptions: how many of installed packages are among them.
    """
    bodies = [*_ADVERSARIAL, *_by_length(), *_descriptions(descriptions)]
    return write_jsonl(
        path,
        (
            {"id": f"adversarial-{n}", "title": "", "body": body, "module": "adversarial"}
            for n, body in enumerate(bodies)
        ),
    )


def write_short(path: Path, *, documents: int) -> int:
    """Short documents, all different: the first words of documentation strings and a number."""
    source = path.with_name("short-source.jsonl")
    write_stdlib_docs(source, count=500)
    starts = [" ".join(record["body"].split()[:12]) for record in read_jsonl(source)]
    return write_jsonl(
        path,
        ({"id": f"doc-{n}", "text": f"{starts[n % len(starts)]} {n}"} for n in range(documents)),
    )


def write_repeated(path: Path, source: Path, *, times: int) -> int:
    """Each document of a corpus several times, under ids of their own."""
    return write_jsonl(
        path,
        (
            record | {"id": f"{record['id']}~{copy}"}
            for copy in range(times)
            for record in read_jsonl(source)
        ),
    )


def write_jsonl(path: Path, records: Iterable[dict[str, str]]) -> int:
    """How many were written."""
    count = 0
    with path.open("w", encoding="utf-8") as stream:
        for record in records:
            stream.write(json.dumps(record, ensure_ascii=False) + "\n")
            count += 1
    return count


def read_jsonl(path: Path) -> Iterator[dict[str, str]]:
    """The records of a file."""
    with path.open(encoding="utf-8") as stream:
        yield from map(json.loads, stream)


def text_of(record: dict[str, str], fields: Iterable[str]) -> str:
    """The text of a record as the engine makes it: fields joined by a line break."""
    return "\n".join(record[field] for field in fields)


def _by_length() -> Iterator[str]:
    """Around every length at which something changes: one token, a full batch, the maximum."""
    for words in (1, 2, 3, 7, 8, 15, 16, 31, 63, 64, 127, 128, *range(252, 258), 512, 2000):
        yield " ".join(["word"] * words)
        yield " ".join(f"un{n}" for n in range(words))


def _descriptions(count: int) -> Iterator[str]:
    """Descriptions of installed packages: Markdown, HTML, badges, tables."""
    texts = (
        (found.read_text("METADATA") or "").partition("\n\n")[2]
        for found in metadata.distributions()
    )
    yield from islice((text[:20_000] for text in texts if _is_clean(text)), count)


def _is_clean(text: str) -> bool:
    """Long enough to say something, and writable as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return len(text.strip()) > 200


_ADVERSARIAL = [
    "a", "A", ".", "...", "?!", "0", "\u00e9", "e\u0301", "ﬁ", "ﷺ", "™", "½", "№ 5",
    "\U0001f600", "\U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466",
    "\U0001f1e9\U0001f1ea",
    "日本語の文章です。次の文。", "中文字符测试", "한국어 문장입니다.", "ภาษาไทยไม่มีช่องว่าง",
    "שלום עולם", "مرحبا بالعالم", "\u202eright to left\u202c", "Ελληνικά", "Кириллица",
    "हिन्दी पाठ", "naïve café résumé", "NAÏVE CAFÉ", "İstanbul ıI", "straße STRASSE",
    "a\u00adb", "a\u200bb", "a\u00a0b", "a\tb\nc\rd\x0be", "tab\t\t\ttab", "NUL \x00 inside",
    "bell \x07 and escape \x1b[31m", "\ufeffbyte order mark", "replacement \ufffd",
    "x" * 99, "x" * 100, "x" * 101, "x" * 5000, "ab" * 3000, "1" * 400, "-" * 400, "." * 400,
    "https://example.org/a/very/long/path?with=query&and=more#fragment", "C:\\Windows\\System32",
    "user@example.org", "3.14159265358979", "1,234,567.89", "2024-02-29T23:59:60Z", "0xDEADBEEF",
    "[CLS] and [SEP] and [MASK] and [PAD] and [UNK]", "##ing ##s", "<b>bold</b> &amp; entity",
    "def f(x: int) -> int:\n    return x ** 2\n", "{'key': [1, 2, {'a': None}]}", "\\n \\t \\u0041",
    "don't can't won't it's", "rock'n'roll", "state-of-the-art", "snake_case camelCase PascalCase",
    "word " * 600, "日" * 600, "é" * 600, "\U0001f600" * 300, "a " * 1000, "\n" * 50 + "end",
    " leading", "trailing ", "  double  spaces  ", "ALL CAPS TEXT HERE", "MiXeD cAsE",
]  # fmt: skip
