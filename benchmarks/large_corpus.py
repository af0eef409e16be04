"""A corpus of tens of thousands of real documents, of what is installed: nothing is fetched."""

from __future__ import annotations

import gzip
import json
import random
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from benchmarks.corpus import write_jsonl
from embed_job.dry_run.stdlib_docs import choose_docs

_MANY = 1_000_000
_LEAST_CHARS = 40


def write_large(path: Path, *, documents: int, seed: int = 0) -> int:
    """Documentation strings of the standard library and of every installed package, and of AWS's
    operations (botocore holds them), shuffled; how many were written.

    The same installation, number and seed give the same bytes.
    """
    records = [*_docstrings("stdlib"), *_docstrings("purelib"), *_operations()]
    distinct = list({record["id"]: record for record in records}.values())
    random.Random(seed).shuffle(distinct)  # noqa: S311 - the same order each time
    return write_jsonl(path, distinct[:documents])


def _docstrings(scheme: str) -> Iterator[dict[str, str]]:
    for doc in choose_docs(Path(sysconfig.get_path(scheme)), count=_MANY):
        yield {"id": doc.id, "title": doc.title, "body": doc.body, "module": doc.module}


def _operations() -> Iterator[dict[str, str]]:
    import botocore

    for path in sorted(Path(botocore.__file__).parent.glob("data/*/*/service-2.json*")):
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", encoding="utf-8") as stream:
            operations = json.load(stream)["operations"]
        service, version = path.parts[-3:-1]
        for name, operation in operations.items():
            body = re.sub(r"<[^>]+>|\s+", " ", operation.get("documentation", "")).strip()
            if len(body) >= _LEAST_CHARS:
                yield {
                    "id": f"{service}/{version}/{name}",
                    "title": name,
                    "body": body,
                    "module": service,
                }
