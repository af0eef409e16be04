"""bundle.json: what a bundle is."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,100}$")]
"""A plain name: a bundle never points outside its folder."""
Precision = Literal["fp32", "int8"]
"""Those that a bundle has golden vectors of; fp16 and bf16 are held against fp32's."""
INT8_SCHEME = "w8a8-rows-1"
"""How the native engine makes 8-bit numbers of weights (by column) and of activations (by row).
What it does to one number decides over vectors: another way of rounding is another name."""
Pooling = Literal["mean", "cls", "lasttoken"]

FORMAT = 1


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Normalize(Record):
    """Divide by the Euclidean norm."""

    kind: Literal["normalize"] = "normalize"


class Dense(Record):
    """A linear layer after pooling. weights: sha256 of its safetensors file."""

    kind: Literal["dense"] = "dense"
    inputs: int
    outputs: int
    bias: bool
    activation: Literal["identity", "tanh"]
    weights: Sha256


HeadStep = Annotated[Normalize | Dense, Field(discriminator="kind")]


class BundleInfo(Record):
    """The content of ``bundle.json``.

    source: what the bundle was made of: ``default``, a hub id or a folder's name. fingerprint
    covers everything that decides over a vector of the fp32 graph. max_tokens counts special
    tokens. source_files and files: sha256 by name.
    """

    format: Literal[1]
    source: str
    revision: str | None
    licence: str | None
    architecture: str
    dimension: int = Field(ge=1, le=65536)
    max_tokens: int = Field(ge=3)
    pad_token_id: int = Field(ge=0)
    pooling: Pooling
    head: tuple[HeadStep, ...]
    prompts: dict[str, str]
    default_prompt: str | None
    similarity: str
    precisions: tuple[Precision, ...]
    fingerprint: Sha256
    source_files: dict[str, Sha256]
    files: dict[FileName, Sha256]

    @property
    def normalize(self) -> bool:
        """Whether vectors have length one."""
        return bool(self.head) and self.head[-1].kind == "normalize"


def fingerprint_of(parts: dict[str, Any]) -> str:
    """sha256 over the canonical JSON of parts, in hex."""
    canonical = json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
