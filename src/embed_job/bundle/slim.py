"""A bundle for a machine that runs its ONNX graphs alone: half the size, the same fingerprint."""

from __future__ import annotations

import shutil
from pathlib import Path

from embed_job.bundle import INFO_FILE, Bundle, open_bundle
from embed_job.bundle.contents import WEIGHTS_FILE
from embed_job.errors import BundleError


def slim_copy(source: Path, out: Path) -> Bundle:
    """Copy a bundle to the new folder out without its safetensors, and name them no more.

    The fingerprint and source_files stay: vectors and origin are the same. BundleError where the
    source is damaged, or out is there already.
    """
    bundle = open_bundle(source)
    # torch alone loads it; no graph refers to it, and the native engine maps the graph's weights.
    files = {name: digest for name, digest in bundle.info.files.items() if name != WEIGHTS_FILE}
    try:
        out.mkdir(parents=True)
    except FileExistsError:
        raise BundleError(str(out), "is there already", "Choose another folder.") from None
    for name in files:
        shutil.copyfile(bundle.path / name, out / name)
    info = bundle.info.model_copy(update={"files": files})
    (out / INFO_FILE).write_text(info.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return open_bundle(out)
