"""The default model, as sentence-transformers reads it and as the engine does."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from benchmarks.peers.environments import NotInstalledError, python_of
from benchmarks.results import ROOT, say
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


def onnx_folders(work: Path) -> None:
    """The model as ONNX peers read it, in work/onnx; kept. Where its exporter is not installed
    there is none, and those peers say so."""
    out = work / "onnx"
    if (out / "made").exists():
        return
    try:
        python = python_of("onnx")
    except NotInstalledError as error:
        say(f"no ONNX model for peers: {error}")
        return
    say("exporting the model to ONNX for peers")
    command = [str(python), "-m", "benchmarks.peers.export_onnx", str(model_folder(work)), str(out)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (out / "made").touch()
