"""The bundle on its way into the image: ``slim SOURCE OUT``, then ``check BUNDLE RECORD``.

Run by the Dockerfile only, with the image's own libraries. check fails the build where the bundle
does not reproduce all of its golden vectors, or the labels tell of another one.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from embed_job import __version__
from embed_job.bundle import Bundle, check_golden, graph_file, open_bundle
from embed_job.bundle.info import Precision
from embed_job.bundle.slim import slim_copy
from embed_job.engine import load_engine, native
from embed_job.errors import UserError
from embed_job.fleet import PROTOCOL
from embed_job.spec import ModelSpec
from embed_job.tokenizer import Tokenizer

ALL = sys.maxsize
"""Characters of golden texts to embed: a worker's start takes the first ones, a build takes all."""


@dataclass(frozen=True, slots=True)
class LabelError(Exception):
    """A label that tells of something else than what the image holds."""

    name: str
    label: str
    inside: str

    def __str__(self) -> str:
        return (
            f"label embed-job.{self.name} is {self.label!r}, but the image holds {self.inside!r}. "
            "Build with `make image`, which reads the labels from the bundle."
        )


def facts(bundle: Bundle) -> dict[str, str]:
    """What the labels say, as the files inside say it."""
    return {
        "fingerprint": bundle.info.fingerprint,
        "source": bundle.info.source,
        "licence": bundle.info.licence or "",
        "version": __version__,
        "protocol": str(PROTOCOL),
    }


def least_cosine(path: Path, precision: Precision) -> float:
    """Of every engine that may run the bundle in the image, on a CPU."""
    bundle = open_bundle(path, precision=precision, verify=False)
    engines = [ModelSpec(engine="native", precision=precision)]
    if not native.can_run(bundle, precision=precision):
        engines = []
    if graph_file(precision) in bundle.info.files:
        engines.append(ModelSpec(engine="onnx", precision=precision))
    return min(
        check_golden(
            bundle,
            load_engine(bundle, engine, threads=1),
            Tokenizer(bundle),
            precision=precision,
            max_characters=ALL,
        )
        for engine in engines
    )


def check(path: Path, record: Path) -> None:
    """Prove the bundle and the labels (build arguments in the environment); write what was found.

    Raises BundleError or LabelError.
    """
    bundle = open_bundle(path)
    inside = facts(bundle)
    for name, value in inside.items():
        label = os.environ.get(name.upper(), "")
        if label != value:
            raise LabelError(name, label, value)
    golden = {precision: least_cosine(path, precision) for precision in bundle.info.precisions}
    record.parent.mkdir(parents=True, exist_ok=True)
    content = inside | {"golden_least_cosine": golden, "python": sys.version.split()[0]}
    record.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(record.read_text(encoding="utf-8"))


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    try:
        {"slim": slim_copy, "check": check}[command](*map(Path, arguments))
    except (UserError, LabelError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
