"""The real image: what it weighs, what it says of itself, what is in it and what is not."""

from __future__ import annotations

import importlib.util
import inspect
import json
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from embed_job import __version__
from embed_job.bundle import open_bundle
from embed_job.fleet import PROTOCOL

ROOT = Path(__file__).resolve().parent.parent.parent
MAX_BYTES, MAX_PUSHED_BYTES = 500e6, 250e6

LEFT_OUT = {
    "huggingface_hub": "models are fetched by `embed-job bundle`, never by a job",
    "ml_dtypes": "reads bf16 weights for `embed-job bundle`",
    "onnx": "writes graphs for `embed-job bundle`",
    "rich": "a person's terminal",
    "safetensors": "reads weights for `embed-job bundle`",
    "torch": "the GPU image has it",
    "transformers": "exports architectures of others for `embed-job bundle`",
    "typer": "the command line; a container has none",
}
"""Distributions that modules of ours import and the CPU image lacks, and what for."""

PACKAGES_OF_A_JOB = (
    "container",
    "embed_job.fleet",
    "embed_job.opensearch",
    "embed_job.report",
    "embed_job.workers",
)


def digests(container, engine):  # type: ignore[no-untyped-def]
    """sha256 of each file of ours, below the folders that hold container/ and embed_job/."""
    import hashlib

    return {
        path.relative_to(parent).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for parent, name in ((container, "container"), (engine, "embed_job"))
        for path in (parent / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.fixture(scope="module")
def config(image: str) -> dict[str, Any]:
    done = subprocess.run(["docker", "image", "inspect", image], capture_output=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)[0]
    return found


@pytest.fixture(scope="module")
def site(image: str, image_host: ModuleType) -> str:
    """The folder in the image that holds its libraries."""
    source = "import numpy, pathlib; print(pathlib.Path(numpy.__file__).parent.parent)"
    path: str = image_host.python(image, source)
    return path.strip()


def test_it_weighs_no_more_than_promised(image: str, config: dict[str, Any]) -> None:
    spec = importlib.util.spec_from_file_location("image_build", ROOT / "image/build.py")
    assert spec is not None
    assert spec.loader is not None
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    layers = list(build.weigh(image, level=1))  # a push packs tighter
    assert config["Size"] <= MAX_BYTES
    assert len(layers) >= 4
    assert sum(plain for plain, _ in layers) <= MAX_BYTES
    assert 100e6 < sum(packed for _, packed in layers) <= MAX_PUSHED_BYTES


def test_it_holds_this_checkout_s_code(image: str, image_host: ModuleType, site: str) -> None:
    """Or all that follows is said of older code: run make image."""
    source = f"""
{inspect.getsource(digests)}
import json, pathlib, sys
print(json.dumps(digests(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[1]))))
"""
    inside = json.loads(image_host.python(image, source, arguments=[site]))
    assert inside == digests(ROOT, ROOT / "src")


def test_its_labels_tell_what_is_inside(config: dict[str, Any], default_bundle: Path) -> None:
    info = open_bundle(default_bundle).info
    labels = {
        name.removeprefix("embed-job."): value
        for name, value in config["Config"]["Labels"].items()
        if name.startswith("embed-job.")
    }
    assert labels == {
        "fingerprint": info.fingerprint,
        "source": info.source,
        "licence": info.licence,
        "version": __version__,
        "protocol": str(PROTOCOL),
        "target": "cpu",
    }


def test_its_configuration_is_a_job_s_and_holds_nothing_of_the_build(
    image: str, config: dict[str, Any]
) -> None:
    settings = dict(item.split("=", 1) for item in config["Config"]["Env"])
    assert settings["HF_HUB_OFFLINE"] == settings["TRANSFORMERS_OFFLINE"] == "1"
    assert settings["PYTHONDONTWRITEBYTECODE"] == "1"
    assert config["Config"]["Entrypoint"] == ["python3", "-m", "container.embed_shard"]
    assert config["Config"].get("User", "") in ("", "root", "0")
    assert config["Architecture"] == "amd64"
    history = subprocess.run(
        ["docker", "history", "--no-trunc", "--format", "{{.CreatedBy}}", image],
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    ours = history.partition("HF_HUB_OFFLINE")[0]
    for word in ("PIP_", "_CERT", "PROXY", "index", "://"):
        assert word not in ours
        assert not any(word in name for name in settings)


def test_it_can_install_compile_and_fetch_nothing(
    image: str, image_host: ModuleType, site: str
) -> None:
    source = """
import importlib.util, json, pathlib, shutil, sys
modules = [name for name in sys.argv[2].split(",") if importlib.util.find_spec(name)]
programs = [name for name in sys.argv[3].split(",") if shutil.which(name)]
site = pathlib.Path(sys.argv[1])
tests = [str(path) for path in site.rglob("tests") if path.is_dir()]
left = [name for name in ("/bundle", "/code", "/image", "/install", "/requirements", "/venv")
        if pathlib.Path(name).exists()]
caches = [str(path) for path in pathlib.Path("/root").rglob("*") if "cache" in path.name]
print(json.dumps([modules, programs, tests, left, caches]))
"""
    modules = ["pip", "ensurepip", "setuptools", "pytest", "grpc", "launcher", "sagemaker"]
    programs = "pip,pip3,gcc,cc,g++,make,cargo"
    words = [site, ",".join([*modules, *LEFT_OUT]), programs]
    assert json.loads(image_host.python(image, source, arguments=words)) == [[], [], [], [], []]


def test_what_is_pruned_is_gone_and_what_is_kept_is_there(
    image: str, image_host: ModuleType, site: str
) -> None:
    source = (ROOT / "image/prune.py").read_text()
    assert image_host.python(image, source, arguments=[site, "--check"]) == ""


def test_everything_of_ours_imports_but_for_what_is_known_to_be_left_out(
    image: str, image_host: ModuleType
) -> None:
    source = """
import importlib, json, pkgutil, sys
import container, embed_job
missing = {}
for package in (container, embed_job):
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + ".", missing.get):
        if found.name.endswith("__main__"):
            continue
        try:
            importlib.import_module(found.name)
        except ModuleNotFoundError as error:
            missing[found.name] = error.name.partition(".")[0]
print(json.dumps(missing))
"""
    missing = json.loads(image_host.python(image, source))
    assert set(missing.values()) <= set(LEFT_OUT), missing
    assert not [name for name in missing if name.startswith(PACKAGES_OF_A_JOB)], missing


def test_libraries_are_compiled_so_that_workers_start_quickly(
    image: str, image_host: ModuleType, site: str
) -> None:
    source = """
import pathlib, sys
site = pathlib.Path(sys.argv[1])
bare = [path for path in site.rglob("*.py")
        if not list((path.parent / "__pycache__").glob(path.stem + ".*.pyc"))]
print(len(bare), len(list(site.rglob("*.pyc"))) > 500)
"""
    assert image_host.python(image, source, arguments=[site]).split() == ["0", "True"]


def test_the_bundle_was_proven_by_the_build_and_is_without_safetensors(
    image: str, image_host: ModuleType, default_bundle: Path
) -> None:
    source = """
import json, pathlib
from embed_job.bundle import open_bundle
bundle = open_bundle(pathlib.Path("/models/default"))
names = sorted(path.name for path in bundle.path.iterdir())
print(json.dumps([json.loads(pathlib.Path("/models/checked.json").read_text()), names]))
"""
    record, names = json.loads(image_host.python(image, source))
    info = open_bundle(default_bundle).info
    assert record["fingerprint"] == info.fingerprint
    assert set(record["golden_least_cosine"]) == set(info.precisions)
    assert all(cosine >= 0.9999 for cosine in record["golden_least_cosine"].values())
    assert names == sorted({"bundle.json", *info.files} - {"model.safetensors"})


@pytest.mark.parametrize("label", ["FINGERPRINT", "PROTOCOL", "VERSION", "SOURCE", "LICENCE"])
def test_a_build_fails_where_a_label_tells_of_something_else(
    image: str, image_host: ModuleType, config: dict[str, Any], label: str
) -> None:
    given = {
        name.upper(): config["Config"]["Labels"][f"embed-job.{name}"]
        for name in ("fingerprint", "protocol", "version", "source", "licence")
    } | {label: "another"}
    options = [word for name, value in given.items() for word in ("--env", f"{name}={value}")]
    done = image_host.attempt(
        image,
        (ROOT / "image/bundle.py").read_text(),
        *options,
        arguments=["check", "/models/default", "/root/checked.json"],
    )
    assert done.returncode == 1
    assert f"LabelError: label embed-job.{label.lower()} is 'another'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_build_fails_where_the_bundle_does_not_reproduce_its_golden_vectors(
    image: str, image_host: ModuleType, tiny_models: ModuleType, tmp_path: Path
) -> None:
    """A bundle whose files are sound and whose golden vectors another model made."""
    from embed_job.bundle.build import build_bundle

    bundles = []
    for seed in (1, 2):
        model = tiny_models.write_model(tmp_path / f"model-{seed}", seed=seed)
        bundles.append(build_bundle(str(model), tmp_path / f"bundle-{seed}").bundle)
    first, other = bundles
    (first.path / "golden.fp32.npy").write_bytes((other.path / "golden.fp32.npy").read_bytes())
    files = first.info.files | {"golden.fp32.npy": other.info.files["golden.fp32.npy"]}
    info = first.info.model_copy(update={"files": files})
    (first.path / "bundle.json").write_text(info.model_dump_json())
    labels = {
        "FINGERPRINT": info.fingerprint,
        "SOURCE": info.source,
        "LICENCE": info.licence or "",
        "VERSION": __version__,
        "PROTOCOL": str(PROTOCOL),
    }
    options = [word for name, value in labels.items() for word in ("--env", f"{name}={value}")]
    done = image_host.attempt(
        image,
        (ROOT / "image/bundle.py").read_text(),
        *options,
        "--volume",
        f"{first.path}:/models/other:ro",
        arguments=["check", "/models/other", "/root/checked.json"],
    )
    assert done.returncode == 1
    assert "does not reproduce its golden vectors" in done.stderr
