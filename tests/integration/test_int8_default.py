"""What int8 loses with the default model, on real text."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from embed_job.bundle import open_bundle
from embed_job.bundle.golden import cosines
from embed_job.dry_run.stdlib_docs import write_stdlib_docs
from embed_job.engine.native import NativeEngine
from embed_job.engine.native.library import runnable_variants
from embed_job.tokenizer import Tokenizer


@pytest.mark.skipif(not runnable_variants(), reason="no kernels were compiled for this processor")
def test_the_loss_on_documentation_strings(default_bundle: Path, tmp_path: Path) -> None:
    bundle = open_bundle(default_bundle, verify=False)
    corpus = tmp_path / "corpus.jsonl"
    write_stdlib_docs(corpus, count=100)
    texts = [json.loads(line)["body"] for line in corpus.read_text(encoding="utf-8").splitlines()]
    tokens, _ = Tokenizer(bundle).encode_truncated(texts, bundle.max_tokens)
    fp32, int8 = (
        NativeEngine(bundle, precision=precision, threads=1).embed(tokens)
        for precision in ("fp32", "int8")
    )
    found = cosines(fp32, int8)
    assert len(found) == 100
    assert found.mean() > 0.998
    assert found.min() > 0.995
    nearest = [np.argsort(-(rows @ rows.T), axis=1)[:, 1:11] for rows in (fp32, int8)]
    shared = [len(set(a) & set(b)) / 10 for a, b in zip(*nearest, strict=True)]
    assert np.mean(shared) > 0.9
