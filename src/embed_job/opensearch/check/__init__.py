"""Whether an index is what was loaded into it: nine checks, each of which can fail alone."""

from __future__ import annotations

from collections.abc import Callable

from opensearchpy import OpenSearch
from opensearchpy.exceptions import AuthenticationException, TransportError

from embed_job.dataset import Dataset
from embed_job.dataset.verify import Check
from embed_job.opensearch.check.count import check_count
from embed_job.opensearch.check.counters import check_counters, counters_before
from embed_job.opensearch.check.identity import compare_ids
from embed_job.opensearch.check.pages import PartialAnswerError, reason_of
from embed_job.opensearch.check.readback import check_readback
from embed_job.opensearch.check.recall import check_recall
from embed_job.opensearch.check.sample import draw_sample
from embed_job.opensearch.check.state import check_alias, check_mapping, check_profile
from embed_job.opensearch.check.subject import Answer, Subject, open_subject
from embed_job.opensearch.check.themselves import check_themselves
from embed_job.opensearch.errors import is_passing
from embed_job.opensearch.load.presence import make_visible
from embed_job.opensearch.target import IndexTarget

COUNT = "index: every row is there"
IDENTITY = "index: ids and contents agree"
READBACK = "index: rows read back"
MAPPING = "index: as specified"
THEMSELVES = "index: vectors find themselves"
RECALL = "index: searches find the nearest"
COUNTERS = "index: no k-NN errors"
PROFILE = "index: no load profile is on"
ALIAS = "index: one index an alias"

SAMPLED_ROWS = 256


def verify_index(
    client: OpenSearch, target: IndexTarget, dataset: Dataset, *, seed: int = 0
) -> tuple[Check, ...]:
    """Examine an index against the Parquet output that it was loaded from; see :func:`examine`.

    Raises OutputError where there is no such index.
    """
    return examine(open_subject(client, target, dataset), seed=seed)


def examine(subject: Subject, *, seed: int = 0) -> tuple[Check, ...]:
    """All nine checks, in order. seed: which rows are drawn.

    Reads all ids and content hashes of index and Parquet, and all vectors of Parquet. Memory:
    that of :func:`embed_job.opensearch.check.identity.compare_ids`, and a few thousand vectors.
    A check that the server refuses to answer fails; one that its kind never answers is skipped.

    Raises OutputError where a Parquet part is damaged, OutputError or the client's errors where
    the cluster is out of reach.
    """
    before = counters_before(subject)
    make_visible(subject.client, subject.target)
    sample = draw_sample(subject.dataset, subject.refused_ids, count=SAMPLED_ROWS, seed=seed)
    return (
        _check(COUNT, lambda: check_count(subject)),
        _check(IDENTITY, lambda: compare_ids(subject).answer()),
        _check(READBACK, lambda: check_readback(subject, sample)),
        _check(MAPPING, lambda: check_mapping(subject)),
        _check(THEMSELVES, lambda: check_themselves(subject, sample)),
        _check(RECALL, lambda: check_recall(subject, sample)),
        _check(COUNTERS, lambda: check_counters(subject, before)),
        _check(PROFILE, lambda: check_profile(subject)),
        _check(ALIAS, lambda: check_alias(subject)),
    )


def _check(name: str, ask: Callable[[], Answer]) -> Check:
    try:
        answer = ask()
    except PartialAnswerError as error:
        answer = Answer(ok=False, detail=error.what)
    except TransportError as error:
        if is_passing(error) or isinstance(error, AuthenticationException):
            raise
        # Of an index that is not as it should be, the server may refuse the question itself.
        told = reason_of(error.info) if error.info else str(error)
        answer = Answer(ok=False, detail=f"the server refuses the question: {told}")
    return Check(name, answer.ok, answer.detail, figure=answer.figure, skipped=answer.skipped)
