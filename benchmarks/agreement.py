"""How far each engine and precision is from fp32: cosines, and whether a search finds the same.

Documents are documentation strings, queries the first sentences of others that are not among them.
The reference is sentence-transformers in fp32 on the CPU. Queries and documents are embedded by the
same engine, as a search does; exact search by cosine on both sides.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.corpus import FIELDS, read_jsonl, text_of, write_corpus
from benchmarks.model import model_bundle, model_folder
from benchmarks.results import Section, Setting, Table, Target, main, say
from embed_job.batch import take
from embed_job.bundle import Bundle, check_golden, graph_file, open_bundle
from embed_job.bundle.golden import LEAST_COSINE, cosines
from embed_job.engine import Engine, Tokens, Vectors, load_engine
from embed_job.engine.torch import has_gpu
from embed_job.errors import UserError
from embed_job.spec import PRECISIONS, ModelSpec
from embed_job.tokenizer import Tokenizer

TOP = 10
TEXTS_A_BATCH = 16
QUERY_CHARS = range(30, 301)
ON_GPU = "python -m benchmarks.agreement"
HEADERS = ("engine", "precision", "runs on", "mean cosine", "least cosine", f"overlap@{TOP}")


@dataclass(frozen=True, slots=True)
class Corpus:
    """Texts; queries come from documents that are not among these."""

    documents: list[str]
    queries: list[str]


@dataclass(frozen=True, slots=True)
class Embedded:
    """float32, a row a text."""

    documents: Vectors
    queries: Vectors


@dataclass(frozen=True, slots=True)
class Found:
    """One engine against the reference. golden: least cosine of the start-up check.

    overlap: share of the reference's ten nearest documents that are among this engine's, a query
    on average.
    """

    runs_on: str
    golden: float
    mean: float
    least: float
    overlap: float


def measure(setting: Setting) -> Section:
    """Every engine and precision that this machine can run."""
    corpus = _corpus(setting)
    bundle = model_bundle(setting.work)
    reference = _by_sentence_transformers(corpus, model_folder(setting.work), setting.cores)
    rows: list[tuple[str, ...]] = []
    targets: list[Target] = []
    data: dict[str, dict[str, object]] = {}
    for engine, precision in _pairs(bundle):
        say(f"{engine} {precision}")
        try:
            found = _compare(corpus, reference, bundle, engine, precision, setting.cores)
        except UserError as error:
            rows.append((engine, precision, f"not here: {error.what}", *["–"] * 3))
            continue
        rows.append((engine, precision, found.runs_on, *_figures(found)))
        data[f"{engine} {precision}"] = {name: getattr(found, name) for name in Found.__slots__}
        targets += _target(engine, precision, found)
    if not has_gpu():
        not_measured = ("a GPU", f"not measured; `{ON_GPU}` on one", "–", "–")
        rows += [("torch", precision, *not_measured) for precision in PRECISIONS["torch"]]
    texts = f"{len(corpus.documents):,} documents and {len(corpus.queries):,} queries"
    return Section(
        title="Agreement of engines and precisions",
        tables=[Table(HEADERS, rows)],
        targets=targets,
        notes=[
            f"{texts}, documentation strings of the standard library, cut to the model's "
            f"{open_bundle(bundle, verify=False).max_tokens} tokens; against sentence-transformers "
            f"in fp32. Each row passed the golden check first. overlap@{TOP}: how many of a "
            "query's ten nearest documents are the same."
        ],
        failures=[f"{target.what}: {target.measured}" for target in targets if not target.met],
        data=data,
    )


def _pairs(bundle: Path) -> Iterator[tuple[str, str]]:
    """Engines and their precisions; of int8 that engine alone which the bundle made it for."""
    graph = (bundle / graph_file("int8")).is_file()
    for engine in ("onnx", "native", "torch"):
        for precision in PRECISIONS[engine]:
            if precision != "int8" or graph == (engine == "onnx"):
                yield engine, precision


def _corpus(setting: Setting) -> Corpus:
    documents, queries = setting.pick(ci=12, full=1200), setting.pick(ci=10, full=250)
    source = setting.work / "agreement.jsonl"
    write_corpus(source, documents=documents + 2 * queries)
    records = list(read_jsonl(source))
    # Modules lie side by side: queries are set aside evenly, twice as many as there are to be.
    apart = set(np.linspace(0, len(records) - 1, 2 * queries, dtype=int).tolist())
    sentences = [_first_sentence(records[at]["body"]) for at in sorted(apart)]
    kept = [record for at, record in enumerate(records) if at not in apart]
    asked = [text for text in sentences if len(text) in QUERY_CHARS][:queries]
    return Corpus([text_of(record, FIELDS) for record in kept[:documents]], asked)


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=[.!?])\s", " ".join(text.split()), maxsplit=1)[0]


def _by_sentence_transformers(corpus: Corpus, model: Path, threads: int) -> Embedded:
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(threads)
    loaded = SentenceTransformer(str(model), device="cpu")
    return Embedded(
        *(
            np.asarray(loaded.encode(texts, batch_size=8, show_progress_bar=False), np.float32)
            for texts in (corpus.documents, corpus.queries)
        )
    )


def _compare(
    corpus: Corpus, reference: Embedded, path: Path, engine: str, precision: str, threads: int
) -> Found:
    """Raises UserError where the engine can't run the bundle here, or fails its golden check."""
    bundle = open_bundle(path, precision=precision, verify=False)
    wanted = ModelSpec.model_validate({"bundle": path, "engine": engine, "precision": precision})
    loaded = load_engine(bundle, wanted, threads=threads)
    tokenizer = Tokenizer(bundle)
    golden = check_golden(bundle, loaded, tokenizer, precision=precision)
    found = Embedded(
        *(_embed(texts, loaded, tokenizer, bundle) for texts in (corpus.documents, corpus.queries))
    )
    near = [
        cosines(found.documents, reference.documents),
        cosines(found.queries, reference.queries),
    ]
    both = np.concatenate(near)
    return Found(
        runs_on=str(loaded.facts),
        golden=golden,
        mean=float(both.mean()),
        least=float(both.min()),
        overlap=_overlap(_nearest(found), _nearest(reference)),
    )


def _embed(texts: Sequence[str], engine: Engine, tokenizer: Tokenizer, bundle: Bundle) -> Vectors:
    """Vectors in the order of the texts; batches of texts of like length."""
    tokens, _ = tokenizer.encode_truncated(texts, bundle.max_tokens)
    order = np.argsort(tokens.lengths, kind="stable")
    vectors = np.empty((len(tokens), engine.dimension), np.float32)
    vectors[order] = np.concatenate(list(engine.embed_each(_batches(tokens, order))))
    return vectors


def _batches(tokens: Tokens, order: np.ndarray) -> Iterable[Tokens]:
    for start in range(0, len(order), TEXTS_A_BATCH):
        yield take(tokens, order[start : start + TEXTS_A_BATCH])


def _nearest(embedded: Embedded) -> np.ndarray:
    """The nearest documents of each query, int64 [queries, TOP], in no order."""
    scores = embedded.queries @ embedded.documents.T
    return np.argpartition(-scores, TOP, axis=1)[:, :TOP]


def _overlap(ours: np.ndarray, theirs: np.ndarray) -> float:
    same = (ours[:, :, None] == theirs[:, None, :]).any(axis=2)
    return float(same.mean())


def _figures(found: Found) -> tuple[str, str, str]:
    return f"{found.mean:.7f}", f"{found.least:.7f}", f"{found.overlap:.4f}"


def _target(engine: str, precision: str, found: Found) -> list[Target]:
    """int8 is lossy and has no goal against fp32."""
    if precision == "int8":
        return []
    goal = LEAST_COSINE[precision]
    what = f"least cosine, {engine} {precision}"
    return [Target(what, f"≥ {goal}", f"{found.least:.7f}", found.least >= goal)]


if __name__ == "__main__":
    main(measure, __doc__)
