"""Where a query's vector comes from: the bundle of an index's model, or what was kept of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from embed_job.dataset.query import embed_queries, open_same_model
from embed_job.engine import Vectors
from embed_job.errors import BundleError, OutputError, UserError
from embed_job.opensearch.canary.kept import keep_vectors, kept_vectors
from embed_job.storage import store_for


class CanaryError(OutputError):
    """Why the queries can't be asked of one of the indexes; the gate fails by it."""


@dataclass(frozen=True, slots=True)
class Model:
    """What made an index's vectors. bundle: where it may be; output: the folder of its Parquet
    output, which may keep vectors of queries. Either may be gone."""

    fingerprint: str
    precision: str
    bundle: Path
    output: str


def keep(model: Model, texts: Sequence[str], vectors: Vectors) -> None:
    """Leave these vectors in the output's folder, unless they are there: a later model's canary
    needs them when this one's bundle is gone. Raises OutputError or OSError."""
    if kept(model, texts) is None:
        keep_vectors(
            store_for(model.output), model.output, texts, vectors,
            model_fingerprint=model.fingerprint,
        )  # fmt: skip


def kept(model: Model, texts: Sequence[str]) -> Vectors | None:
    """Vectors of all texts that were kept in the output's folder; None: not all were."""
    return kept_vectors(
        store_for(model.output), model.output, texts, model_fingerprint=model.fingerprint
    )


def vectors_for(model: Model, texts: Sequence[str], *, index: str) -> Vectors:
    """By the model's own bundle where that can be opened, else those that were kept.

    float32 [texts, dimension]. Raises CanaryError, which says what to do, where neither is there.
    """
    try:
        bundle = open_same_model(
            model.bundle, precision=model.precision, model_fingerprint=model.fingerprint
        )
    except BundleError as error:
        no_bundle = error
    else:
        return embed_queries(bundle, texts, precision=model.precision)
    try:
        found = kept(model, texts)
    except (OSError, UserError) as error:
        raise _nothing(index, model, no_bundle, f"can't be read ({error})") from error
    if found is None:
        raise _nothing(index, model, no_bundle, "keeps no vectors of these queries")
    return found


def _nothing(index: str, model: Model, error: BundleError, why: str) -> CanaryError:
    return CanaryError(
        index,
        f"nothing here can embed the queries as its model did: {error.where} {error.what}, and "
        f"{model.output} {why}",
        "Run `embed-job canary` with the spec of that index where its bundle is: it keeps the "
        "vectors in its output. Or override this gate: `embed-job promote --force`",
    )
