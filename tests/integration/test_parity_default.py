"""The default model against sentence-transformers: token ids, and vectors of 2,000 texts."""

from __future__ import annotations

import ast
import random
import sysconfig
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from embed_job.bundle import Bundle, open_bundle
from embed_job.bundle.golden import cosines
from embed_job.engine import Engine, Tokens, Vectors, load_engine
from embed_job.spec import ModelSpec
from embed_job.tokenizer import Tokenizer

SHORT_CHARACTERS = 56
ADVERSARIAL = (
    "",
    " ",
    "\n\t\u00a0\u2003",
    "\0",
    "a\0b",
    ".",
    "!?…—«»„“”‘’",
    "👩‍👩‍👧‍👦🏳️‍🌈👍🏽",
    "我能吞下玻璃而不伤身体。私はガラスを食べられます。",
    "한국어와 日本語",
    "שלום עולם, السلام عليكم",
    "\u202eright to left\u202c \u2066isolated\u2069",
    "e\u0301\u0327\u0323 Z\u0351\u036b\u0343\u036a\u0302\u036b\u033d\u034f",
    "İstanbul ß ẞ ſ ΌΣΟΣ",
    "[CLS][SEP] [PAD] [MASK] [UNK]",
    "x" * 5000,
    "word " * 3000,
    "語" * 600,
    "a.b.c." * 400,
    "\ufeffbyte order mark",
    "\ufffd\ufffe\uffff\U0010ffff",
    "½ ² ﬁ Ⅷ ㍿ ﷺ",
    "zero\u200bwidth\u200djoin\u2060er",
    "\x1b[31mred\x1b[0m",
)


def docstrings() -> Iterator[str]:
    """Documentation strings of the standard library, in a fixed order."""
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8", errors="replace"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                text = ast.get_docstring(node)
                if text:
                    yield text


def random_text(source: random.Random) -> str:
    """Characters from anywhere in Unicode, surrogates apart."""
    points = [source.choice((0x80, 0x800, 0x3000, 0x1F600, 0x2FFFF)) for _ in range(12)]
    characters = [chr(source.randrange(point)) for point in points]
    return "".join(c for c in characters if unicodedata.category(c) != "Cs")


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """Some whole documents, 1,800 beginnings of documents, adversarial and random texts."""
    found = list(dict.fromkeys(docstrings()))
    source = random.Random(5)
    source.shuffle(found)
    short = [text[:SHORT_CHARACTERS] for text in found[12:1812]]
    return [*found[:12], *short, *ADVERSARIAL, *(random_text(source) for _ in range(200))]


@pytest.fixture(scope="module")
def bundle(default_bundle: Path) -> Bundle:
    return open_bundle(default_bundle)


@pytest.fixture(scope="module")
def model(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> object:
    """sentence-transformers on the model's own files, fetched as the bundle's were."""
    import torch
    from sentence_transformers import SentenceTransformer

    from embed_job.bundle.fetch import fetch

    torch.set_num_threads(2)
    folder = fetch("default", tmp_path_factory.mktemp("source"), revision=None).folder
    return SentenceTransformer(str(folder), device="cpu")


def rows(tokens: Tokens) -> list[list[int]]:
    return [part.tolist() for part in np.split(tokens.ids, tokens.offsets[1:-1])]


def in_batches(engine: Engine, texts: list[list[int]]) -> Vectors:
    """Vectors of texts, 32 of like length at a time."""
    order = np.argsort([len(ids) for ids in texts], kind="stable")
    vectors = np.empty((len(texts), engine.dimension), np.float32)
    for start in range(0, len(order), 32):
        chosen = order[start : start + 32]
        lengths = np.array([len(texts[row]) for row in chosen])
        ids = np.concatenate([np.array(texts[row], np.int32) for row in chosen])
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        vectors[chosen] = engine.embed(Tokens(ids, offsets))
    return vectors


@pytest.mark.slow
def test_ids_and_vectors_of_two_thousand_texts(
    bundle: Bundle, model: object, texts: list[str]
) -> None:
    from sentence_transformers import SentenceTransformer

    assert isinstance(model, SentenceTransformer)
    assert len(texts) >= 2000
    tokenizer = Tokenizer(bundle)
    whole = rows(tokenizer.encode(texts))
    assert whole == model.tokenizer(texts, truncation=False)["input_ids"]

    tokens, lost = tokenizer.encode_truncated(texts, bundle.max_tokens)
    assert lost.tolist() == [max(0, len(ids) - bundle.max_tokens) for ids in whole]
    cut = rows(tokens)
    expected_ids = model.preprocess(texts)
    mask = expected_ids["attention_mask"].bool()
    found = [ids[keep].tolist() for ids, keep in zip(expected_ids["input_ids"], mask, strict=True)]
    assert cut == found

    expected = model.encode(texts, batch_size=16, show_progress_bar=False)
    for name in ("onnx", "native"):
        engine = load_engine(bundle, ModelSpec.model_validate({"engine": name}), threads=2)
        least = cosines(in_batches(engine, cut), expected).min()
        assert least >= 0.9999, f"{name}: least cosine {least}"
