"""From a question to its vector: which output, which bundle, which prompt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from embed_job.bundle import Bundle, open_bundle
from embed_job.commit.commits import Commits
from embed_job.engine import Vectors, load_engine
from embed_job.errors import BundleError, OutputError, UserError
from embed_job.manifest import DatasetDescriptor
from embed_job.spec import HALF, ModelSpec
from embed_job.storage import join, resolve, store_for

QUERY_PROMPT = "query"
"""Bundles name the prompt of questions so, where questions have one of their own."""


def find_output(uri: str) -> str:
    """The output's folder: uri itself, the ``vectors`` below it, or what its report names.

    Raises OutputError where there is none.
    """
    folder = resolve(uri).rstrip("/")
    named = [folder, join(folder, "vectors"), *_named_by_report(folder)]
    for candidate in named:
        if Commits(store_for(candidate), resolve(candidate)).descriptor() is not None:
            return resolve(candidate)
    raise OutputError(
        uri,
        "is neither an output of embed-job nor the report of one",
        "Name a run's folder, such as out/dry-run, or the uri of its Parquet output.",
    )


def bundle_for(descriptor: DatasetDescriptor, path: Path | None) -> Bundle:
    """The bundle that made an output, from path or from where the output says.

    Raises BundleError where it is missing or another, OutputError where no model made the output.
    """
    if descriptor.engine == "null":
        raise OutputError(
            descriptor.name,
            "was made with engine null, whose vectors mean nothing",
            "Search an output of a real model.",
        )
    return open_same_model(
        path or Path(descriptor.bundle),
        precision=descriptor.precision,
        model_fingerprint=descriptor.model_fingerprint,
    )


def open_same_model(path: Path, *, precision: str, model_fingerprint: str) -> Bundle:
    """The bundle in a folder; BundleError where it is missing or of another fingerprint."""
    bundle = open_bundle(path, precision=precision)
    found = bundle.fingerprint(precision)
    if found != model_fingerprint:
        raise BundleError(
            str(bundle.path),
            f"is not the model that made these vectors: its fingerprint is {found[:12]}, "
            f"theirs {model_fingerprint[:12]}",
            "Name the bundle that made them with --bundle.",
        )
    return bundle


def embed_query(bundle: Bundle, text: str, *, precision: str, threads: int = 1) -> Vectors:
    """A question's vector, float32 [dimension]; as of embed_queries. Raises UserError where there
    is nothing to embed."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UserError("QUERY", "is not valid UTF-8", "Check the terminal's encoding.") from None
    if not text.strip():
        raise UserError("QUERY", "is empty", "Ask something.")
    vector: Vectors = embed_queries(bundle, [text], precision=precision, threads=threads)[0]
    return vector


def embed_queries(
    bundle: Bundle, texts: Sequence[str], *, precision: str, threads: int = 1
) -> Vectors:
    """Questions' vectors, float32 [texts, dimension], with the bundle's prompt for questions.

    On the processor, whatever made the vectors: of fp16 and bf16 in fp32, which they differ from
    by rounding. What exceeds the model's maximum is cut off. One at a time, so that no vector
    depends on the others.
    """
    from embed_job.tokenizer import Tokenizer

    has_own = QUERY_PROMPT in bundle.info.prompts
    tokenizer = Tokenizer(bundle, prompt=bundle.prompt_text(QUERY_PROMPT if has_own else None))
    how = _on_processor(bundle, "fp32" if precision in HALF else precision)
    engine = load_engine(bundle, how, threads=threads)
    vectors: Vectors = np.empty((len(texts), bundle.dimension), np.float32)
    for row, text in enumerate(texts):
        tokens, _ = tokenizer.encode_truncated([text], bundle.max_tokens)
        vectors[row] = engine.embed(tokens)[0]
    if not np.isfinite(vectors).all():
        raise BundleError(
            str(bundle.path), "answers a question with NaN", "Check it: embed-job bundle."
        )
    return vectors


def _on_processor(bundle: Bundle, precision: str) -> ModelSpec:
    """The engine for one text: loading torch would take longer than any of them."""
    from embed_job.engine import native

    name = "native" if native.can_run(bundle, precision=precision) else "onnx"
    return ModelSpec.model_validate({"engine": name, "precision": precision})


def _named_by_report(folder: str) -> list[str]:
    """The outputs that a run's report.json names; none where there is no such report."""
    import orjson

    try:
        report = orjson.loads((Path(folder) / "report.json").read_bytes())
        return [output["uri"] for output in report["outputs"] if output["kind"] == "parquet"]
    except (OSError, ValueError, LookupError, TypeError):
        return []
