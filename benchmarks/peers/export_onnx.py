"""The folders that ONNX peers read, made by sentence-transformers' own exporter.

out/st: the whole folder with its graph and the optimised one. out/flat: the optimised graph and the
tokenizer at the root, as fastembed and infinity want it.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from benchmarks.peers.task import MAX_TOKENS

LEVEL = "O3"
_KEPT = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


def export(model: Path, out: Path) -> None:
    """Make both folders; each is cut at the maximum that the job uses."""
    from sentence_transformers import SentenceTransformer, export_optimized_onnx_model

    options = {"export": True, "provider": "CPUExecutionProvider"}
    loaded = SentenceTransformer(
        str(model), backend="onnx", model_kwargs=options, local_files_only=True
    )
    whole = out / "st"
    loaded.save_pretrained(str(whole))
    export_optimized_onnx_model(loaded, LEVEL, str(whole))
    flat = out / "flat"
    flat.mkdir(parents=True, exist_ok=True)
    for kept in _KEPT:
        shutil.copyfile(whole / kept, flat / kept)
    shutil.copyfile(whole / "onnx" / f"model_{LEVEL}.onnx", flat / "model.onnx")
    _set(flat / "tokenizer_config.json", "max_length", MAX_TOKENS)
    # infinity cuts at the number of positions; the graph holds its own table of them.
    _set(flat / "config.json", "max_position_embeddings", MAX_TOKENS)


def _set(path: Path, key: str, value: int) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | {key: value}), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    chosen = parser.parse_args()
    export(chosen.model, chosen.out)
