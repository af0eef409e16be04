"""Tables of all that earlier runs have embedded, built once a host from the ledgers."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from embed_job.reuse.document_hash import Keys, is_known
from embed_job.reuse.ledger import LedgerError, keys_of, numbers_of
from embed_job.reuse.lookup import CATALOG, CONTENT, CONTENTS, DOCUMENTS, FACT, FACTS, RUN
from embed_job.reuse.rebuild import ledger_of
from embed_job.reuse.sorted_table import Entries, SortedTable
from embed_job.reuse.splits import EarlierSplit
from embed_job.storage import Store, join
from embed_job.storage.read_ahead import read_ahead


@dataclass(frozen=True, slots=True)
class Built:
    """What the tables cover. without: splits of which neither ledger nor parts can be read, a
    sentence each; their documents are embedded anew."""

    rows: int
    without: tuple[str, ...]


Seen = Callable[[EarlierSplit, pa.Table | LedgerError], None]
"""Is shown a split's ledger, or why there is none."""


def _nobody(*_: object) -> None:
    """Nobody else wants to see a ledger."""


def build_lookup(
    folder: Path,
    store: Store,
    splits: Sequence[EarlierSplit],
    *,
    truncates_at: int | None,
    seen: Seen = _nobody,
) -> Built:
    """Leave in a folder what :class:`embed_job.reuse.lookup.Lookup` reads.

    Of equal documents and texts, that of the earlier split in the sequence is kept. Memory: about
    80 MB and a few ledgers, whatever the number of rows; disk: 108 bytes a row. seen: is shown each
    split that has rows, in their order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    splits = [split for split in splits if split.manifest.parts]
    expected = sum(part.rows for split in splits for part in split.manifest.parts)
    documents = SortedTable(folder, DOCUMENTS, entries=expected, distinct=_first_documents)
    contents = SortedTable(folder, CONTENTS, entries=expected, distinct=_first_contents)
    catalog: list[tuple[str, int, int, int, str]] = []
    without: list[str] = []
    rows = 0
    with (folder / FACTS).open("wb") as facts:
        for split, found in _ledgers(store, splits, truncates_at):
            seen(split, found)
            if isinstance(found, LedgerError):
                without.append(f"split {split.manifest.split[:12]}: {found}")
                continue
            first = rows
            for part in split.manifest.parts:
                key = join(split.folder, part.name)
                catalog.append((key, rows, part.rows, part.bytes, part.sha256))
                rows += part.rows
            bounds = np.array([part[1] for part in catalog[-len(split.manifest.parts) :]])
            entries = _add(found, first, bounds - first, documents, contents)
            facts.write(entries.data)  # tofile says nothing of a full disk
    documents.close()
    contents.close()
    # Parts that are unpacked there later leave at least half of it to others.
    told = {"leave_free_bytes": shutil.disk_usage(folder).free // 2, "parts": catalog}
    (folder / CATALOG).write_bytes(orjson.dumps(told))
    return Built(rows, tuple(without))


def _ledgers(
    store: Store, splits: Sequence[EarlierSplit], truncates_at: int | None
) -> Iterator[tuple[EarlierSplit, pa.Table | LedgerError]]:
    """Ledger after ledger; as many as are read at a time are held."""
    for split, data in read_ahead(partial(_read, store), splits):
        try:
            yield split, ledger_of(store, split, truncates_at=truncates_at, data=data or b"")
        except LedgerError as error:
            yield split, error


def _read(store: Store, split: EarlierSplit) -> bytes | None:
    """The ledger's bytes; None where it is missing."""
    if split.manifest.ledger is None:
        return None
    try:
        return store.read(join(split.folder, split.manifest.ledger))
    except FileNotFoundError:
        return None


def _add(
    ledger: pa.Table,
    first: int,
    part_starts: npt.NDArray[np.int64],
    documents: SortedTable,
    contents: SortedTable,
) -> Entries:
    """Hand a split's rows to the tables; what is to be known of each of them. first: the number of
    its first row; part_starts: rows at which parts begin, counted from that."""
    count = ledger.num_rows
    document, content = keys_of(ledger, "document"), keys_of(ledger, "content")
    chunk = numbers_of(ledger, "chunk", np.int32)
    facts = np.empty(count, dtype=FACT)
    facts["content"], facts["lost"] = content, numbers_of(ledger, "lost", np.int32)
    facts["doc"], facts["text"] = (numbers_of(ledger, name, np.uint64) for name in ("doc", "text"))
    known = is_known(content)
    entries = np.empty(int(known.sum()), dtype=CONTENT)
    entries["head"] = content["head"][known]
    entries["row"] = first + np.flatnonzero(known)
    contents.add(entries)
    documents.add(_runs(document, chunk, first, part_starts))
    return facts


def _runs(
    document: Keys, chunk: npt.NDArray[np.int32], first: int, part_starts: npt.NDArray[np.int64]
) -> Entries:
    """Rows of one document that follow on each other in one part, as entries."""
    begins = np.ones(len(document), dtype=np.bool_)
    begins[1:] = (document[1:] != document[:-1]) | (chunk[1:] != chunk[:-1] + 1)
    begins[part_starts] = True
    starts = np.flatnonzero(begins)
    lengths = np.diff(starts, append=len(document))
    known = is_known(document)[starts]
    starts, lengths = starts[known], lengths[known]
    runs = np.empty(len(starts), dtype=RUN)
    runs["head"], runs["tail"] = document["head"][starts], document["tail"][starts]
    runs["row"], runs["rows"], runs["chunk"] = first + starts, lengths, chunk[starts]
    return runs


def _first_documents(runs: Entries) -> Entries:
    """One copy of each document: of runs with the same key, those before a second chunk 0."""
    if len(runs) < 2:
        return runs
    same_head = runs["head"][1:] == runs["head"][:-1]
    if (same_head & (runs["tail"][1:] != runs["tail"][:-1])).any():
        runs = runs[np.lexsort((runs["tail"], runs["head"]))]
        same_head = runs["head"][1:] == runs["head"][:-1]
    same = same_head & (runs["tail"][1:] == runs["tail"][:-1])
    begins = np.flatnonzero(np.concatenate([[True], ~same]))
    copies = np.cumsum(runs["chunk"] == 0)
    before = copies[begins] - (runs["chunk"][begins] == 0)
    lengths = np.diff(begins, append=len(runs))
    kept: Entries = runs[copies - np.repeat(before, lengths) == 1]
    return kept


def _first_contents(entries: Entries) -> Entries:
    if len(entries) < 2:
        return entries
    kept: Entries = entries[np.concatenate([[True], entries["head"][1:] != entries["head"][:-1]])]
    return kept
