"""A spec as the user names it: its file, or an argument that may be the place of an output."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from embed_job.errors import SpecError

if TYPE_CHECKING:
    from embed_job.spec import JobSpec


def spec_of(argument: str, overrides: Sequence[str]) -> JobSpec | None:
    """The spec in a file that ends in .yaml or .yml; None: it is no such name.

    overrides: as of --set. Raises SpecError where the file is missing or off.
    """
    if not argument.endswith((".yaml", ".yml")):
        if overrides:
            raise SpecError("--set", "needs a SPEC to override", "Give the spec's file.")
        return None
    from embed_job.spec.file import load_spec

    return load_spec(Path(argument), overrides)


def spec_with_index(path: Path, overrides: Sequence[str]) -> JobSpec:
    """A spec in a file. Raises SpecError where it is off, or has no opensearch output."""
    from embed_job.spec.file import load_spec

    spec = load_spec(path, overrides)
    if spec.opensearch is None:
        raise SpecError(
            str(path), "has no opensearch output", "Add one: `embed-job init` shows its keys."
        )
    return spec


def as_typed(spec: Path | str, overrides: Sequence[str] | None) -> str:
    """A spec with what overrides it, to be typed after a command again."""
    sets = (word for one in overrides or () for word in ("--set", one))
    return shlex.join([str(spec), *sets])
