"""What an index should hold, what its receipts say it holds, and what a count of it says.

Rows keep the name of the split that wrote them first, their *origin*, in the column and field
`split`, however often they are carried into the parts of later splits. So an index is loaded by
origins, and rows that are only carried are never sent again.

* **Expected** is, by origin, the sum over the live manifests. **A receipt** says of one origin that
  its rows were acknowledged or refused, how many documents the index then had of it, and which
  live splits then held its rows.
* **Sent** is each origin without a receipt, from whatever live splits hold it now. Of a split that
  was committed just now, a host that embeds sends the rows that the split wrote itself.
* **In doubt** is an origin of which, after a refresh, the index holds another number of documents
  than its receipt says, or whose rows are held by other splits than then. Its ids are compared,
  index against live parts: what is missing is sent again, what is not live is stale, and where
  neither is left the receipt is settled anew.
* **Deleted** are stale documents, and all of an origin that has no live row: after everything else
  was acknowledged, under `refresh.max_delete_fraction`, with this run's generation.

Why a count is enough elsewhere: all documents of an origin are rows that were sent as of it. Where
the same splits hold it as then, the same rows are live, and an equal number of documents means
those. Where others hold it a number proves nothing: a loss could hide behind a row that went, and
a row that came back behind another that went, hence the ids.

The cases, and what becomes of each:

* *An increment.* New splits' own rows are sent; under a known `_id` they replace the old document,
  so that its origin shrinks in index and parts alike. What new splits carry is compared, and
  agrees. Of splits that are as they were nothing is read.
* *Fewer chunks than before, a document that is gone.* The documents left over are of a shrunk or a
  vanished origin: stale.
* *A document that moved between splits or files.* Carried: its origin stays, nothing is sent.
* *A row that came back* from a retired part keeps its origin, and is missing there: that row alone
  is sent.
* *A file that is reverted* has its former split again, embedded by another attempt. The receipt is
  of the former attempt, whose vectors may differ in the last bit: all rows of that split are sent.
* *A load that never ran for the former generation.* The origins of its splits have no receipt, and
  their rows are sent from the live splits that carry them.
* *A killed load.* What has a receipt is not sent again. A receipt is settled anew only after what
  it says was acknowledged, so that otherwise the origin stays in doubt.
* *A run that was killed for good*, whose splits never came to count: their documents are of origins
  without a live row, and what they wrote over is missing from its own origin: sent, then deleted.
* *A loss in the index* is a lower count; where other splits hold the origin, the ids tell.
* *Refused rows* stay dead letters when they are carried. One that is not live any more is dropped
  from its receipt when the origin is compared, and so is one that is in the index after all.
* *Serverless* has no ids of ours, so that a changed row has two documents. The sweep comes before
  the comparison and leaves the newer one; whatever it takes from a live origin is sent again.
* *`load --all`* takes all receipts back: every origin is sent.
* *A live index* gets nothing before the job is committed, then all of this at once.
* *Several hosts* send their own splits' rows each, with receipts that only one of them can create;
  the one that ends the job does the rest. Splits that are not all there, as of a job that was not
  brought to its end, are neither counted nor compared: rows of both editions of a file are there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from embed_job.opensearch.load.ledger import Receipt
from embed_job.opensearch.load.origins import Origin


@dataclass(frozen=True, slots=True)
class Doubt:
    """An origin that has to be compared by ids. found: its documents, as counted."""

    origin: Origin
    receipt: Receipt
    found: int

    @property
    def has_lost(self) -> bool:
        """Whether the count alone says that documents are gone that should be there."""
        return self.found < min(self.receipt.counts.read, self.origin.rows) - (
            self.receipt.counts.rejected
        )


def standing(receipts: Mapping[str, Receipt], origins: Mapping[str, Origin]) -> dict[str, Receipt]:
    """The receipts of these origins, less those of another attempt at a split. By origin."""
    return {
        name: receipts[name]
        for name, origin in origins.items()
        if name in receipts and receipts[name].stands_for(origin)
    }


def doubts(
    receipts: Mapping[str, Receipt], origins: Mapping[str, Origin], counts: Mapping[str, int]
) -> list[Doubt]:
    """Origins that a count leaves in doubt. Pure.

    counts: documents by the field `split`, taken after the receipts were read, and after a refresh:
    a receipt comes after the last acknowledgement, so its rows are all to be seen.
    """
    found = (
        Doubt(origins[name], receipt, counts.get(name, 0)) for name, receipt in receipts.items()
    )
    return [
        one
        for one in found
        if one.found != one.receipt.counts.written or not one.receipt.accounts_for(one.origin)
    ]
