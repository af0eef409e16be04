"""What a reply, or its absence, says about each row that was sent. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from opensearchpy import exceptions as refusal

from embed_job.opensearch.errors import is_passing, reason_of, type_of

MAX_REASON_CHARS = 300


class Fate(Enum):
    """Of one row, or of a whole request."""

    DONE = "done"
    FAILED = "failed"
    """Passing trouble of the server: sent again."""
    THROTTLED = "throttled"
    BLOCKED = "blocked"
    """A full disk: sent again, as no row is at fault."""
    EXPIRED = "expired"
    """The signer will have new credentials in a moment."""
    TIMED_OUT = "timed out"
    """Nothing was answered in time; the rows may be applied, or will be."""
    AMBIGUOUS = "no clear answer"
    """The rows may be applied."""
    TOO_LARGE = "too large"
    REFUSED = "refused"
    FENCED = "fenced"
    """A later load has written a row."""
    STOP = "stop"


AGAIN = frozenset(
    [
        Fate.FAILED,
        Fate.THROTTLED,
        Fate.BLOCKED,
        Fate.EXPIRED,
        Fate.TIMED_OUT,
        Fate.AMBIGUOUS,
    ]
)
UNSURE = frozenset([Fate.TIMED_OUT, Fate.AMBIGUOUS])


@dataclass(frozen=True, slots=True)
class Verdict:
    """A fate and why, in the server's words."""

    fate: Fate
    status: int = 0
    reason: str = ""

    @property
    def told(self) -> str:
        """As a message has it."""
        return f"{self.fate.value}, {self.reason}" if self.reason else self.fate.value


@dataclass(frozen=True, slots=True)
class Reply:
    """whole: the fate of all rows, unless it is DONE; then others: by position, the verdicts of
    rows that are not done."""

    whole: Verdict
    others: Mapping[int, Verdict]


DONE = Verdict(Fate.DONE)
_NOBODY: Mapping[int, Verdict] = {}
_ON_THE_INDEX = frozenset(
    ["index_closed_exception", "invalid_index_name_exception", "invalid_alias_name_exception"]
)
_BY_STATUS = {
    408: Fate.FAILED,
    409: Fate.FENCED,
    413: Fate.TOO_LARGE,
    429: Fate.THROTTLED,
}
# As the flood stage of a disk is worded by versions from 2.x on, and by those before.
_DISK_FULL = ("flood-stage", "read-only-allow-delete", "read-only / allow delete")
_NO_COPY_YET = frozenset(
    ["shard_not_found_exception", "no_shard_available_action_exception", "node_not_connected"]
)


def verdict_of(status: int, kind: str, reason: str) -> Verdict:
    """By the status, the server's name for an error, and its explanation."""
    fate = _fate(status, kind, reason.lower())
    told = f"{kind}: {reason}" if kind and reason else kind or reason
    return Verdict(fate, status, told[:MAX_REASON_CHARS])


def _fate(status: int, kind: str, reason: str) -> Fate:
    if 200 <= status < 300:
        return Fate.DONE
    if status in (403, 429) and any(words in reason for words in _DISK_FULL):
        return Fate.BLOCKED
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status in (401, 403):
        expired = "expired" in reason and ("token" in reason or "signature" in reason)
        return Fate.EXPIRED if expired else Fate.STOP
    if status >= 500 or (status == 404 and kind in _NO_COPY_YET):
        return Fate.FAILED
    of_all = status == 404 or kind in _ON_THE_INDEX or "no write index is defined" in reason
    return Fate.STOP if of_all or status < 400 else Fate.REFUSED


def reply_of(reply: object, ids: Sequence[str], *, checks_ids: bool) -> Reply:
    """From the body of an answer with status 200.

    A body that does not tell of every row says nothing of any of them: AMBIGUOUS. A row that
    stands at another's place: STOP.
    """
    items = reply.get("items") if isinstance(reply, dict) else None
    if not isinstance(items, list) or len(items) != len(ids):
        count = len(items) if isinstance(items, list) else 0
        return _all(Fate.AMBIGUOUS, f"the reply tells of {count} rows, {len(ids)} were sent")
    try:
        found = [item for (item,) in map(dict.values, items)]
        statuses = [item["status"] for item in found]
        answered = [item["_id"] for item in found] if checks_ids else ids
    except (TypeError, ValueError, KeyError):
        return _all(Fate.AMBIGUOUS, "the reply holds what is no item")
    if not all(type(status) is int for status in statuses):
        return _all(Fate.AMBIGUOUS, "the reply holds what is no status")
    if list(answered) != list(ids):
        return _all(Fate.STOP, "the reply tells of other rows than were sent, or in another order")
    if all(200 <= status < 300 for status in statuses):
        return Reply(DONE, _NOBODY)
    others = {
        at: verdict_of(status, *_cause(found[at].get("error")))
        for at, status in enumerate(statuses)
        if not 200 <= status < 300
    }
    return Reply(DONE, others)


def _all(fate: Fate, reason: str) -> Reply:
    return Reply(Verdict(fate, 200, reason), _NOBODY)


def _cause(error: Any) -> tuple[str, str]:
    """Type and reason; the innermost cause is what tells the user something."""
    if not isinstance(error, dict):
        return "", str(error or "")
    kind, reasons = str(error.get("type") or ""), [str(error.get("reason") or "")]
    cause = error.get("caused_by")
    while isinstance(cause, dict) and len(reasons) < 8:
        reasons.append(str(cause.get("reason") or ""))
        cause = cause.get("caused_by")
    return kind, ": ".join(dict.fromkeys(filter(None, reasons)))


def failure_of(error: Exception) -> Verdict | None:
    """What an error of the client means for all rows of a request; None: it is none of those.

    REFUSED does not occur: what is wrong with a whole request is no row's fault.
    """
    if isinstance(error, refusal.ConnectionTimeout):
        return Verdict(Fate.TIMED_OUT, 0, "no answer in time")
    if isinstance(error, refusal.ConnectionError):
        told = str(error.info)[:MAX_REASON_CHARS]
        if isinstance(error.info, BotoCoreError | ClientError):
            return Verdict(Fate.EXPIRED, 0, told)
        passing = is_passing(error) or isinstance(error.info, UnicodeError)
        return Verdict(Fate.AMBIGUOUS if passing else Fate.STOP, 0, told)
    if isinstance(error, refusal.SerializationError):
        return Verdict(Fate.AMBIGUOUS, 200, "the answer is not OpenSearch's")
    if isinstance(error, refusal.TransportError):
        return _request(error)
    return None


def _request(error: refusal.TransportError) -> Verdict:
    verdict = verdict_of(int(error.status_code), type_of(error), reason_of(error))
    if verdict.fate is Fate.FAILED:
        # A balancer's 502 or 504 may come after the rows were applied.
        return Verdict(Fate.AMBIGUOUS, verdict.status, verdict.reason)
    if verdict.fate in (Fate.DONE, Fate.REFUSED, Fate.FENCED):
        return Verdict(Fate.STOP, verdict.status, verdict.reason)
    return verdict
