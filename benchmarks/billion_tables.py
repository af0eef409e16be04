"""The findings of :mod:`benchmarks.billion` as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from benchmarks.fleet_model import PAGE
from benchmarks.results import Section, Table, Target

if TYPE_CHECKING:
    from benchmarks.billion import Job, Paper
    from benchmarks.fleet_model import Outcome
    from benchmarks.job_end import Ended
    from benchmarks.s3_requests import Counted

PUTS_PER_S, GETS_PER_S = 3_500, 5_500
"""What S3 answers a second below one partitioned prefix, at least, before it asks to slow down:
docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html, 2026-11."""
PARALLEL_READS = 16
SHARE_GOAL = 1.05

Ends = tuple["Ended", "Ended", "Ended"]


def section(
    paper: Paper,
    size: Mapping[str, float],
    jobs: Sequence[Job],
    ends: Ends,
    counted: tuple[Counted, Counted],
    wrong: list[str],
) -> Section:
    """size: as :func:`benchmarks.billion.measure` has it. wrong: where model and counts differ."""
    fewer, more = counted
    corpus = paper.corpus
    end_s = _end_s(paper, size, ends)
    return Section(
        title=f"{corpus.documents:,} documents over {paper.hosts} hosts, on paper",
        tables=[
            Table(("the job", ""), list(_facts(paper, size))),
            Table(_JOB_HEADERS, [_job_row(paper, job, end_s["in all"]) for job in jobs]),
            Table(_DEAD_HEADERS, [_dead_row(job) for job in jobs]),
            Table(_REQUEST_HEADERS, [row for job in jobs for row in _request_rows(paper, job)]),
            Table(("the end of the job, on one host", ""), list(_end_rows(size, ends, end_s))),
        ],
        targets=[
            Target(
                "largest share of a host",
                f"≤ {SHARE_GOAL} of the mean",
                f"{size['largest share']:.4f}",
                size["largest share"] <= SHARE_GOAL,
            ),
            Target(
                "requests a split, model and count",
                "the same",
                "the same" if not wrong else f"{len(wrong)} differ",
                not wrong,
            ),
        ],
        notes=[
            f"Documents of {corpus.tokens:g} tokens and {corpus.document_bytes:g} bytes in files "
            f"of {corpus.file_mib:g} MiB (lognormal, sigma {corpus.sigma:g}). Splits, shares, "
            "claims and relief are the engine's; time is simulated: assumed are "
            f"{paper.request_s * 1e3:g} ms for a small request, {paper.page_s * 1e3:g} ms for a "
            "page of a listing, hosts that come up within a minute, and rates as said. Requests a "
            f"split were counted in real jobs of {fewer.splits} and {more.splits} splits against a "
            "stand-in of S3. The end is the real code on a store in memory: "
            f"{ends[0].splits:,} manifests, and {ends[2].ids:,} ids scaled up.",
            f"Assumed prices: USD {paper.put_usd:g} for 1,000 PUT or LIST, {paper.get_usd:g} for "
            f"1,000 GET or HEAD, {paper.gb_month_usd:g} for a GB and month, machines as listed: "
            "AWS's public on-demand lists for us-east-1 as of 2026, not fetched: check them, and "
            "give your own by --machine, --put-usd and so on.",
        ],
        failures=wrong,
        data={"size": dict(size), "end_s": end_s, "jobs": {j.machine.name: _data(j) for j in jobs}},
    )


def _facts(paper: Paper, size: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    splits, corpus = size["splits"], paper.corpus
    yield "input", f"{corpus.documents * corpus.document_bytes / 1e9:,.0f} GB"
    yield "splits, each with a manifest, a part, a ledger and a file of ids", f"{splits:,.0f}"
    yield "documents a split", f"{corpus.documents / splits:,.0f}"
    yield "manifests", f"{splits * size['manifest_bytes'] / 1e6:,.0f} MB"
    yield "ids", f"{corpus.documents * 8 / 1e9:,.1f} GB"
    held_gb = size["output_bytes"] / 1e9
    yield "output", f"{held_gb:,.0f} GB, USD {held_gb * paper.gb_month_usd:,.0f} a month"
    yield "planned by each host, processor time", f"{size['planned_s']:.1f} s"
    yield "largest share ÷ mean", f"{size['largest share']:.4f}"


_JOB_HEADERS = (
    "machines", "tokens/s each", "basis", "hours", "workers idle, at the start and at the end",
    "USD for machines", "USD for requests",
)  # fmt: skip


def _job_row(paper: Paper, job: Job, end_s: float) -> tuple[str, ...]:
    machine, well = job.machine, job.well
    hours = (well.left_s + end_s) / 3600
    return (
        f"{paper.hosts} × {machine.name}",
        f"{machine.tokens_per_s:,.0f}",
        machine.basis,
        f"{hours:.2f}",
        f"{_idle(well, paper.hosts * machine.workers):.1%}",
        f"{hours * paper.hosts * machine.usd_per_hour:,.0f}",
        f"{_requests_usd(paper, well):.2f}",
    )


def _idle(outcome: Outcome, workers: int) -> float:
    """The share of the hosts' time in which a worker has nothing to do."""
    return 1 - sum(outcome.busy_s) / (outcome.done_s * workers)


def _requests_usd(paper: Paper, outcome: Outcome) -> float:
    asked = outcome.requests
    dear = asked["PUT"] + asked["LIST"]
    return dear / 1000 * paper.put_usd + asked["GET"] / 1000 * paper.get_usd


_DEAD_HEADERS = (
    "machines", "one host dead half way", "claims taken over", "embedded twice",
    "where nobody relieves it: submitted again for", "manifests read then",
)  # fmt: skip


def _dead_row(job: Job) -> tuple[str, ...]:
    well, dead, again = job.well, job.dead, job.resubmitted
    return (
        job.machine.name,
        f"{dead.done_s / well.done_s - 1:+.1%} ({dead.done_s - well.done_s:,.0f} s)",
        f"{dead.taken}",
        f"{dead.twice}",
        f"{again.left_s:,.0f} s",
        f"{again.requests['GET']:,}",
    )


_REQUEST_HEADERS = (
    "requests", "PUT", "GET, HEAD", "LIST", f"PUT/s at the peak, of {PUTS_PER_S:,}",
    f"GET/s at the peak, of {GETS_PER_S:,}",
)  # fmt: skip


def _request_rows(paper: Paper, job: Job) -> Iterator[tuple[str, ...]]:
    del paper
    whole = {"all well": job.well, "a dead host": job.dead, "submitted again": job.resubmitted}
    for name, outcome in whole.items():
        yield (
            f"{job.machine.name}, {name}",
            *(f"{outcome.requests[verb]:,}" for verb in ("PUT", "GET", "LIST")),
            _of_limit(outcome.peak_puts, PUTS_PER_S),
            _of_limit(outcome.peak_gets, GETS_PER_S),
        )


def _of_limit(peak: int, limit: int) -> str:
    over = peak > limit
    return f"{'**' if over else ''}{peak:,} ({peak / limit:.0%}){'**' if over else ''}"


def _end_s(paper: Paper, size: Mapping[str, float], ends: Ends) -> dict[str, float]:
    """Seconds of each step: waiting for S3 is reckoned, processor time is measured."""
    many, few, some = ends
    an_id_s = (some.judged_s - few.judged_s) / (some.ids - few.ids)
    waves = size["splits"] / PARALLEL_READS
    steps = {
        # manifests for the plan, parts and ids for the whole, all again for what is to be removed
        "listing": 8 * size["splits"] / PAGE * paper.page_s,
        "manifests": waves * paper.request_s,
        "ids": waves * paper.request_s,
        "processor, manifests and report": many.judged_s,
        "processor, ids": an_id_s * paper.corpus.documents,
    }
    return steps | {"in all": sum(steps.values())}


def _end_rows(
    size: Mapping[str, float], ends: Ends, end_s: Mapping[str, float]
) -> Iterator[tuple[str, str]]:
    many, few, some = ends
    a_manifest = many.peak_rss_bytes - few.peak_rss_bytes
    yield "listings, page after page", f"{end_s['listing']:,.0f} s"
    yield f"manifests, {PARALLEL_READS} at a time", f"{end_s['manifests']:,.0f} s"
    one_by_one_s = end_s["ids"] * PARALLEL_READS
    yield (
        f"ids, {PARALLEL_READS} at a time",
        f"{end_s['ids']:,.0f} s (one after the other: {one_by_one_s:,.0f} s)",
    )
    yield "processor time, manifests and report", f"{many.judged_s:,.1f} s, measured"
    yield (
        "processor time, ids compared",
        f"{end_s['processor, ids']:,.0f} s, from {some.ids - few.ids:,} measured",
    )
    yield "in all", f"{end_s['in all']:,.0f} s"
    yield (
        "memory of the host that ends the job",
        f"{many.peak_rss_bytes / 1e6:,.0f} MB ({a_manifest / size['splits'] / 1e3:.1f} kB a split)",
    )
    yield "disk for ids", f"{size['documents'] * 8 / 1e9:,.1f} GB"
    yield (
        "report.json, report.html",
        f"{many.report_bytes / 1e6:,.1f} MB, {many.html_bytes / 1e6:,.2f} MB",
    )


def _data(job: Job) -> dict[str, Any]:
    return {
        name: {
            "done_s": outcome.done_s,
            "left_s": outcome.left_s,
            "busiest": max(outcome.busy_s) / (sum(outcome.busy_s) / len(outcome.busy_s)),
            "twice": outcome.twice,
            "taken": outcome.taken,
            "requests": dict(outcome.requests),
            "peak_puts": outcome.peak_puts,
            "peak_gets": outcome.peak_gets,
        }
        for name, outcome in (
            ("well", job.well), ("dead", job.dead), ("resubmitted", job.resubmitted)
        )
    }  # fmt: skip
