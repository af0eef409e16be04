"""int8 of an architecture that the native engine does not know: still a graph of ONNX Runtime."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

from embed_job.bundle import check_golden, graph_file, open_bundle
from embed_job.bundle.build import build_bundle
from embed_job.bundle.info import fingerprint_of
from embed_job.engine import choose_engine, load_engine
from embed_job.spec import ModelSpec
from embed_job.tokenizer import Tokenizer


def test_an_exported_graph_is_quantised(tiny_models: ModuleType, tmp_path: Path) -> None:
    import torch
    from transformers import ModernBertConfig, ModernBertModel

    folder = tiny_models.write_model(tmp_path / "model", max_tokens=64)
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    torch.manual_seed(3)
    config = ModernBertConfig(
        vocab_size=len(tokenizer["model"]["vocab"]),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=128,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=3,
        cls_token_id=2,
        sep_token_id=3,
    )
    ModernBertModel(config).save_pretrained(folder)
    out = tmp_path / "bundle"
    built = build_bundle(str(folder), out, precisions=("fp32", "int8"))
    assert built.loss is not None
    assert built.loss.mean > 0.9
    bundle = open_bundle(out, precision="int8")
    spec = ModelSpec(precision="int8")
    assert choose_engine(bundle, spec) == "onnx"
    engine = load_engine(bundle, spec, threads=1)
    assert check_golden(bundle, engine, Tokenizer(bundle), precision="int8") > 0.999
    graph = bundle.info.files[graph_file("int8")]
    fp32 = bundle.fingerprint("fp32")
    assert bundle.fingerprint("int8") == fingerprint_of({"fp32": fp32, "int8": graph})
