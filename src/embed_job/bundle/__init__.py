"""The model bundle: a folder that says what it is, and proves it."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from embed_job.bundle.files import read_text, sha256_of
from embed_job.bundle.golden import check_golden
from embed_job.bundle.info import INT8_SCHEME, BundleInfo, fingerprint_of
from embed_job.errors import BundleError, SpecError
from embed_job.spec import HALF

__all__ = ["INFO_FILE", "Bundle", "check_golden", "graph_file", "open_bundle"]

INFO_FILE = "bundle.json"
IN_IMAGE, IN_CHECKOUT = Path("/models/default"), Path("models/default")


def graph_file(precision: str) -> str:
    """The name of a precision's ONNX graph inside the bundle, where it has one."""
    return "model.onnx" if precision == "fp32" else f"model.{precision}.onnx"


@dataclass(frozen=True, slots=True)
class Bundle:
    """An opened bundle: its folder, and what it says of itself."""

    path: Path
    info: BundleInfo

    @property
    def dimension(self) -> int:
        """Numbers of a vector."""
        return self.info.dimension

    @property
    def max_tokens(self) -> int:
        """Tokens of the longest text, special tokens and prompt included."""
        return self.info.max_tokens

    def has(self, precision: str) -> bool:
        """Whether it can be computed from this bundle: fp16 and bf16 are made of fp32's weights."""
        return precision in (*self.info.precisions, *HALF)

    def prompt_text(self, name: str | None) -> str:
        """The prompt of that name, or the bundle's default one (often empty) for None.

        SpecError names the nearest where there is none of that name.
        """
        if name is None:
            default = self.info.default_prompt
            return "" if default is None else self.info.prompts[default]
        if name in self.info.prompts:
            return self.info.prompts[name]
        near = difflib.get_close_matches(name, self.info.prompts, n=1)
        known = ", ".join(sorted(self.info.prompts)) or "none"
        hint = f"Did you mean {near[0]}?" if near else f"The bundle has: {known}."
        raise SpecError("model.prompt", f"the bundle has no prompt {name!r}", hint)

    def fingerprint(self, precision: str) -> str:
        """What decides over a vector, as sha256 in hex.

        The engine is none of it: all compute a precision alike, up to rounding. An int8 graph
        counts as itself: another version of the quantiser may make another.
        """
        if precision == "fp32":
            return self.info.fingerprint
        how = "weights and activations"
        if precision == "int8":
            how = self.info.files.get(graph_file(precision), INT8_SCHEME)
        return fingerprint_of({"fp32": self.info.fingerprint, precision: how})


def open_bundle(path: Path, *, precision: str = "fp32", verify: bool = True) -> Bundle:
    """Open a bundle; verify compares the sha256 of each file.

    The image's default bundle is looked for in the working folder's models/default where there
    is no image, so that one spec serves both. BundleError where it is missing, damaged, of
    another format, or lacks the precision.
    """
    if path == IN_IMAGE and not path.exists():
        path = IN_CHECKOUT
    info_file = path / INFO_FILE
    if not info_file.is_file():
        raise BundleError(
            str(path),
            "is not a model bundle",
            f"Make one: embed-job bundle default --out {path}",
        )
    info = _read_info(info_file)
    for name, digest in info.files.items():
        file = path / name
        if not file.is_file():
            raise BundleError(str(file), "is missing", _again(path, info))
        if verify and sha256_of(file) != digest:
            raise BundleError(
                str(file), "differs from what bundle.json says (sha256)", _again(path, info)
            )
    bundle = Bundle(path, info)
    if not bundle.has(precision):
        raise BundleError(
            str(path),
            f"has no {precision} (only {', '.join(info.precisions)})",
            f"Make one: embed-job bundle {info.source} --out {path} --precision {precision}",
        )
    return bundle


def _read_info(path: Path) -> BundleInfo:
    try:
        return BundleInfo.model_validate_json(read_text(path))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "content"
        raise BundleError(
            f"{path}: {key}", first["msg"], "Remove the folder and run embed-job bundle again."
        ) from error


def _again(path: Path, info: BundleInfo) -> str:
    return f"Make it again: embed-job bundle {info.source} --out {path}"
