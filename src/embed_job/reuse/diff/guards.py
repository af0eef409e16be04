"""For what a run would be refused: too much is gone, or the listing lacks what is there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from embed_job.commit.gone import (
    absent_files,
    incomplete_listing,
    is_over,
    still_there,
    too_many_gone,
)
from embed_job.manifest import SplitManifest
from embed_job.plan import Plan
from embed_job.reuse.diff.facts import DocumentFacts
from embed_job.source.listing import input_folder
from embed_job.storage import join, store_for

MAX_ASKED = 1000


def refusals(
    plan: Plan,
    replaced: Sequence[SplitManifest],
    documents: DocumentFacts,
    gone_ids: Sequence[str],
) -> Iterator[str]:
    """What a run would end with, in its own words.

    Each file that the listing lacks is asked for by its name; where too much is gone anyway, some.
    """
    limit = plan.spec.refresh.max_delete_fraction
    is_refused = is_over(documents.gone, documents.before, limit)
    absent = absent_files(replaced, (file.name for file in plan.listing.files))
    step = -(-len(absent) // MAX_ASKED) if is_refused and absent else 1
    source = store_for(plan.place.source_uri)
    folder = input_folder(plan.listing, plan.spec.input.uri)
    there = still_there(absent[::step], lambda name: source.stat(join(folder, name)).size)
    if there:
        yield incomplete_listing(there, len(absent))
    elif is_refused:
        yield too_many_gone(documents.gone, documents.before, gone_ids, limit)
