"""``report.html``: one file, nothing loaded from elsewhere, no script."""

from __future__ import annotations

from datetime import UTC, datetime

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from embed_job.excerpt import excerpt
from embed_job.report.charts import counted, shares, split_bars, stage_shares, timeline
from embed_job.report.model import Report

_EXCERPT = 240


def render_html(report: Report) -> str:
    """The page. Whatever comes from documents is escaped and shortened."""
    environment = Environment(
        loader=PackageLoader("embed_job.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": _count,
        "size": _size,
        "duration": _duration,
        "percent": _percent,
        "excerpt": _excerpt,
        "moment": _moment,
        "money": _money,
    }
    slowest = sorted(report.splits, key=lambda split: -split.seconds)[:10]
    return environment.get_template("template.html.j2").render(
        report=report,
        documents=counted(report.counts.documents),
        chunks=counted(report.counts.chunks),
        stages=stage_shares(report.stages_s),
        rejected=shares(report.rejected_by_reason),
        bars=split_bars(report.splits),
        lanes=timeline(report),
        slowest=slowest,
        spec=yaml.safe_dump(report.spec, sort_keys=False, allow_unicode=True),
    )


def _count(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 or number == int(number) else f"{number:,.1f}"


def _size(number: int) -> str:
    size = float(number)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:,.0f} {unit}" if unit == "B" or size >= 100 else f"{size:,.1f} {unit}"
        size /= 1024
    return f"{size:,.1f} TiB"


def _duration(seconds: float) -> str:
    if seconds < 0.1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    return f"{seconds / 3600:,.1f} h"


def _percent(share: float) -> str:
    return f"{share:.1%}"


def _money(dollars: float) -> str:
    return f"${dollars:,.2f}" if dollars >= 1 else f"${dollars:.3g}"


def _moment(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _excerpt(text: str, limit: int = _EXCERPT) -> str:
    return excerpt(text, limit=limit)
