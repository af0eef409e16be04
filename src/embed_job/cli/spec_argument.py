"""An argument that is either a spec's file or the place of an output."""

from __future__ import annotations

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
