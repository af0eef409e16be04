"""What a diff says, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class SplitFacts:
    """kept: as they were, and not read. embedded: new ones that a run which did not end has
    committed already. new: to be read. replaced: of the last generation, no longer in the input."""

    kept: int = 0
    embedded: int = 0
    new: int = 0
    replaced: int = 0


@dataclass(frozen=True, slots=True)
class DocumentFacts:
    """Documents of the input by what a run makes of them, and of the last generation.

    kept: in splits that are kept. The others are those of new splits: read of them, as many as
    were rejected, skipped, and the rest by what changed. unknown: were there, but their ledger is
    lost. gone: of the last generation, in no split of the input any more. before: documents of
    the last generation.
    """

    kept: int = 0
    read: int = 0
    rejected: int = 0
    skipped: int = 0
    unchanged: int = 0
    added: int = 0
    text: int = 0
    metadata: int = 0
    unknown: int = 0
    gone: int = 0
    before: int = 0

    @property
    def balanced(self) -> bool:
        """The identity: what was read is rejected, skipped or compared."""
        compared = self.unchanged + self.added + self.text + self.metadata + self.unknown
        return self.read == self.rejected + self.skipped + compared


@dataclass(frozen=True, slots=True)
class WorkFacts:
    """What a run would compute, and what it would take over.

    carried: documents whose rows are copied as they are. chunked: the others, which are cut
    anew; of their chunks, reused have their vector already, and embedded go through the model
    (repeats within a window once), with so many tokens. None: not known without the model's
    bundle. estimated: whether only a share of the texts was cut, and the figures scaled.
    """

    carried: int = 0
    chunked: int = 0
    chunked_chars: int = 0
    reused_chunks: int | None = None
    embedded_chunks: int | None = None
    tokens: int | None = None
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Examples:
    """Ids, a few of each; ids of gone documents come from the earlier parts."""

    added: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    metadata: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Diff:
    """What a run would make of the input as it is now.

    generation: the last one; None where no job was committed yet. reuse: whether anything is taken
    over; why_not: what speaks against it. delete_fraction: gone documents of those before, and max_
    the spec's limit of it. problems: with what a run would end, and exit code 6, a sentence each.
    """

    name: str
    input_uri: str
    output_uri: str
    generation: int | None
    splits: SplitFacts
    documents: DocumentFacts
    work: WorkFacts
    rejected_by_reason: dict[str, int] = field(default_factory=dict)
    examples: Examples = Examples()
    reuse: bool = True
    why_not: str = ""
    max_delete_fraction: float = 0.0
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def delete_fraction(self) -> float:
        """Share of the last generation's documents that are gone."""
        return self.documents.gone / self.documents.before if self.documents.before else 0.0
