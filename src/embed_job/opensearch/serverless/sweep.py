"""The end of a Serverless load: what is there twice, and what no longer belongs there, goes.

During a load a row may be indexed more than once: a request was applied and its answer lost, a
killed load was replayed, an old writer woke up. :func:`sweep_duplicates` leaves the copy of the
newest generation, so that what an old writer wrote late goes too. Afterwards each row is there
once. Both functions may be killed anywhere and run again, by several hosts at once too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

from opensearchpy import OpenSearch

from embed_job.errors import OutputError
from embed_job.opensearch.deletion import delete_documents
from embed_job.opensearch.patience import PATIENT, Patience
from embed_job.opensearch.serverless.copies import GENERATION, Copy, surplus
from embed_job.opensearch.serverless.scan import PAGE_ROWS, pages
from embed_job.opensearch.serverless.visibility import await_visible
from embed_job.opensearch.target import ID, SPLIT

_QUERY_SPLITS = 1000
_MAX_PASSES = 10


@dataclass(frozen=True, slots=True)
class Swept:
    """deleted: documents; clean: the last reading found nothing more; False: stopped before."""

    deleted: int
    clean: bool


def sweep_duplicates(
    client: OpenSearch,
    index: str,
    *,
    stopping: Callable[[], bool] = lambda: False,
    patience: Patience = PATIENT,
    page_rows: int = PAGE_ROWS,
) -> Swept:
    """Leave one document of each row: the one of the newest generation.

    Waits until writes and deletions are seen, and ends once a reading of the whole index finds
    nothing to delete. Memory: one page. Raises OutputError.
    """

    def pick() -> Iterator[str]:
        query = {"exists": {"field": ID}}
        for page in pages(client, index, query, patience=patience, page_rows=page_rows):
            yield from _documents(surplus(page))

    return _until_clean(client, index, pick, stopping=stopping, patience=patience)


def delete_splits(
    client: OpenSearch,
    index: str,
    splits: Collection[str],
    *,
    newest: int,
    check: Callable[[], None] = lambda: None,
    stopping: Callable[[], bool] = lambda: False,
    patience: Patience = PATIENT,
) -> Swept:
    """Delete the documents of these splits, given as in the field `split`; waits as above.

    newest: the last generation whose documents may go. check: called before each deletion, and
    raises where it must not go. Comes after :func:`sweep_duplicates`, so that what goes here is
    what no other document stands in for. Whether so many may go is for the caller to ask first.
    """
    listed = sorted(splits)
    past = {"range": {GENERATION: {"lte": newest}}}

    def pick() -> Iterator[str]:
        for start in range(0, len(listed), _QUERY_SPLITS):
            some = {"terms": {SPLIT: listed[start : start + _QUERY_SPLITS]}}
            query = {"bool": {"filter": [some, past]}}
            for page in pages(client, index, query, patience=patience):
                yield from _documents(page)

    return _until_clean(client, index, pick, check=check, stopping=stopping, patience=patience)


def _documents(copies: Iterable[Copy]) -> Iterator[str]:
    return (copy.document for copy in copies)


def _until_clean(
    client: OpenSearch,
    index: str,
    pick: Callable[[], Iterator[str]],
    *,
    check: Callable[[], None] = lambda: None,
    stopping: Callable[[], bool],
    patience: Patience,
) -> Swept:
    """Delete what a reading picks, until one picks nothing."""
    deleted = 0
    for _ in range(_MAX_PASSES):
        if not await_visible(client, index, patience=patience, stopping=stopping):
            return Swept(deleted, clean=False)
        found = delete_documents(
            client, index, pick(), generation=None, check=check, patience=patience
        )
        if not found:
            return Swept(deleted, clean=True)
        deleted += found
    raise OutputError(
        index,
        f"each of {_MAX_PASSES} readings found documents to delete",
        "Wait until nothing else writes to it, and run again.",
    )
