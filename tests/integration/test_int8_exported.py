"""int8 of an architecture that the native engine does not know: still a graph of ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from embed_job.bundle import check_golden, graph_file, open_bundle
from embed_job.bundle.build import build_bundle
from embed_job.bundle.info import fingerprint_of
from embed_job.engine import choose_engine, load_engine
from embed_job.spec import ModelSpec
from embed_job.tokenizer import Tokenizer


def test_an_exported_graph_is_quantised(tiny_models: ModuleType, tmp_path: Path) -> None:
    folder = tiny_models.write_model(tmp_path / "model", max_tokens=64)
    tiny_models.write_modernbert(folder, layers=2)
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
