"""An index opened for loading: what the output holds, what the index is, who we are to it."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from opensearchpy import OpenSearch

from embed_job.dataset import Dataset
from embed_job.errors import OutputError, SpecError
from embed_job.opensearch.client import connect
from embed_job.opensearch.index.memory import check_memory
from embed_job.opensearch.index.meta import describe_index
from embed_job.opensearch.index.open import OpenIndex, open_index
from embed_job.opensearch.index.profile import is_live as is_live_index
from embed_job.opensearch.load.ledger import LoadLedger
from embed_job.opensearch.load.presence import count_all, make_visible
from embed_job.opensearch.patience import BRIEF, Patience
from embed_job.opensearch.target import IndexTarget
from embed_job.spec import JobSpec


@dataclass(frozen=True)
class Writer:
    """Who loads. run: what all hosts of one job share; another run has another generation.
    patience: with a cluster that is out of reach at first."""

    run: str
    host: str
    patience: Patience = BRIEF

    @classmethod
    def alone(cls, host: str) -> Writer:
        """A run of this process alone."""
        return cls(secrets.token_hex(8), host)


@dataclass(frozen=True)
class IndexLoad:
    """One index that is loaded from one output. rows: reads the parts of its splits.
    max_delete_fraction: of the index's documents, as of the spec's `refresh`.

    Not slotted, as it keeps the generation that it claims when it first writes.
    """

    client: OpenSearch
    index: OpenIndex
    rows: Dataset
    ledger: LoadLedger
    writer: Writer
    max_delete_fraction: float

    @property
    def name(self) -> str:
        """The index's own name."""
        return self.index.target.name

    @property
    def where(self) -> str:
        """The index as a message names it."""
        return f"{self.index.target.output.url}/{self.name}"

    @cached_property
    def generation(self) -> int:
        """What this run writes with, claimed before its first row is sent."""
        return self.ledger.claim_generation(run=self.writer.run, host=self.writer.host)

    @property
    def claimed(self) -> int | None:
        """The generation; None: it was not claimed so far."""
        return vars(self).get("generation")


def open_load(
    spec: JobSpec,
    rows: Dataset,
    writer: Writer,
    *,
    create: bool = True,
    connecting: Callable[..., OpenSearch] = connect,
) -> IndexLoad:
    """Connect, make the index or check it, and see that it is this output's.

    rows: of the output; its splits need not be known yet. Raises SpecError or OutputError for
    everything that can be found out before a row is sent.
    """
    output = spec.opensearch
    if output is None:
        raise SpecError(
            "outputs",
            "names no opensearch output",
            "Add one beside parquet; `embed-job init` writes an example of it.",
        )
    if rows.descriptor.name != spec.name:
        raise OutputError(
            rows.folder,
            f"is the output of the job {rows.descriptor.name}, not of {spec.name}",
            "Name the spec that made it.",
        )
    target = IndexTarget(output, rows.descriptor)
    client = connecting(output)
    index = open_index(client, target, create=create, patience=writer.patience)
    ledger = LoadLedger(rows.store, rows.folder, index=target.name, load=index.load)
    load = IndexLoad(
        client, index, rows, ledger, writer, max_delete_fraction=spec.refresh.max_delete_fraction
    )
    _refuse_foreign(load)
    return load


def is_live(load: IndexLoad) -> bool:
    """Whether searches use the index: an alias is on it, the spec's or another of its users'."""
    target = load.index.target
    found = describe_index(
        load.client, target.name, where=load.where, patience=load.writer.patience
    )
    return is_live_index(target, found or {})


def memory_needed(load: IndexLoad, rows: int) -> str:
    """A line on the memory that so many rows need; raises OutputError where it is not there."""
    return check_memory(load.client, load.index.target, rows)


def _refuse_foreign(load: IndexLoad) -> None:
    """Raise OutputError where the index holds documents that no run of this output has sent.

    Whoever sends any has claimed a generation before; so it is looked for again after the count.
    """
    if load.index.created or load.ledger.generations():
        return
    make_visible(load.client, load.index.target)
    found = count_all(load.client, load.index.target)
    if found and not load.ledger.generations():
        raise OutputError(
            load.where,
            f"holds {found:,} documents, but none that this output has sent",
            "It was loaded from another output, or that output was deleted: delete the index, or "
            "name another one with index.",
        )
