"""The model as far as a plan needs it: a bundle on this machine, its tokenizer, no vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from embed_job.errors import BundleError
from embed_job.spec import JobSpec
from launcher.rules.problems import Problem, warning

if TYPE_CHECKING:
    from embed_job.chunk.chunker import Chunker


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """dimension: numbers of a vector. chunker: cuts and counts as the job will."""

    fingerprint: str
    dimension: int
    chunker: Chunker


def find_model(spec: JobSpec) -> tuple[ModelFacts | None, str]:
    """The spec's model where its bundle lies on this machine; else None, and why.

    Raises SpecError where the spec asks of the bundle what it can't give.
    """
    from embed_job.bundle import open_bundle
    from embed_job.chunk.chunker import Chunker
    from embed_job.tokenizer import Tokenizer, use_one_thread

    try:
        bundle = open_bundle(spec.model.bundle, precision=spec.model.precision, verify=False)
        max_tokens = min(spec.chunk.max_tokens or bundle.max_tokens, bundle.max_tokens)
        use_one_thread()
        tokenizer = Tokenizer(bundle, prompt=bundle.prompt_text(spec.model.prompt))
    except BundleError as error:
        return None, str(error)
    chunker = Chunker(
        tokenizer,
        strategy=spec.chunk.strategy,
        max_tokens=max_tokens,
        overlap_tokens=spec.chunk.overlap_tokens,
    )
    facts = ModelFacts(bundle.fingerprint(spec.model.precision), bundle.dimension, chunker)
    return facts, ""


def lacking_precision(spec: JobSpec) -> Problem | None:
    """A warning where the bundle on this machine lacks the spec's precision: the image is usually
    made of it. None where it has it, or is not here."""
    from embed_job.bundle import open_bundle

    precision = spec.model.precision
    try:
        bundle = open_bundle(spec.model.bundle, verify=False)
    except BundleError:
        return None
    if bundle.has(precision):
        return None
    what = f"the bundle in {bundle.path} has no {precision}, nor has an image made of it"
    again = f"`embed-job bundle {bundle.info.source} --out {bundle.path} --precision {precision}`"
    return warning("model.precision", what, f"{again}, and build the image anew.")
