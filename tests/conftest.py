"""Fixtures for all tests: model bundles, a tiny one and the default one; an OpenSearch server."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from embed_job.bundle.build import build_bundle
from tests.opensearch.servers import any_server

ROOT = Path(__file__).resolve().parent.parent

# One thread for each: tests run beside other work, and workers start processes of their own.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")


def _load(name: str) -> ModuleType:
    """A module of this folder; with --import-mode=importlib it is on no path."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def tiny_models() -> ModuleType:
    """The module tests/tiny_models.py: ``write_model(folder, family, ...)``."""
    return _load("tiny_models")


@pytest.fixture(scope="session")
def containers() -> ModuleType:
    """The module tests/container_root.py: ``Corpus``, ``Root``."""
    return _load("container_root")


@pytest.fixture(scope="session")
def tiny_model(tiny_models: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence-transformers folder: a random BERT, 2 layers, 32 numbers, 48 tokens at most."""
    folder: Path = tiny_models.write_model(
        tmp_path_factory.mktemp("tiny-model") / "tiny",
        prompts={"query": "query: ", "document": "passage: "},
    )
    return folder


@pytest.fixture(scope="session")
def tiny_bundle(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished bundle of tiny_model: fp32, and prompts query and document."""
    out = tmp_path_factory.mktemp("tiny-bundle") / "bundle"
    build_bundle(str(tiny_model), out)
    return out


@pytest.fixture(scope="session")
def default_bundle() -> Path:
    """models/default of the checkout; made where it is missing, which needs a package index."""
    out = ROOT / "models" / "default"
    build_bundle("default", out)
    return out


@pytest.fixture(scope="session")
def opensearch_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a server with k-NN and without passwords: OPENSEARCH_URL, or one for this session."""
    if given := os.environ.get("OPENSEARCH_URL"):
        yield given
        return
    with any_server(tmp_path_factory.mktemp("opensearch")) as url:
        yield url
