"""Which rows of a live split are meant, and those rows read from its parts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from embed_job.dataset import Dataset
from embed_job.ids import Hashes, hash_ids
from embed_job.manifest import SplitManifest
from embed_job.opensearch.load.origins import Origin
from embed_job.opensearch.target import ID, SPLIT


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """Rows of one live split: of these origins; ids: of them only those, as hashes, each once."""

    manifest: SplitManifest
    origins: AbstractSet[str]
    ids: Hashes | None = None

    @property
    def count(self) -> int:
        """How many rows there must be."""
        if self.ids is not None:
            return len(self.ids)
        return sum(self.manifest.origins[name] for name in self.origins)

    @property
    def stored_bytes(self) -> int:
        """Of the split's files."""
        return sum(part.bytes for part in self.manifest.parts)

    def without(self, origin: str) -> Selection:
        """Less the rows of one origin."""
        return Selection(self.manifest, self.origins - {origin}, self.ids)


def selections_of(origins: Iterable[Origin]) -> list[Selection]:
    """All rows of these origins, by the live split that holds them: each part is read once."""
    holders: dict[str, SplitManifest] = {}
    names: dict[str, set[str]] = {}
    for origin in origins:
        for manifest in origin.holders:
            holders[manifest.split] = manifest
            names.setdefault(manifest.split, set()).add(origin.name)
    return [Selection(holders[split], frozenset(some)) for split, some in names.items()]


def selected_rows(
    dataset: Dataset, selection: Selection, *, columns: Sequence[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """The rows of a selection, a batch at a time. columns: with `split`, and with `id` where the
    selection is of ids; None: all. Raises as Dataset.split_rows does."""
    everything = selection.ids is None and selection.origins >= selection.manifest.origins.keys()
    names = pa.array(sorted(selection.origins), pa.string())
    for batch in dataset.split_rows(selection.manifest, columns=columns):
        if everything:
            yield batch
            continue
        kept = pc.is_in(batch.column(SPLIT).cast(pa.string()), value_set=names)
        if selection.ids is not None:
            known = np.isin(hash_ids(batch.column(ID).to_pylist()), selection.ids)
            kept = pc.and_(kept, pa.array(known))
        found = batch.filter(kept)
        if found.num_rows:
            yield found
