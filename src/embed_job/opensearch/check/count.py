"""Check 1: the index holds as many documents as rows were committed, less those it refused."""

from __future__ import annotations

from collections.abc import Iterator

from embed_job.opensearch.check.pages import PartialAnswerError
from embed_job.opensearch.check.subject import Answer, Subject
from embed_job.opensearch.load.origins import holders_of


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
    origins, splits = subject.origins, subject.dataset.splits
    without = holders_of(origins[name] for name in origins if name not in subject.receipts)
    if without:
        yield (
            f"{len(without)} of {len(splits)} splits are not loaded, "
            f"such as {without[0].split[:12]}"
        )
    for name, receipt in subject.receipts.items():
        letters = len(subject.refused.get(name, ()))
        is_of_these = receipt.stands_for(origins[name]) and receipt.accounts_for(origins[name])
        if not (is_of_these and receipt.counts.balanced):
            yield f"the receipt of split {name[:12]} is of other rows"
            return
        if letters != receipt.counts.rejected:
            yield f"split {name[:12]} has {letters} dead letters, not those it counts"
            return
    most = subject.target.output.gates.max_rejected_fraction
    if rejected > most * rows:
        yield f"{rejected / rows:.2%} of the rows are dead letters, over gates' {most:.2%}"
