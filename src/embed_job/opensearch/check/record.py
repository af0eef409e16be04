"""What the last examination of an index found, kept in its ledger for reports. No gate reads it."""

from __future__ import annotations

from collections.abc import Sequence

from embed_job.commit.commits import encode_record, read_record
from embed_job.dataset.verify import Check
from embed_job.manifest import FORMAT_VERSION, Record
from embed_job.opensearch.check.subject import Subject
from embed_job.opensearch.load.ledger import LoadLedger
from embed_job.storage import Store

_FILE = "verified.json"


class CheckRecord(Record):
    """One check, as :class:`embed_job.dataset.verify.Check`."""

    name: str
    ok: bool
    detail: str
    figure: float | None = None
    skipped: bool = False


class Verified(Record):
    """An examination. rows: of the Parquet output then; finished_at: Unix seconds."""

    format_version: int = FORMAT_VERSION
    rows: int
    finished_at: float
    checks: tuple[CheckRecord, ...]


def record_checks(subject: Subject, checks: Sequence[Check], *, now: float) -> None:
    """Keep what was found; nothing where the index names no load of ours. now: Unix seconds."""
    if subject.ledger is None:
        return
    verified = Verified(
        rows=subject.dataset.rows,
        finished_at=now,
        checks=tuple(CheckRecord(**check.plain()) for check in checks),
    )
    subject.dataset.store.replace(subject.ledger.key(_FILE), encode_record(verified))


def last_verified(store: Store, ledger: LoadLedger) -> Verified | None:
    """The last examination of an index; None where there was none."""
    return read_record(store, ledger.key(_FILE), Verified)
