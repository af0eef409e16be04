"""The corpus as it is today: files of documents, changed by seeded chance, told to nobody else."""

from __future__ import annotations

import csv
import io
import random
import sysconfig
from collections import deque
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path, PurePosixPath

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from embed_job.dry_run.stdlib_docs import choose_docs

MAX_CHARS = 700
FILES = ("a", "b/c", "b/d", "e", "f")
DOCS_A_FILE = {"jsonl": 60, "csv": 30, "parquet": 50}


@dataclass(frozen=True, slots=True)
class Doc:
    """One document of the truth."""

    id: str
    text: str
    module: str
    revision: int = 0


@dataclass(slots=True)
class Changes:
    """What a day did: ids."""

    added: list[str] = field(default_factory=list)
    edited: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)
    renamed: list[str] = field(default_factory=list)
    retagged: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    returned: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        named = {
            "added": self.added,
            "edited": self.edited,
            "moved": self.moved,
            "renamed": self.renamed,
            "metadata": self.retagged,
            "deleted": self.deleted,
            "came back": self.returned,
        }
        return ", ".join(f"{len(ids)} {name}" for name, ids in named.items() if ids) or "nothing"


class Corpus:
    """Documents by file and id. Each text that it makes is one that it never had before, except
    where a text moves or comes back: then it is one that it had."""

    def __init__(self, *, seed: int) -> None:
        self.random = random.Random(seed)
        stdlib = Path(sysconfig.get_path("stdlib"))
        found = choose_docs(stdlib, count=2500, seed=seed)
        texts: dict[str, Doc] = {}
        for doc in found:
            if len(doc.body) <= MAX_CHARS:
                texts.setdefault(doc.body, Doc(doc.id, doc.body, doc.module))
        self._pool = deque(texts.values())
        self._gone: deque[tuple[str, Doc]] = deque(maxlen=6)
        self.files: dict[str, dict[str, Doc]] = {
            f"{place}.{kind}": self._drawn(DOCS_A_FILE[kind])
            for number, place in enumerate(FILES)
            for kind in (("jsonl", "csv"), ("jsonl", "parquet"))[number % 2]
        }

    def _drawn(self, count: int) -> dict[str, Doc]:
        docs = [self._pool.popleft() for _ in range(count)]
        return {doc.id: doc for doc in docs}

    @property
    def docs(self) -> dict[str, Doc]:
        return {doc_id: doc for docs in self.files.values() for doc_id, doc in docs.items()}

    def bytes_of(self, file: str) -> bytes:
        """The file's content, documents in the order of their ids."""
        docs = [doc for _, doc in sorted(self.files[file].items())]
        kind = PurePosixPath(file).suffix
        if kind == ".jsonl":
            return b"".join(orjson.dumps(doc) + b"\n" for doc in docs)
        records = [
            {"id": doc.id, "text": doc.text, "module": doc.module, "revision": doc.revision}
            for doc in docs
        ]
        if kind == ".csv":
            text = io.StringIO(newline="")
            writer = csv.DictWriter(text, ["id", "text", "module", "revision"])
            writer.writeheader()
            writer.writerows(records)
            return text.getvalue().encode()
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(records), sink)
        return sink.getvalue()

    def versions(self) -> frozenset[str]:
        """Of all files: another name or content, another version."""
        hashed = {file: blake2b(self.bytes_of(file)).hexdigest() for file in self.files}
        return frozenset(f"{file} {version}" for file, version in hashed.items())

    def live_through(self, changes: int) -> Changes:
        """One day: about so many documents of each kind of change."""
        done = Changes()
        for act in (self._add, self._edit, self._move, self._retag, self._delete, self._rename):
            for _ in range(self.random.randint(0, changes)):
                act(done)
        if self._gone and self.random.random() < 0.5:
            self._bring_back(done)
        return done

    def shrink(self, file: str) -> None:
        """All of a file's documents go, and the file."""
        del self.files[file]

    def rename_a_file(self) -> str:
        """Its documents, by another name, which is answered."""
        file = self.random.choice(sorted(self.files))
        name = str(PurePosixPath(file).with_stem(f"{PurePosixPath(file).stem}-renamed"))
        self.files[name] = self.files.pop(file)
        return name

    def _any(self, done: Changes) -> tuple[str, Doc]:
        """A document that nothing has happened to today."""
        touched = {*done.added, *done.edited, *done.moved, *done.renamed, *done.retagged}
        while True:
            file = self.random.choice(sorted(self.files))
            chosen = self.random.choice(sorted(self.files[file]))
            if chosen not in touched:
                return file, self.files[file][chosen]

    def _add(self, done: Changes) -> None:
        doc = self._pool.popleft()
        self.files[self.random.choice(sorted(self.files))][doc.id] = doc
        done.added.append(doc.id)

    def _edit(self, done: Changes) -> None:
        """Another ending, so that the first chunks of a long text stay."""
        file, doc = self._any(done)
        self.files[file][doc.id] = replace(doc, text=f"{doc.text}\n{self._pool.popleft().text}")
        done.edited.append(doc.id)

    def _move(self, done: Changes) -> None:
        file, doc = self._any(done)
        other = self.random.choice(sorted(self.files))
        self.files[other][doc.id] = self.files[file].pop(doc.id)
        done.moved.append(doc.id)

    def _rename(self, done: Changes) -> None:
        """The text goes on under another id: the old one is gone."""
        file, doc = self._any(done)
        del self.files[file][doc.id]
        other = replace(doc, id=f"{doc.id}~")
        self.files[file][other.id] = other
        done.renamed.append(other.id)

    def _retag(self, done: Changes) -> None:
        file, doc = self._any(done)
        self.files[file][doc.id] = replace(doc, revision=doc.revision + 1)
        done.retagged.append(doc.id)

    def _delete(self, done: Changes) -> None:
        file, doc = self._any(done)
        del self.files[file][doc.id]
        self._gone.append((file, doc))
        done.deleted.append(doc.id)

    def _bring_back(self, done: Changes) -> None:
        """A document that was deleted within the last days, as it was."""
        file, doc = self._gone.popleft()
        if doc.id not in self.docs and doc.id not in done.deleted and file in self.files:
            self.files[file][doc.id] = doc
            done.returned.append(doc.id)
