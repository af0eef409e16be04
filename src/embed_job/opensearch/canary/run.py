"""A whole canary: queries, vectors of both models, both indexes asked, gates and page."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from opensearchpy import OpenSearch

from embed_job.dataset import Dataset
from embed_job.dataset.verify import Check
from embed_job.engine import Vectors
from embed_job.errors import OutputError, UserError
from embed_job.opensearch.canary.ask import Asking
from embed_job.opensearch.canary.compare import Comparison, compare
from embed_job.opensearch.canary.gates import ASKED, checks_of
from embed_job.opensearch.canary.page import render_page
from embed_job.opensearch.canary.queries import CanaryQuery, read_queries
from embed_job.opensearch.canary.vectors import CanaryError, Model, keep, kept, vectors_for
from embed_job.opensearch.search.found import FoundIndex, index_named
from embed_job.opensearch.target import IndexTarget
from embed_job.spec.gates import CanarySpec


@dataclass(frozen=True, slots=True)
class Canary:
    """What came of it. comparison, page: None where nothing was compared, and a check says why.
    notes: what the user should know besides."""

    checks: tuple[Check, ...]
    comparison: Comparison | None = None
    page: bytes | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Candidate:
    """An index that may become the live one. bundle: of the model that made its vectors."""

    client: OpenSearch
    target: IndexTarget
    dataset: Dataset
    bundle: Path

    @property
    def model(self) -> Model:
        """What made its vectors. Raises OutputError where none did: engine null."""
        made = self.dataset.descriptor
        if made.engine == "null":
            raise OutputError(
                made.name, "was made with engine null, whose vectors mean nothing",
                "Use a real model, or leave gates.canary out.",
            )  # fmt: skip
        return Model(made.model_fingerprint, made.precision, self.bundle, self.dataset.folder)


def run_canary(
    candidate: Candidate,
    limits: CanarySpec,
    *,
    live: str | None,
    clock: Callable[[], float] = time.perf_counter,
) -> Canary:
    """Compare the candidate's index with the live one by the user's queries.

    live: the index that the alias is on; None, or the candidate's own: there is none to compare
    with. The vectors of the queries are kept in the candidate's output in any case, for the canary
    of whatever replaces it. clock: in seconds, for the latencies.

    Raises InputError where the queries can't be read, OutputError where the cluster is out of
    reach; what else keeps an index from being asked fails the canary's first check.
    """
    queries = read_queries(limits.queries)
    try:
        vectors = _own_vectors(candidate, queries)
    except CanaryError as error:
        return Canary((_unasked(error),))
    canary = _compared(candidate, limits, queries, vectors, live, clock)
    return replace(canary, notes=tuple(_kept(candidate, queries, vectors)))


def keep_queries(candidate: Candidate, limits: CanarySpec) -> None:
    """Keep the queries' vectors in the candidate's output, unless they are there.

    Raises InputError where the queries can't be read, CanaryError where the candidate's model can't
    embed them, OutputError or OSError where they can't be written.
    """
    texts = _texts(read_queries(limits.queries))
    if kept(candidate.model, texts) is None:
        keep(
            candidate.model, texts, vectors_for(candidate.model, texts, index=candidate.target.name)
        )


def _unasked(error: CanaryError) -> Check:
    return Check(ASKED, ok=False, detail=f"{error.where}: {error.what}. {error.hint}")


def _texts(queries: Sequence[CanaryQuery]) -> list[str]:
    return [query.text for query in queries]


def _own_vectors(candidate: Candidate, queries: Sequence[CanaryQuery]) -> Vectors:
    return vectors_for(candidate.model, _texts(queries), index=candidate.target.name)


def _kept(candidate: Candidate, queries: Sequence[CanaryQuery], vectors: Vectors) -> list[str]:
    """Keep the vectors; a note where that is refused, as by a role that may only read."""
    try:
        keep(candidate.model, _texts(queries), vectors)
    except (OSError, UserError) as error:
        folder = candidate.dataset.folder
        return [f"the queries' vectors could not be kept in {folder} for a later canary: {error}"]
    return []


def _compared(
    candidate: Candidate,
    limits: CanarySpec,
    queries: Sequence[CanaryQuery],
    vectors: Vectors,
    live: str | None,
    clock: Callable[[], float],
) -> Canary:
    client, target = candidate.client, candidate.target
    if live is None or live == target.name:
        told = "there is no other index to compare with"
        return Canary((Check(ASKED, ok=True, detail=told, skipped=True),))
    try:
        former = _former(client, target, live)
        new = Asking(
            client, index_named(client, target.output, target.name), queries, vectors, clock=clock
        )
        before = _former_vectors(candidate, former, queries, vectors)
        old = Asking(client, former, queries, before, clock=clock)
    except CanaryError as error:
        return Canary(
            (Check(ASKED, ok=False, detail=f"{error.where}: {error.what}. {error.hint}"),)
        )
    comparison = compare(queries, old, new)
    checks = (
        Check(ASKED, ok=True, detail=f"{live} and {target.name}, {len(queries):,} queries"),
        *checks_of(comparison, limits),
    )
    page = render_page(comparison, checks, old, new)
    return Canary(checks, comparison, page)


def _former(client: OpenSearch, target: IndexTarget, live: str) -> FoundIndex:
    try:
        return index_named(client, target.output, live)
    except OutputError as error:
        raise CanaryError(error.where, error.what, _ONCE) from error


_ONCE = "Override this gate once: `embed-job promote --force`."


def _former_vectors(
    candidate: Candidate, former: FoundIndex, queries: Sequence[CanaryQuery], vectors: Vectors
) -> Vectors:
    """Vectors of the queries as the live index's model makes them; raises CanaryError."""
    meta = former.meta
    if meta.model_fingerprint == candidate.model.fingerprint:
        return vectors
    if meta.source is None:
        raise CanaryError(
            former.index,
            "does not say which model made it, as it was not promoted by this program",
            _ONCE,
        )
    source = meta.source
    model = Model(meta.model_fingerprint, source.precision, Path(source.bundle), source.output)
    return vectors_for(model, _texts(queries), index=former.index)
