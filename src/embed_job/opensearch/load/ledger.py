"""What was delivered into one index, in the Parquet output's own folder.

A receipt stands for one index as it was made (its load nonce): an index that was deleted and made
anew has none. Generations order those who write to it, and never follow a clock.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import orjson
from pydantic import Field

from embed_job.commit.commits import Commits, encode_record, read_record
from embed_job.errors import OutputError
from embed_job.manifest import FORMAT_VERSION, Counts, Record
from embed_job.opensearch.load.letters import IndexLetter, decode_letters, encode_letters
from embed_job.opensearch.load.origins import Origin
from embed_job.storage import Store, list_files

_PARALLEL_READS = 16
_RECENT_GENERATIONS = 64
"""Among which a run's own is looked for. Hosts of one job that find none each take another, which
only matters where they send the same rows."""


class Receipt(Record):
    """The delivery of one origin: every row of it was acknowledged or refused.

    attempt: at the split itself; None: it was not live any more when its rows were sent. held_by:
    as of Origin, when the receipt was left. load, generation: of the index, and of the writer whose
    rows these are. counts.written: documents that the index had of it; counts.read: with the
    refused rows. refused_by_reason sums up to counts.rejected. dead_letters: a file's name below
    the ledger; None where nothing was refused. finished_at in Unix seconds, for the report alone.
    """

    format_version: int = FORMAT_VERSION
    origin: str
    attempt: str | None
    held_by: str
    index: str
    load: str
    generation: int
    counts: Counts
    refused_by_reason: dict[str, int] = Field(default_factory=dict)
    dead_letters: str | None
    host: str
    finished_at: float

    def stands_for(self, origin: Origin) -> bool:
        """Whether no other attempt at the split has written its rows anew."""
        return origin.attempt in (None, self.attempt)

    def accounts_for(self, origin: Origin) -> bool:
        """Whether it is of the very rows that are live, no more and no less."""
        return self.held_by == origin.held_by and self.counts.read == origin.rows


class Generation(Record):
    """Who writes with a generation. at in Unix seconds, for whoever looks."""

    number: int
    run: str
    host: str
    nonce: str
    at: float


class LoadLedger:
    """Receipts, dead letters and generations of one index: ``_embed_job/loads/<index>-<load>/``.

    Receipts and generations are created only where none are, so any number of writers may race.
    """

    def __init__(self, store: Store, folder: str, *, index: str, load: str) -> None:
        """folder: the Parquet output's. load: the index's nonce."""
        self.index = index
        self.load = load
        self._store = store
        self._commits = Commits(store, folder)

    def key(self, *names: str) -> str:
        """Key of a file of the ledger."""
        return self._commits.key("loads", f"{self.index}-{self.load}", *names)

    def receipts(self) -> dict[str, Receipt]:
        """Every receipt by its origin."""
        with ThreadPoolExecutor(_PARALLEL_READS) as pool:
            found = pool.map(self._read_receipt, self._keys("receipts"))
            return {receipt.origin: receipt for receipt in found if receipt}

    def receipt(self, origin: str) -> Receipt | None:
        """The receipt of an origin; None where it has none."""
        return self._read_receipt(self._receipt_key(origin))

    def commit(self, receipt: Receipt) -> bool:
        """Leave the receipt of an origin; False where a later writer's is there.

        One of an earlier generation, or of another attempt at the split, is replaced.
        """
        key, data = self._receipt_key(receipt.origin), encode_record(receipt)
        if self._store.create(key, data):
            return True
        found = self.receipt(receipt.origin)
        if found is not None and found.generation > receipt.generation:
            return False
        self._replace(receipt, former=found)
        return True

    def settle_anew(
        self,
        former: Receipt,
        origin: Origin,
        *,
        stale: int = 0,
        letters: Sequence[IndexLetter],
    ) -> Receipt:
        """The receipt of what the index holds by now in place of the former one: the rows that are
        live, less the refused ones, and so many stale documents. Nothing is written where it says
        so already."""
        known, read = self.letters(former), origin.rows + stale
        same = former.counts.read == read and former.held_by == origin.held_by
        if same and known == list(letters) and len(known) == former.counts.rejected:
            return former
        receipt = former.model_copy(
            update={
                "held_by": origin.held_by,
                "counts": Counts(read=read, written=read - len(letters), rejected=len(letters)),
                "refused_by_reason": dict(Counter(letter.kind for letter in letters)),
                "dead_letters": former.dead_letters
                if known and known == list(letters)
                else self.write_letters(former.origin, letters),
            }
        )
        self._replace(receipt, former=former)
        return receipt

    def _replace(self, receipt: Receipt, *, former: Receipt | None) -> None:
        self._store.replace(self._receipt_key(receipt.origin), encode_record(receipt))
        if former is not None and former.dead_letters != receipt.dead_letters:
            self._delete_letters(former)

    def withdraw(self, origin: str) -> None:
        """Take a receipt back, so that its rows are delivered again; none is no error."""
        former = self.receipt(origin)
        self._store.delete(self._receipt_key(origin))
        if former is not None:
            self._delete_letters(former)

    def write_letters(self, origin: str, letters: Sequence[IndexLetter]) -> str | None:
        """Keep the refused rows of an origin under a name of their own; None: there are none."""
        if not letters:
            return None
        name = f"dead-letters/{origin}-{secrets.token_hex(6)}.jsonl"
        self._store.replace(self.key(name), encode_letters(letters))
        return name

    def letters(self, receipt: Receipt) -> list[IndexLetter]:
        """The refused rows that a receipt counts; none where the file is gone, which is for the
        caller to count. Raises OutputError where it is damaged."""
        if receipt.dead_letters is None:
            return []
        key = self.key(receipt.dead_letters)
        try:
            data = self._store.read(key)
        except FileNotFoundError:
            return []
        return decode_letters(data, where=key)

    def claim_generation(self, *, run: str, host: str) -> int:
        """The generation that a run writes with: its own, if one of its hosts has claimed one
        already, else one more than the last. The later of two runs always has the higher one.
        """
        while True:
            numbers = self.generations()
            last = max(numbers, default=0)
            with ThreadPoolExecutor(_PARALLEL_READS) as pool:
                found = list(pool.map(self._generation, numbers[-_RECENT_GENERATIONS:]))
            own = [one.number for one in found if one is not None and one.run == run]
            if own:
                return max(own)
            mine = Generation(
                number=last + 1, run=run, host=host, nonce=secrets.token_hex(8), at=time.time()
            )
            if self._store.create(self._generation_key(last + 1), encode_record(mine)):
                return last + 1

    def generations(self) -> list[int]:
        """Every generation that was claimed, ascending."""
        names = (key.rpartition("/")[2].removesuffix(".json") for key in self._keys("generations"))
        return sorted(int(name) for name in names if name.isdigit())

    def _generation(self, number: int) -> Generation | None:
        return read_record(self._store, self._generation_key(number), Generation)

    def _generation_key(self, number: int) -> str:
        return self.key("generations", f"{number:012}.json")

    def _read_receipt(self, key: str) -> Receipt | None:
        """None also where the file is torn: its rows are delivered again, which is harmless."""
        try:
            return read_record(self._store, key, Receipt)
        except OutputError:
            if _is_json(self._store.read(key)):
                raise
            return None

    def _delete_letters(self, former: Receipt) -> None:
        if former.dead_letters is not None:
            self._store.delete(self.key(former.dead_letters))

    def _receipt_key(self, origin: str) -> str:
        return self.key("receipts", f"{origin}.json")

    def _keys(self, folder: str) -> Iterator[str]:
        files = list_files(self._store, self.key(folder))
        return (file.key for file in files if file.key.endswith(".json"))


def _is_json(data: bytes) -> bool:
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        return False
    return True
