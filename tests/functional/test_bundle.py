"""Bundles on disk: made whole or not at all, opened only where sound."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from embed_job.bundle import Bundle, check_golden, open_bundle
from embed_job.bundle.build import build_bundle
from embed_job.bundle.sample import sample_texts
from embed_job.engine import Tokens, Vectors
from embed_job.engine.onnx import OnnxEngine
from embed_job.errors import BundleError, SpecError
from embed_job.tokenizer import Tokenizer


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return shutil.copytree(tiny_bundle, tmp_path / "bundle")


def edit(bundle: Path, **changes: object) -> None:
    path = bundle / "bundle.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**values, **changes}), encoding="utf-8")


def rehash(bundle: Path, name: str) -> None:
    """Make bundle.json agree with a file that was changed."""
    files = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))["files"]
    files[name] = hashlib.sha256((bundle / name).read_bytes()).hexdigest()
    edit(bundle, files=files)


def check(path: Path) -> float:
    opened = open_bundle(path)
    engine = OnnxEngine(opened, precision="fp32", threads=1)
    return check_golden(opened, engine, Tokenizer(opened), precision="fp32")


def test_a_bundle_says_what_it_is(tiny_bundle: Path) -> None:
    opened = open_bundle(tiny_bundle)
    assert (opened.dimension, opened.max_tokens) == (32, 48)
    assert opened.info.normalize
    assert opened.info.licence == "mit"
    assert opened.fingerprint("fp32") == opened.info.fingerprint
    assert check(tiny_bundle) > 0.999999


def test_prompts_by_name(tiny_bundle: Path) -> None:
    opened = open_bundle(tiny_bundle)
    assert opened.prompt_text(None) == ""
    assert opened.prompt_text("query") == "query: "
    with pytest.raises(SpecError, match="Did you mean query") as caught:
        opened.prompt_text("qeury")
    assert caught.value.where == "model.prompt"
    with pytest.raises(SpecError, match="The bundle has: document, query"):
        opened.prompt_text("xyz")


def test_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="embed-job bundle default --out") as caught:
        open_bundle(tmp_path / "none")
    assert caught.value.where == str(tmp_path / "none")


@pytest.mark.parametrize("name", ["model.onnx", "model.onnx.data", "tokenizer.json", "golden.json"])
def test_a_flipped_bit_is_found(bundle: Path, name: str) -> None:
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    with pytest.raises(BundleError, match="sha256") as caught:
        open_bundle(bundle)
    assert caught.value.where == str(bundle / name)
    assert "embed-job bundle" in caught.value.hint


def test_a_missing_file_is_found_without_reading_any(bundle: Path) -> None:
    (bundle / "model.onnx.data").unlink()
    with pytest.raises(BundleError, match=r"model\.onnx\.data: is missing"):
        open_bundle(bundle, verify=False)


def test_a_missing_precision_is_named(bundle: Path) -> None:
    with pytest.raises(BundleError, match="--precision int8"):
        open_bundle(bundle, precision="int8")


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"format": 2}, "format"),
        ({"dimension": 0}, "dimension"),
        ({"surprise": 1}, "surprise"),
        ({"files": {"../../etc/passwd": "0" * 64}}, "files"),
    ],
)
def test_a_bundle_json_of_another_kind(
    bundle: Path, changes: dict[str, object], where: str
) -> None:
    edit(bundle, **changes)
    with pytest.raises(BundleError) as caught:
        open_bundle(bundle)
    assert f"bundle.json: {where}" in caught.value.where


def test_a_dimension_that_is_off(bundle: Path) -> None:
    edit(bundle, dimension=31)
    with pytest.raises(BundleError, match="dimension 31"):
        check(bundle)


def test_golden_vectors_that_are_off(bundle: Path) -> None:
    path = bundle / "golden.fp32.npy"
    np.save(path, -np.load(path))
    rehash(bundle, path.name)
    with pytest.raises(BundleError, match=r"does not reproduce its golden vectors.*cosine -1\.0"):
        check(bundle)


def test_golden_vectors_that_do_not_fit_their_texts(bundle: Path) -> None:
    path = bundle / "golden.fp32.npy"
    np.save(path, np.load(path)[:-1])
    rehash(bundle, path.name)
    with pytest.raises(BundleError, match="does not fit its texts"):
        check(bundle)


def test_golden_vectors_are_never_unpickled(bundle: Path) -> None:
    path = bundle / "golden.fp32.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    rehash(bundle, path.name)
    with pytest.raises(BundleError, match="can't be read"):
        check(bundle)


class NotANumber:
    """An engine on a broken machine."""

    dimension = 32

    def embed(self, batch: Tokens) -> Vectors:
        return np.full((len(batch), 32), np.nan, np.float32)

    def padded_tokens(self, batch: Tokens) -> int:
        return len(batch.ids)


def test_an_engine_that_answers_nan_is_refused(tiny_bundle: Path) -> None:
    opened = open_bundle(tiny_bundle)
    with pytest.raises(BundleError, match="golden"):
        check_golden(opened, NotANumber(), Tokenizer(opened), precision="fp32")


def test_a_graph_that_onnx_runtime_cannot_load(bundle: Path) -> None:
    (bundle / "model.onnx").write_bytes(b"not a graph")
    rehash(bundle, "model.onnx")
    with pytest.raises(BundleError, match="can't load it"):
        check(bundle)


def test_a_bundle_of_an_older_version_is_made_again(tiny_model: Path, bundle: Path) -> None:
    """It kept no config.json, which engines start from that run no graph."""
    files = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))["files"]
    edit(bundle, files={name: digest for name, digest in files.items() if name != "config.json"})
    (bundle / "config.json").unlink()
    before = open_bundle(bundle).info.fingerprint
    built = build_bundle(str(tiny_model), bundle)
    assert built.made
    assert built.bundle.info.fingerprint == before
    assert (bundle / "config.json").read_bytes() == (tiny_model / "config.json").read_bytes()


def test_a_second_time_does_nothing(tiny_model: Path, bundle: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in bundle.iterdir()}
    assert not build_bundle(str(tiny_model), bundle).made
    assert {path.name: path.stat().st_mtime_ns for path in bundle.iterdir()} == before


def test_a_damaged_bundle_is_made_again(tiny_model: Path, bundle: Path) -> None:
    (bundle / "model.onnx").write_bytes(b"cut short")
    assert build_bundle(str(tiny_model), bundle).made
    assert check(bundle) > 0.9999


def test_another_model_is_not_overwritten(
    tiny_models: ModuleType, bundle: Path, tmp_path: Path
) -> None:
    """Not even one whose folder has the same name."""
    other = tiny_models.write_model(tmp_path / "else" / "tiny", seed=8)
    with pytest.raises(BundleError, match="another model"):
        build_bundle(str(other), bundle)
    assert check(bundle) > 0.9999


def test_a_folder_of_something_else_is_not_overwritten(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(BundleError, match="holds something else"):
        build_bundle(str(tiny_model), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_failed_build_leaves_nothing(tiny_models: ModuleType, tmp_path: Path) -> None:
    model = tiny_models.write_model(tmp_path / "model")
    (model / "model.safetensors").unlink()
    out = tmp_path / "out" / "bundle"
    with pytest.raises(BundleError):
        build_bundle(str(model), out)
    assert list(out.parent.iterdir()) == []


def test_a_sample_of_the_users_texts(tmp_path: Path) -> None:
    lines = [json.dumps({"id": str(n), "text": f"text number {n}"}) for n in range(1000)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    found = sample_texts(tmp_path / "a.jsonl")
    assert len(found) == 256
    assert found[0] == "text number 0"
    (tmp_path / "a.md").write_text("# Title\n\nBody\nmore\n", encoding="utf-8")
    assert sample_texts(tmp_path / "a.md") == ["# Title", "Body\nmore"]
    (tmp_path / "b.jsonl").write_text("{", encoding="utf-8")
    with pytest.raises(BundleError, match="not JSON"):
        sample_texts(tmp_path / "b.jsonl")
    (tmp_path / "c.txt").write_text(" \n", encoding="utf-8")
    with pytest.raises(BundleError, match="no text"):
        sample_texts(tmp_path / "c.txt")


def test_an_opened_bundle_is_a_value(tiny_bundle: Path) -> None:
    assert open_bundle(tiny_bundle) == Bundle(tiny_bundle, open_bundle(tiny_bundle).info)
