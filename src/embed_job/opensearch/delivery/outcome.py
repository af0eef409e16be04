"""What follows from a reply for the rows of a chunk. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from embed_job.opensearch.delivery.chunks import Chunk
from embed_job.opensearch.delivery.replies import AGAIN, UNSURE, Fate, Reply, Verdict
from embed_job.opensearch.delivery.results import Refused

SPLIT_AT_ATTEMPTS = 2
"""Rows that were not answered in time so often go in two halves from then on."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """written + len(refused) + the rows of again are the chunk's, unless stop is set.

    whole: the fate of the request; trouble: the share of its rows that go again. why: the first
    verdict that keeps rows from being done.
    """

    whole: Fate
    written: int = 0
    refused: Sequence[Refused] = ()
    again: Sequence[Chunk] = ()
    trouble: float = 0.0
    throttled: int = 0
    why: Verdict | None = None
    stop: Verdict | None = None


def outcome_of(chunk: Chunk, reply: Reply) -> Outcome:
    """Each row is done, refused, or sent again; or the whole delivery stops."""
    if reply.whole.fate is not Fate.DONE:
        return _of_whole(chunk, reply.whole)
    for verdict in reply.others.values():
        if verdict.fate in (Fate.STOP, Fate.FENCED):
            return Outcome(verdict.fate, stop=verdict, why=verdict)
    again = [at for at, verdict in reply.others.items() if verdict.fate in AGAIN]
    refused = [
        _refused(chunk, at, verdict)
        for at, verdict in reply.others.items()
        if verdict.fate not in AGAIN
    ]
    return Outcome(
        Fate.DONE,
        written=len(chunk) - len(reply.others),
        refused=refused,
        again=[_sent_again(chunk.part(again))] if again else [],
        trouble=len(again) / len(chunk),
        throttled=sum(verdict.status == 429 for verdict in reply.others.values()),
        why=reply.others[again[0]] if again else None,
    )


def _of_whole(chunk: Chunk, verdict: Verdict) -> Outcome:
    fate = verdict.fate
    if fate is Fate.TOO_LARGE:
        if len(chunk) == 1:
            return Outcome(fate, refused=[_refused(chunk, 0, verdict)], why=verdict)
        return Outcome(fate, again=chunk.halves(), why=verdict)
    if fate not in AGAIN:
        return Outcome(fate, stop=verdict, why=verdict)
    parts: Sequence[Chunk] = [chunk]
    too_slow = fate is Fate.TIMED_OUT and chunk.attempts + 1 >= SPLIT_AT_ATTEMPTS
    if too_slow and len(chunk) > 1:
        parts = chunk.halves()
    return Outcome(
        fate,
        again=[replace(_sent_again(part), unsure=fate in UNSURE) for part in parts],
        trouble=1.0,
        throttled=len(chunk) if verdict.status == 429 else 0,
        why=verdict,
    )


def _sent_again(chunk: Chunk) -> Chunk:
    return replace(chunk, attempts=chunk.attempts + 1, unsure=False)


def _refused(chunk: Chunk, at: int, verdict: Verdict) -> Refused:
    reason = verdict.reason
    if verdict.fate is Fate.TOO_LARGE:
        reason = f"too_large: {reason}" if reason else "too_large"
    return Refused(chunk.ids[at], chunk.doc_ids[at], reason, verdict.status)
