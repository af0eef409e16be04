"""What is worth a look in a run that is not wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from embed_job.excerpt import excerpt
from embed_job.manifest import SplitCounts
from embed_job.report.model import RunFacts, SplitReport

_PADDING_LIMIT = 0.15


def warnings(facts: RunFacts, counts: SplitCounts, splits: Sequence[SplitReport]) -> Iterator[str]:
    """Warnings, each one line that says what to do where something can be done."""
    if facts.inputs.files == 0:
        yield f"{facts.inputs.uri} holds no documents: nothing was embedded."
    if facts.inputs.ignored:
        named = ", ".join(map(excerpt, facts.inputs.ignored_examples[:3]))
        yield f"Files ignored for their unknown ending: {facts.inputs.ignored:,} ({named})."
    for field, absent in sorted(counts.absent_fields.items()):
        read = counts.documents.read
        yield f"The field '{field}' was absent from {absent:,} of {read:,} records."
    if counts.truncated_documents:
        yield (
            f"{counts.truncated_documents:,} documents were truncated and"
            f" {counts.truncated_tokens:,} tokens are in no vector;"
            " chunk.strategy: sentences keeps them."
        )
    if counts.padded_tokens and counts.embedded_tokens / counts.padded_tokens < 1 - _PADDING_LIMIT:
        yield "Padding wastes over 15 % of the model's time: a larger execution.window_mib helps."
    yield from map(excerpt, facts.incidents)
    late = [split for split in splits if split.straggler]
    if late:
        slowest = max(late, key=lambda split: split.seconds)
        yield (
            f"{len(late)} of {len(splits)} splits took over twice the median;"
            f" the slowest, {slowest.id} of {slowest.file}, {slowest.seconds:.1f} s."
        )
    slots = _worker_slots(facts)
    if facts.fresh and len(splits) < slots:
        yield (
            f"{slots} workers had {len(splits)} split{'' if len(splits) == 1 else 's'} to share:"
            " a smaller input.split_mib makes more of them."
        )


def _worker_slots(facts: RunFacts) -> int:
    """The workers that the spec asks for, whether there was work for each or not."""
    execution = facts.spec.execution
    if any(engine.device != "CPU" for engine in facts.engines):
        return facts.workers  # how many share a GPU follows from more than cores
    if execution.workers == "auto":
        return max(1, facts.machine.cores // execution.threads_per_worker)
    return execution.workers
