"""A diff from start to end: what was, what is, what a run would make of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from embed_job.admit import Admission
from embed_job.chunk.chunker import Chunker
from embed_job.commit.duplicates import doc_ids_of
from embed_job.commit.id_hashes import all_ids
from embed_job.ids import SeenIds, hash_ids
from embed_job.manifest import JobManifest, SplitManifest
from embed_job.plan import Plan
from embed_job.reuse.build import Seen, build_lookup
from embed_job.reuse.diff.before import Before, Change, held_of, held_table
from embed_job.reuse.diff.compare import MAX_EXAMPLES, Comparison
from embed_job.reuse.diff.facts import Diff, DocumentFacts, Examples, SplitFacts
from embed_job.reuse.diff.forward import ForwardPasses
from embed_job.reuse.diff.guards import refusals
from embed_job.reuse.document_hash import Keys
from embed_job.reuse.ledger import LedgerError
from embed_job.reuse.lookup import Lookup
from embed_job.reuse.rebuild import ledger_of
from embed_job.reuse.splits import EarlierSplit, earlier_splits, truncates_at
from embed_job.source import Split
from embed_job.source.reader import SplitReader
from embed_job.storage import store_for
from embed_job.tally import Stopwatch, Tally


@dataclass(frozen=True, slots=True)
class _Parted:
    """Splits by what a run does with them, as of SplitFacts."""

    kept: list[SplitManifest]
    embedded: list[SplitManifest]
    new: list[Split]
    replaced: list[SplitManifest]

    @property
    def facts(self) -> SplitFacts:
        return SplitFacts(
            kept=len(self.kept),
            embedded=len(self.embedded),
            new=len(self.new),
            replaced=len(self.replaced),
        )


def make_diff(plan: Plan, *, chunker: Chunker | None, scratch: Path, note: str = "") -> Diff:
    """Read what is new and compare it with what the output holds.

    chunker: of the plan's model; None where it is not here: chunks and tokens are unknown then.
    scratch: a folder of this machine, for tables. note: to go into the diff. Raises InputError or
    OutputError where something can't be read.
    """
    job = plan.commits.job()
    parted = _part(plan, job)
    why_not = _why_not(plan)
    comparison, forward, lost = _read(plan, parted, chunker, scratch, reuse=not why_not)
    if job and job.duplicates_across_splits:
        # Else an id that a split keeps was nowhere else.
        for ids in all_ids(plan.target, plan.commits.folder, parted.kept):
            comparison.before.mark(ids)
    documents = _documents(parted, comparison, job)
    examples = _examples(plan, parted, comparison)
    return Diff(
        name=plan.spec.name,
        input_uri=plan.spec.input.uri,
        output_uri=plan.spec.parquet.uri,
        generation=job.generation if job else None,
        splits=parted.facts,
        documents=documents,
        work=forward.facts(carried=comparison.carried),
        rejected_by_reason=dict(comparison.tally.rejected),
        examples=examples,
        reuse=not why_not,
        why_not=why_not,
        max_delete_fraction=plan.spec.refresh.max_delete_fraction,
        problems=tuple(refusals(plan, parted.replaced, documents, examples.gone)),
        notes=(*([note] if note else []), *lost),
    )


def _read(
    plan: Plan, parted: _Parted, chunker: Chunker | None, scratch: Path, *, reuse: bool
) -> tuple[Comparison, ForwardPasses, list[str]]:
    """Compare what is new with what was; what is to be embedded; what can't be compared."""
    held = _Held(scratch / "before", parted.replaced)
    lookup = _lookup(plan, scratch / "lookup", held.see) if reuse else None
    held.read(plan)
    comparison = Comparison(held.close(), lookup.has_documents if lookup else None)
    forward = ForwardPasses(
        chunker,
        partial(_has_vector, lookup),
        window_bytes=int(plan.spec.execution.window_mib * (1 << 20)),
    )
    for manifest in parted.embedded:
        _take(plan, manifest, comparison)
    for split in parted.new:
        forward.add(comparison.read(partial(_admission, plan, split)))
    return comparison, forward, held.lost


def _part(plan: Plan, job: JobManifest | None) -> _Parted:
    last = frozenset(job.splits) if job else frozenset()
    planned = frozenset(plan.planned)
    return _Parted(
        kept=[found for split, found in plan.committed.items() if split in last],
        embedded=[found for split, found in plan.committed.items() if split not in last],
        new=[split for name, split in plan.splits.items() if name not in plan.committed],
        replaced=[found for split, found in plan.found.items() if split in last - planned],
    )


def _why_not(plan: Plan) -> str:
    """Why nothing is taken over; "" where it is."""
    compute = plan.spec.compute
    if not plan.spec.refresh.reuse:
        return "refresh.reuse is off"
    if compute is not None and compute.delivery == "processing_output":
        return "with delivery: processing_output hosts don't see the output's earlier files"
    return ""


def _lookup(plan: Plan, folder: Path, seen: Seen) -> Lookup | None:
    """What a run takes over, by hash; None where there is nothing. seen: as of build_lookup."""
    earlier = earlier_splits(plan)
    if not earlier:
        return None
    limit = truncates_at(plan.spec, plan.dataset.max_tokens)
    build_lookup(folder, plan.target, earlier, truncates_at=limit, seen=seen)
    return Lookup(folder)


def _has_vector(lookup: Lookup | None, contents: Keys) -> npt.NDArray[np.bool_]:
    if lookup is None:
        return np.zeros(len(contents), dtype=np.bool_)
    return np.asarray(lookup.contents(contents) >= 0)


class _Held:
    """The documents of replaced splits, from ledgers that are read once, for whoever needs them.

    lost: what can't be compared any more, a sentence each.
    """

    def __init__(self, folder: Path, replaced: Sequence[SplitManifest]) -> None:
        self.lost: list[str] = []
        self._folder = folder
        self._awaited = {manifest.split: at for at, manifest in enumerate(replaced)}
        self._replaced = replaced
        count = sum(manifest.counts.documents.written for manifest in replaced)
        self._table = held_table(folder, documents=count)

    def see(self, split: EarlierSplit, ledger: pa.Table | LedgerError) -> None:
        """Take from a ledger that was read for something else."""
        number = self._awaited.pop(split.manifest.split, None)
        if number is None:
            return
        if isinstance(ledger, LedgerError):
            name = split.manifest.split[:12]
            self.lost.append(f"split {name} of the last generation can't be compared: {ledger}")
        else:
            self._table.add(held_of(ledger, number))

    def read(self, plan: Plan) -> None:
        """Read those that were not seen."""
        for number in list(self._awaited.values()):
            manifest = self._replaced[number]
            try:
                found: pa.Table | LedgerError = _ledger(plan, manifest)
            except LedgerError as error:
                found = error
            self.see(EarlierSplit(plan.commits.folder, manifest), found)

    def close(self) -> Before:
        self._table.close()
        return Before(self._folder)


def _ledger(plan: Plan, manifest: SplitManifest) -> pa.Table:
    """A committed split's. Raises LedgerError."""
    limit = truncates_at(plan.spec, plan.dataset.max_tokens)
    split = EarlierSplit(plan.commits.folder, manifest)
    return ledger_of(plan.target, split, truncates_at=limit)


def _take(plan: Plan, manifest: SplitManifest, comparison: Comparison) -> None:
    held = held_of(_ledger(plan, manifest), 0)
    comparison.take(held["head"], held["document"], held["text"])


def _admission(plan: Plan, split: Split, tally: Tally, seen: SeenIds) -> Admission:
    """A pass over a split as the run makes it."""
    source = store_for(plan.place.source_uri)
    return Admission(
        policy=plan.spec.input.on_duplicate_id,
        read=lambda: SplitReader(source, split, plan.spec.input, plan.dataset.columns),
        exclude={},
        refuse=tally.reject,
        tally=tally,
        watch=Stopwatch(),
        seen=seen,
    )


def _documents(parted: _Parted, comparison: Comparison, job: JobManifest | None) -> DocumentFacts:
    tally, changes = comparison.tally, comparison.changes
    return DocumentFacts(
        kept=sum(manifest.counts.documents.written for manifest in parted.kept),
        read=tally.documents_read,
        rejected=tally.rejected.total(),
        skipped=tally.documents_skipped,
        unchanged=changes[Change.UNCHANGED],
        added=changes[Change.ADDED],
        text=changes[Change.TEXT],
        metadata=changes[Change.METADATA],
        unknown=changes[Change.UNKNOWN],
        gone=comparison.before.gone(),
        before=job.counts.documents.written if job else 0,
    )


def _examples(plan: Plan, parted: _Parted, comparison: Comparison) -> Examples:
    found = {change: tuple(ids) for change, ids in comparison.examples.items()}
    return Examples(
        added=found.get(Change.ADDED, ()),
        text=found.get(Change.TEXT, ()),
        metadata=found.get(Change.METADATA, ()),
        unknown=found.get(Change.UNKNOWN, ()),
        gone=tuple(_gone_ids(plan, parted, comparison.before)),
    )


def _gone_ids(plan: Plan, parted: _Parted, before: Before) -> Iterator[str]:
    """Ids of some gone documents, from the parts of the splits that held them."""
    gone = before.gone_examples(MAX_EXAMPLES)
    for number in np.unique(gone["split"]).tolist():
        wanted = gone["head"][gone["split"] == number]
        for doc_id in doc_ids_of(plan.target, plan.commits.folder, parted.replaced[number]):
            if np.isin(hash_ids([doc_id]), wanted)[0]:
                yield doc_id
