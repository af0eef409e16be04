"""Check 1: the index holds as many documents as rows were committed, less those it refused."""

from __future__ import annotations

from collections.abc import Iterator

from embed_job.opensearch.check.pages import PartialAnswerError
from embed_job.opensearch.check.subject import Answer, Subject


def check_count(subject: Subject) -> Answer:
    """`_count`, receipts and dead letters against the manifests. The index was refreshed before."""
    rows = subject.dataset.rows
    rejected = sum(receipt.counts.rejected for receipt in subject.receipts.values())
    expected = rows - rejected
    answer = subject.client.count(index=subject.name)
    if answer["_shards"]["failed"]:
        raise PartialAnswerError(
            subject.name, "counts a part of its shards only", "See the cluster's health."
        )
    told = f"{rows:,} rows"
    told += f", less {rejected:,} dead letters" if rejected else ""
    faults = [*_faults(subject, rows, rejected)]
    if answer["count"] != expected:
        faults.insert(0, f"{answer['count']:,} documents, not {expected:,} ({told})")
    return Answer(not faults, "; ".join(faults) or f"{expected:,} documents: {told}")


def _faults(subject: Subject, rows: int, rejected: int) -> Iterator[str]:
    if not subject.dataset.complete:
        yield "the output has no job manifest: its run is not finished"
    splits = subject.dataset.splits
    without = [m.split[:12] for m in splits if m.split not in subject.receipts]
    if without:
        yield f"{len(without)} of {len(splits)} splits are not loaded, such as {without[0]}"
    for manifest in splits:
        receipt = subject.receipts.get(manifest.split)
        if receipt is None:
            continue
        letters = len(subject.refused.get(manifest.split, ()))
        if not (receipt.stands_for(manifest) and receipt.counts.balanced):
            yield f"the receipt of split {manifest.split[:12]} is of other rows"
            return
        if letters != receipt.counts.rejected:
            yield f"split {manifest.split[:12]} has {letters} dead letters, not those it counts"
            return
    most = subject.target.output.gates.max_rejected_fraction
    if rejected > most * rows:
        yield f"{rejected / rows:.2%} of the rows are dead letters, over gates' {most:.2%}"
