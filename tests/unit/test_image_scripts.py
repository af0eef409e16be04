"""What `make image` hands to docker, and what is pruned from the image's libraries."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from embed_job import __version__
from embed_job.bundle import open_bundle
from embed_job.bundle.slim import slim_copy
from embed_job.errors import BundleError
from embed_job.fleet import PROTOCOL

ROOT = Path(__file__).resolve().parent.parent.parent


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"image_{name}", ROOT / "image" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def build() -> ModuleType:
    return load("build")


@pytest.fixture(scope="module")
def prune() -> ModuleType:
    return load("prune")


def test_labels_are_read_from_the_bundle_and_the_code(build: ModuleType, tiny_bundle: Path) -> None:
    info = open_bundle(tiny_bundle).info
    assert build.labels(tiny_bundle) == {
        "FINGERPRINT": info.fingerprint,
        "SOURCE": info.source,
        "LICENCE": info.licence or "",
        "VERSION": __version__,
        "PROTOCOL": str(PROTOCOL),
    }


def test_settings_of_pip_are_named_to_docker_and_never_valued(build: ModuleType) -> None:
    options = build.parse(["--target", "gpu", "--", "--no-cache"])
    here = {"PIP_INDEX_URL": "https://user:secret@index.invalid/simple", "HOME": "/root"}
    words = build.command(options, {"BASE": "base:1"}, here)
    assert words[:6] == ["docker", "build", "--target", "gpu", "--tag", "embed-job:gpu"]
    assert words[6:] == [
        *("--build-arg", "BASE=base:1", "--build-arg", "PIP_INDEX_URL"),
        *("--no-cache", "."),
    ]


def test_no_environment_turns_attestations_on(
    build: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUILDX_NO_DEFAULT_ATTESTATIONS", "0")
    monkeypatch.setenv("DOCKER_BUILDKIT", "1")
    found = build.environment()
    assert found["BUILDX_NO_DEFAULT_ATTESTATIONS"] == "1"
    assert found["DOCKER_BUILDKIT"] == "1"


def test_a_folder_that_is_no_bundle_is_told_before_docker_is_asked(
    build: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build.main(["--bundle", "tests"]) == 5
    assert "BUNDLE=tests: is not a model bundle" in capsys.readouterr().err


def test_a_slim_bundle_is_the_same_model_without_its_safetensors(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    whole = open_bundle(tiny_bundle)
    slim = slim_copy(tiny_bundle, tmp_path / "slim")
    assert not (slim.path / "model.safetensors").exists()
    assert slim.info.fingerprint == whole.info.fingerprint
    assert slim.info.source_files == whole.info.source_files
    assert set(whole.info.files) - set(slim.info.files) == {"model.safetensors"}
    assert {path.name for path in slim.path.iterdir()} == {*slim.info.files, "bundle.json"}


def test_a_damaged_bundle_is_not_slimmed(tiny_bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    slim_copy(tiny_bundle, copy)
    (copy / "tokenizer.json").write_text("{}")
    with pytest.raises(BundleError, match="differs from what"):
        slim_copy(copy, tmp_path / "slim")
    with pytest.raises(BundleError, match="is there already"):
        slim_copy(tiny_bundle, copy)


def lay(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def test_pruning_removes_what_is_listed_and_nothing_else(
    prune: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stays = [
        *(f"{name}/file" for name in prune.KEPT),
        "botocore/data/endpoints.json",
        "numpy/core.py",
        "pyarrow/lib.so",
        "pyarrow/libarrow.so.2600",
        "pyarrow/libarrow_python.so.2600",
        "tests.py",
    ]
    goes = [
        "botocore/data/ec2/2016/service.json",
        "numpy/lib/tests/test_x.py",
        "pyarrow/libarrow_flight.so.2600",
        "pyarrow/libarrow_python.so",
        "pyarrow/libarrow_python.so.2600.1.0",
        "pyarrow/types.pxi",
        "bin/f2py",
    ]
    lay(tmp_path, *stays, *goes)
    assert prune.check(tmp_path) == 1
    prune.prune(tmp_path)
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == set(stays)
    assert prune.check(tmp_path) == 0
    bytes_left = sum(len(name) for name in stays)
    assert f"{bytes_left / 1e6:.2f} MB after" in capsys.readouterr().out


def test_what_must_stay_is_missed(prune: ModuleType, tmp_path: Path) -> None:
    lay(tmp_path, "numpy/core.py")
    assert prune.check(tmp_path) == 1


def test_every_entry_gives_a_reason_once(prune: ModuleType) -> None:
    patterns = [pattern for pattern, _ in prune.PRUNED]
    assert len(patterns) == len(set(patterns))
    assert all(reason for _, reason in prune.PRUNED)


def test_the_image_s_lock_holds_what_its_list_names() -> None:
    """Nothing is added behind the list's back: it is locked without dependencies."""
    requirements = ROOT / "requirements"
    lines = (requirements / "image.in").read_text().splitlines()
    named = {line for line in lines if line and not line.startswith("#")}
    lock = (requirements / "image.txt").read_text().splitlines()
    locked = [line.split(" ")[0] for line in lock if "==" in line]
    assert {pin.partition("==")[0] for pin in locked} == named
    tested = (requirements / "dev.txt").read_text()
    assert all(f"{pin} " in tested for pin in locked), "tests run with other versions"
    assert json.dumps(lock).count("--hash=sha256:") > len(locked)
