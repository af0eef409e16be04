"""What earlier runs have embedded, as a worker sees it: tables and parts in a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa

from embed_job.reuse.lookup import CATALOG, Lookup
from embed_job.reuse.parts import EarlierPart, EarlierParts, Unpacking
from embed_job.sink import Part
from embed_job.storage import Store


class Earlier:
    """Opens what :func:`embed_job.reuse.build.build_lookup` left in a folder.

    Both are opened anew for each split, so that their memory is given back, and parts for each
    thread.
    """

    def __init__(self, folder: Path, store: Store, schema: pa.Schema) -> None:
        self._folder = folder
        self._store = store
        self._schema = schema
        told = orjson.loads((folder / CATALOG).read_bytes())
        self._leave_free_bytes: int = told["leave_free_bytes"]
        self._parts = [
            EarlierPart(key, first, Part(name=key, rows=rows, bytes=size, sha256=sha256))
            for key, first, rows, size, sha256 in told["parts"]
        ]
        self._firsts = np.array([part.first for part in self._parts], dtype=np.int64)

    def lookup(self) -> Lookup:
        """Where known documents and contents are."""
        return Lookup(self._folder)

    def parts(self) -> EarlierParts:
        """Their rows."""
        return EarlierParts(
            self._parts,
            self._firsts,
            self._store,
            schema=self._schema,
            unpacking=Unpacking(self._folder, self._leave_free_bytes),
        )
