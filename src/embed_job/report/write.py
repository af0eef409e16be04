"""Put a report where its reader looks for it."""

from __future__ import annotations

from pathlib import Path

import orjson

from embed_job.errors import OutputError
from embed_job.report.html import render_html
from embed_job.report.model import Report
from embed_job.storage.local import LocalStore


def render_json(report: Report) -> bytes:
    """``report.json``, indented."""
    return orjson.dumps(report.model_dump(mode="json"), option=orjson.OPT_INDENT_2) + b"\n"


def write_report(report: Report, folder: Path) -> None:
    """Write ``report.json`` and ``report.html`` into folder, each whole or not at all.

    OutputError: the folder cannot be written.
    """
    store = LocalStore()
    try:
        store.replace(str(folder / "report.json"), render_json(report))
        store.replace(str(folder / "report.html"), render_html(report).encode())
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        hint = "The vectors are in place; run again with --report DIR elsewhere."
        raise OutputError(str(folder), f"the report cannot be written: {why}", hint) from error
