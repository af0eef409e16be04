"""A sample shard: some of the input's records, copied as they are, spread over all of it."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from embed_job.errors import SpecError
from embed_job.source import Compression, Format, SourceFile, Split
from embed_job.source.blocks import Damaged, is_damage, read_whole
from embed_job.source.csv_rows import cut_rows, delimiter_of, take_header
from embed_job.source.cutter import BOM, Cut
from embed_job.source.parquet_rows import open_parquet
from embed_job.source.plan import plan_splits
from embed_job.source.split_cuts import split_cuts, split_range
from embed_job.spec import InputSpec
from embed_job.storage import Store

MAX_SPLITS = 64
BLOCK_BYTES = 64 << 10
"""Records are taken from the starts of splits: a smaller block reads less that is not wanted."""
PARQUET_BATCH_ROWS = 256


@dataclass(frozen=True, slots=True)
class SampleSize:
    """Either a number of documents or a fraction of the input's bytes."""

    documents: int | None = None
    fraction: float | None = None


@dataclass(frozen=True, slots=True)
class SampleInfo:
    """What was written. of_bytes: stored size of the whole input. files: names in the folder."""

    documents: int
    bytes: int
    of_bytes: int
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Draw:
    """A split to take records from, and how many: until either bound is met, one at least."""

    split: Split
    documents: int | None
    bytes: int | None

    def met(self, documents: int, size: int) -> bool:
        return (self.documents is not None and documents >= self.documents) or (
            self.bytes is not None and documents > 0 and size >= self.bytes
        )


def parse_sample_size(text: str) -> SampleSize:
    """``2000`` or ``1%``; SpecError otherwise."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(%?)\s*", text, re.ASCII)
    if found and found[2] and 0 < float(found[1]) <= 100:
        return SampleSize(fraction=float(found[1]) / 100)
    if found and not found[2] and found[1].isdigit() and int(found[1]) > 0:
        return SampleSize(documents=int(found[1]))
    raise SpecError(
        "--sample",
        f"{text[:40]!r} is neither a number of documents nor a percentage",
        "Write --sample 2000 or --sample 1%.",
    )


def write_sample(
    store: Store,
    files: Sequence[SourceFile],
    spec: InputSpec,
    *,
    size: SampleSize,
    seed: int,
    folder: Path,
) -> SampleInfo:
    """Write a sample of files to folder, in their formats, uncompressed; the same bytes for the
    same input, size and seed.

    Records come from the starts of splits drawn all over the input, malformed ones included; one
    without an end or over max_document_mib is left out, and so is what can't be decompressed. A
    smaller input is copied whole; a larger one may yield a little less than asked for, where the
    last splits are short. Planning a CSV larger than one split scans it once.
    """
    folder.mkdir(parents=True, exist_ok=True)
    splits = plan_splits(store, files, spec)
    documents = 0
    missing = 0
    with _Shard(store, spec, folder) as shard:
        for draw in _drawn(splits, size, seed):
            wanted = draw
            if draw.documents is not None:
                # What earlier splits were short of is taken from later ones.
                wanted = _Draw(draw.split, draw.documents + missing, None)
            taken = shard.take(wanted)
            documents += taken
            missing = max(0, (wanted.documents or 0) - taken)
        names = tuple(sorted(shard.names))
    written = sum((folder / name).stat().st_size for name in names)
    return SampleInfo(documents, written, sum(file.size for file in files), names)


def _drawn(splits: Sequence[Split], size: SampleSize, seed: int) -> Iterator[_Draw]:
    """One split out of each of up to 64 strata of equal count, with a quota that its stratum's
    bytes deserve; more strata where the fraction is large."""
    draw = random.Random(seed)  # noqa: S311 - a sample, no secret
    count = max(MAX_SPLITS, math.ceil(2 * (size.fraction or 0) * len(splits)))
    count = min(len(splits), count, size.documents or count)
    total = sum(split.bytes for split in splits)
    before = 0
    for index in range(count):
        stratum = splits[index * len(splits) // count : (index + 1) * len(splits) // count]
        chosen = draw.choice(stratum)
        after = before + sum(split.bytes for split in stratum)
        if size.documents is not None:
            quota = size.documents * after // total - size.documents * before // total
            yield _Draw(chosen, quota, None)
        elif size.fraction is not None:
            yield _Draw(chosen, None, math.ceil(size.fraction * (after - before)))
        before = after


class _Shard:
    """The files of the sample: one for all JSONL, one for each CSV header and Parquet schema."""

    def __init__(self, store: Store, spec: InputSpec, folder: Path) -> None:
        self.names: set[str] = set()
        self._store = store
        self._max_bytes = spec.max_document_mib << 20
        self._folder = folder
        self._open = ExitStack()
        self._streams: dict[tuple[str, bytes], BinaryIO] = {}
        self._tables: dict[bytes, pq.ParquetWriter] = {}

    def __enter__(self) -> _Shard:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def take(self, draw: _Draw) -> int:
        """Copy records from the start of a split; how many."""
        kind = draw.split.files[0].format
        taking: dict[Format, Callable[[_Draw], int]] = {
            Format.TEXT: self._take_texts,
            Format.PARQUET: self._take_rows,
        }
        return taking.get(kind, self._take_records)(draw)

    def _take_records(self, draw: _Draw) -> int:
        taken = size = 0
        for piece in draw.split.pieces:
            for head, record in self._records(piece):
                if draw.met(taken, size):
                    return taken
                self._stream(piece.files[0].format, head).write(record)
                taken, size = taken + 1, size + len(record)
        return taken

    def _records(self, piece: Split) -> Iterator[tuple[bytes, bytes]]:
        """The header and each record of a range of one file."""
        try:
            cuts = split_cuts(
                self._store, piece, max_bytes=self._max_bytes, block_bytes=BLOCK_BYTES
            )
            head = self._header(piece, cuts)
            for offset, data in cuts:
                if isinstance(data, bytes) and data and not data.isspace():
                    yield head, (data if offset else data.removeprefix(BOM)) + b"\n"
        except Damaged:
            return  # what came before the damage is the sample; a run over the input tells of it

    def _header(self, split: Split, cuts: Iterator[Cut]) -> bytes:
        """The header line of a CSV split, taken off cuts where they begin with it."""
        file = split.files[0]
        if file.format is Format.JSONL:
            return b""
        delimiter = delimiter_of(file)
        if split_range(split)[0] > 0:
            blocks = read_whole(self._store, file, block_bytes=BLOCK_BYTES)
            cuts = cut_rows(blocks, delimiter=delimiter, max_bytes=self._max_bytes)
        names = take_header(cuts, delimiter).names
        return delimiter.join(_quoted(name, delimiter) for name in names).encode() + b"\n"

    def _stream(self, kind: Format, head: bytes) -> BinaryIO:
        key = (kind.value, head)
        if key not in self._streams:
            number = 1 + sum(known == kind.value for known, _ in self._streams)
            name = "sample.jsonl" if kind is Format.JSONL else f"sample-{number}.{kind.value}"
            stream = self._open.enter_context(self._path(name).open("wb"))
            stream.write(head)
            self._streams[key] = stream
        return self._streams[key]

    def _take_rows(self, draw: _Draw) -> int:
        split, taken = draw.split, 0
        try:
            with open_parquet(self._store, split.files[0]) as parquet:
                groups = range(split.start, split.end)
                wanted = draw.documents
                if wanted is None:
                    rows = sum(parquet.metadata.row_group(group).num_rows for group in groups)
                    wanted = math.ceil(rows * min(1, (draw.bytes or 0) / max(1, split.bytes)))
                for batch in parquet.iter_batches(
                    batch_size=PARQUET_BATCH_ROWS, row_groups=list(groups), use_threads=False
                ):
                    if taken >= wanted:
                        break
                    part = batch.slice(0, wanted - taken)
                    self._table(parquet.schema_arrow).write_batch(part)
                    taken += part.num_rows
        except Damaged:
            pass  # as above
        except (pa.ArrowException, OSError) as error:
            if not is_damage(error):
                raise
        return taken

    def _table(self, schema: pa.Schema) -> pq.ParquetWriter:
        key = schema.serialize().to_pybytes()
        if key not in self._tables:
            path = self._path(f"sample-{len(self._tables) + 1}.parquet")
            self._tables[key] = self._open.enter_context(pq.ParquetWriter(path, schema))
        return self._tables[key]

    def _take_texts(self, draw: _Draw) -> int:
        taken = size = 0
        for file in draw.split.files[draw.split.start : draw.split.end]:
            if draw.met(taken, size):
                break
            blocks = read_whole(self._store, file)
            try:
                # One block over the limit is enough to be refused for its size again.
                data = b"".join(islice(blocks, self._max_bytes // (1 << 20) + 1))
            except Damaged:
                continue
            name = file.name.rsplit(".", 1)[0] if _is_compressed(file) else file.name
            # An S3 key may hold any name; a local file stays within the folder.
            parts = [part for part in name.split("/") if part not in ("", ".", "..")]
            self._path("/".join(parts)).write_bytes(data)
            taken, size = taken + 1, size + len(data)
        return taken

    def _path(self, name: str) -> Path:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        self.names.add(name)
        return path


def _is_compressed(file: SourceFile) -> bool:
    return file.compression is not Compression.NONE


def _quoted(name: str, delimiter: str) -> str:
    if any(char in name for char in f'{delimiter}"\r\n'):
        return '"' + name.replace('"', '""') + '"'
    return name
