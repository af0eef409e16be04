"""From deliveries to receipts: an origin has one when the last live split that holds it is sent."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from embed_job.manifest import Counts, SplitManifest
from embed_job.opensearch.delivery import Delivered, Refused
from embed_job.opensearch.load.ledger import Receipt
from embed_job.opensearch.load.letters import IndexLetter, shortened
from embed_job.opensearch.load.opening import IndexLoad
from embed_job.opensearch.load.origins import Origin
from embed_job.opensearch.load.selection import Selection, selected_rows
from embed_job.opensearch.target import ID, SPLIT

Letters = Mapping[str, Sequence[IndexLetter]]
"""By origin."""


@dataclass(slots=True)
class _Account:
    """An origin under way. awaited: live splits whose rows of it are not through."""

    origin: Origin
    awaited: set[str]
    letters: list[IndexLetter] = field(default_factory=list)


class Accounts:
    """Origins whose rows are being delivered, split by split."""

    def __init__(self, origins: Iterable[Origin]) -> None:
        self._open = {
            origin.name: _Account(origin, {holder.split for holder in origin.holders})
            for origin in origins
        }

    def drop(self, origin: str) -> None:
        """Somebody else has delivered it."""
        self._open.pop(origin, None)

    def add(self, selection: Selection, refused: Letters) -> list[tuple[Origin, list[IndexLetter]]]:
        """A live split's rows are through; the origins that are complete by it."""
        done = []
        for name in selection.origins:
            account = self._open.get(name)
            if account is None:
                continue
            account.awaited.discard(selection.manifest.split)
            account.letters += refused.get(name, ())
            if not account.awaited:
                del self._open[name]
                done.append((account.origin, account.letters))
        return done


def leave_receipt(load: IndexLoad, origin: Origin, letters: Sequence[IndexLetter]) -> Receipt:
    """Leave the dead letters and then the receipt of an origin that was delivered."""
    rejected = len(letters)
    receipt = Receipt(
        origin=origin.name,
        attempt=origin.attempt,
        held_by=origin.held_by,
        index=load.name,
        load=load.index.load,
        generation=load.generation,
        counts=Counts(read=origin.rows, written=origin.rows - rejected, rejected=rejected),
        refused_by_reason=dict(Counter(letter.kind for letter in letters)),
        dead_letters=load.ledger.write_letters(origin.name, letters),
        host=load.writer.host,
        finished_at=time.time(),
    )
    load.ledger.commit(receipt)
    return receipt


def refused_by_origin(
    load: IndexLoad, selection: Selection, delivered: Delivered
) -> dict[str, list[IndexLetter]]:
    """The refused rows of a delivery, by their origins; those are in the parts alone.

    Raises RuntimeError where rows were delivered that are not the selection's.
    """
    if delivered.read != selection.count or delivered.rejected != len(delivered.refused):
        raise RuntimeError(
            f"{selection.count} rows of split {selection.manifest.split[:12]} came to {delivered}"
        )
    if delivered.read != delivered.written + delivered.rejected:
        raise RuntimeError(f"split {selection.manifest.split[:12]} came to {delivered}")
    if not delivered.refused:
        return {}
    letters = {one.id: letter_of(one, selection.manifest) for one in delivered.refused}
    found: dict[str, list[IndexLetter]] = {}
    for batch in selected_rows(load.rows, selection, columns=[ID, SPLIT]):
        for row, origin in zip(
            batch.column(ID).to_pylist(), batch.column(SPLIT).to_pylist(), strict=True
        ):
            if row in letters:
                found.setdefault(origin, []).append(letters[row])
    return found


def letter_of(refused: Refused, manifest: SplitManifest) -> IndexLetter:
    """A refused row with its place. Reasons are counted by what stands before their colon."""
    kind = refused.reason.partition(":")[0].strip()
    return IndexLetter(
        file=manifest.source.files[0][0],
        split=manifest.split,
        id=refused.id,
        doc_id=refused.doc_id,
        kind=shortened(kind),
        detail=shortened(refused.reason),
        status=refused.status or None,
    )
