"""One bulk request, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import opensearchpy

from embed_job.errors import OutputError
from embed_job.opensearch.delivery.chunks import Chunk
from embed_job.opensearch.delivery.outcome import Outcome, outcome_of
from embed_job.opensearch.delivery.replies import (
    Fate,
    Reply,
    Verdict,
    failure_of,
    reply_of,
)
from embed_job.opensearch.delivery.tier import Tier
from embed_job.opensearch.errors import explain
from embed_job.spec.opensearch import WRITE_SUFFIX

REPLY_FIELDS = "took,errors,items.*._id,items.*.status,items.*.error"
"""All of a reply that is looked at; the rest would be most of it."""

_USUAL_PORTS = {"http": 80, "https": 443}
_AGAIN = "What was acknowledged stays; run the same command again later."


@dataclass(frozen=True, slots=True)
class Sender:
    """Sends chunks to one index. Safe to use by many threads."""

    client: opensearchpy.OpenSearch
    index: str
    tier: Tier
    generation: int
    timeout_s: float

    @property
    def where(self) -> str:
        """The index as a message names it: at its url, and never by the alias that writes to it."""
        host = self.client.transport.hosts[0]
        scheme, port = "https" if host.get("use_ssl") else "http", host.get("port")
        usual = port in (None, _USUAL_PORTS[scheme])
        url = f"{scheme}://{host['host']}{'' if usual else f':{port}'}{host.get('url_prefix', '')}"
        name = self.index.removesuffix(WRITE_SUFFIX) if self.tier.requires_alias else self.index
        return f"{url.rstrip('/')}/{name}"

    def send(self, chunk: Chunk) -> Outcome:
        """Send a chunk once. Raises what is no failure of cluster or network."""
        try:
            rest = self._unsettled(chunk) if chunk.unsure else chunk
        except Exception as error:
            verdict = _verdict(error)
            if verdict.fate is Fate.STOP:
                raise self._stopped(verdict, error) from error
            outcome = outcome_of(chunk, Reply(verdict, {}))
            again = [replace(part, unsure=True) for part in outcome.again]
            return replace(outcome, again=again)
        present = len(chunk) - len(rest)
        if not len(rest):
            return Outcome(Fate.DONE, written=present)
        outcome = self._sent(rest)
        return replace(outcome, written=outcome.written + present) if present else outcome

    def _unsettled(self, chunk: Chunk) -> Chunk:
        missing = frozenset(self.tier.missing(chunk.ids, self.generation))
        return chunk.part([at for at, row_id in enumerate(chunk.ids) if row_id in missing])

    def _sent(self, chunk: Chunk) -> Outcome:
        try:
            answer = self._post(chunk.body)
        except Exception as error:
            verdict = _verdict(error)
            if verdict.fate is Fate.STOP:
                raise self._stopped(verdict, error) from error
            return outcome_of(chunk, Reply(verdict, {}))
        reply = reply_of(answer, chunk.ids, checks_ids=self.tier.checks_ids)
        outcome = outcome_of(chunk, reply)
        if outcome.stop is not None:
            raise self._stopped(outcome.stop, None)
        return outcome

    def _post(self, body: bytes) -> object:
        params = {"filter_path": REPLY_FIELDS}
        if self.tier.requires_alias:
            # Without it the server makes an index of guessed types where ours has vanished.
            params["require_alias"] = "true"
        return self.client.transport.perform_request(
            "POST", f"/{self.index}/_bulk", params=params, body=body, timeout=self.timeout_s
        )

    def _stopped(self, verdict: Verdict, error: Exception | None) -> OutputError:
        told = f" ({verdict.reason})" if verdict.reason else ""
        if verdict.fate is Fate.FENCED:
            return OutputError(
                self.where,
                f"a later load has taken over{told}",
                "Let that one end, or run this command again: it then counts as the later one.",
            )
        if verdict.status == 200:
            return OutputError(
                self.where,
                verdict.reason,
                "A proxy between here and the cluster may mix up answers; nothing of this one was "
                "counted.",
            )
        if verdict.status == 404:
            return OutputError(
                self.where,
                f"the index is not there any more{told}",
                "Find out who removed it; the same command makes it anew and loads all of it.",
            )
        explained = explain(error, where=self.where) if error is not None else None
        if explained is None or "index write" in verdict.reason:
            return OutputError(self.where, f"the server does not take rows{told}", _hint(verdict))
        return explained


def _hint(verdict: Verdict) -> str:
    if "index write" in verdict.reason:  # as the server words a block that somebody has set
        return f"Lift the block: set index.blocks.write to null. {_AGAIN}"
    return f"Its reason says what to change on the cluster or in the spec. {_AGAIN}"


def _verdict(error: Exception) -> Verdict:
    """Raises the error itself where it is none of cluster, network or credentials."""
    found = failure_of(error)
    if found is None:
        raise error
    return found


def given_up(where: str, stalled_s: float, why: Verdict | None) -> OutputError:
    """The error of a delivery in which nothing moved for too long."""
    told = f": {why.told}" if why else ""
    if why is not None and why.fate is Fate.BLOCKED:
        hint = (
            "Free disk space or add some; the server then lifts the block. One that somebody has "
            "set stays: set index.blocks.read_only_allow_delete to null."
        )
    elif why is not None and why.fate is Fate.EXPIRED:
        hint = "Use credentials that renew themselves, such as a role's."
    else:
        hint = "Look at the health of the cluster's nodes."
    return OutputError(
        where, f"no row was acknowledged for {stalled_s:.0f} s{told}", f"{hint} {_AGAIN}"
    )
