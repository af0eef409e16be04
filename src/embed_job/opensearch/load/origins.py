"""The rows of an output by the split that wrote them first: what an index is loaded by. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from embed_job.manifest import SplitManifest, origin_of


@dataclass(frozen=True, slots=True)
class Origin:
    """The rows that one split wrote first, wherever they lie by now.

    name: as the rows have it in `split`, and their documents. rows: of all holders; holders: live
    splits that have any. attempt: of the split itself where it is live; None: others have its rows.
    """

    name: str
    rows: int
    attempt: str | None
    holders: tuple[SplitManifest, ...]

    @property
    def held_by(self) -> str:
        """Which attempts at which splits hold it: while that is the same, so are its rows."""
        names = sorted(f"{manifest.split} {manifest.attempt}" for manifest in self.holders)
        return sha256("\n".join(names).encode()).hexdigest()[:16]


def origins_of(splits: Iterable[SplitManifest]) -> dict[str, Origin]:
    """Every origin that has rows in these splits, by name, in the order of their first holders."""
    holders: dict[str, list[SplitManifest]] = {}
    attempts: dict[str, str] = {}
    for manifest in splits:
        attempts[origin_of(manifest.split)] = manifest.attempt
        for name, rows in manifest.origins.items():
            if rows:
                holders.setdefault(name, []).append(manifest)
    return {
        name: Origin(
            name=name,
            rows=sum(manifest.origins[name] for manifest in some),
            attempt=attempts.get(name),
            holders=tuple(some),
        )
        for name, some in holders.items()
    }


def own_origin(manifest: SplitManifest) -> Origin | None:
    """The rows that a split wrote itself; None where it has carried them all."""
    name = origin_of(manifest.split)
    rows = manifest.origins.get(name, 0)
    return Origin(name, rows, manifest.attempt, (manifest,)) if rows else None


def holders_of(origins: Iterable[Origin]) -> list[SplitManifest]:
    """The live splits that have any of their rows, each once."""
    found = {manifest.split: manifest for origin in origins for manifest in origin.holders}
    return list(found.values())
