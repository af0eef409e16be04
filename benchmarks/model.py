"""The default model, as sentence-transformers reads it and as the engine does."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks.results import say
from embed_job.bundle.build import build_bundle
from embed_job.bundle.carrier import DEFAULT_FILES, check_files
from embed_job.bundle.fetch import fetch
from embed_job.errors import BundleError


def model_folder(work: Path) -> Path:
    """The sentence-transformers folder, every file checked by its pinned sha256; kept."""
    folder = work / "all-MiniLM-L6-v2"
    try:
        check_files(folder, DEFAULT_FILES)
    except BundleError:
        say("fetching the default model")
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(work / "fetch", ignore_errors=True)
        (work / "fetch").mkdir()
        fetch("default", work / "fetch", revision=None).folder.rename(folder)
        shutil.rmtree(work / "fetch")
    return folder


def model_bundle(work: Path) -> Path:
    """A bundle of the same files with graphs of both precisions; kept."""
    path = work / "bundle"
    build_bundle(str(model_folder(work)), path, precisions=("fp32", "int8"))
    return path
