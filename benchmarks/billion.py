"""A billion documents over a hundred hosts, on paper: the engine's own plan, shares and claims in
simulated time, its real end of a job, requests as counted on a stand-in; prices are arguments.

Nothing here ran on AWS. What is assumed stands in the table as an assumption.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np

from benchmarks.billion_tables import section
from benchmarks.fleet_model import Fleet, Outcome, World
from benchmarks.job_end import Ended, end_apart
from benchmarks.model import model_bundle
from benchmarks.results import Section, Setting, arguments, say, setting_of
from benchmarks.s3_requests import A_SPLIT, AT_THE_END, Counted, a_split, count_job, counting_s3
from embed_job.fleet.shares import lpt_shares
from embed_job.source import Compression, Format, SourceFile, Split
from embed_job.source.plan import plan_splits
from embed_job.spec import InputSpec
from embed_job.storage.local import LocalStore

RANGE_BYTES, WHOLE_PART_BYTES, PART_BYTES = 8 << 20, 64 << 20, 16 << 20


@dataclass(frozen=True, slots=True)
class Machine:
    """workers: splits that a host embeds at a time. tokens_per_s: of the whole host. basis: where
    that comes from."""

    name: str
    workers: int
    tokens_per_s: float
    usd_per_hour: float
    basis: str


MACHINES = (
    Machine("ml.c7i.4xlarge", 8, 34_800, 0.857, "8 cores × 4,351 tokens/s measured on EPYC Zen 4"),
    Machine("ml.g5.xlarge", 1, 1_000_000, 1.408, "not measured, assumption"),
    Machine("ml.p5.4xlarge", 1, 8_000_000, 8.26, "not measured: the goal for an H100"),
)
"""Prices are on-demand in us-east-1 as remembered from AWS's public lists of 2026, not fetched:
look them up before they are used (aws.amazon.com/sagemaker/ai/pricing), and give --machine."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """documents of so many tokens and bytes each, in files of lognormal sizes. row_bytes: of a row
    of the output."""

    documents: int
    tokens: float
    document_bytes: float
    row_bytes: float
    file_mib: float
    sigma: float
    split_mib: float | None

    def splits(self) -> list[Split]:
        """As every host of a job plans them; JSONL is cut by sizes alone."""
        total = self.documents * self.document_bytes
        count = max(1, round(total / (self.file_mib * (1 << 20))))
        shape = np.random.default_rng(0).lognormal(0, self.sigma, count)
        sizes = np.maximum(1, shape / shape.sum() * total).astype(np.int64)
        files = [
            SourceFile(f"s3://b/{n:06}", f"{n:06}.jsonl", size, f"etag:{n:032x}", Format.JSONL,
                       Compression.NONE)
            for n, size in enumerate(sizes.tolist())
        ]  # fmt: skip
        spec = InputSpec(uri="s3://b/", split_mib=self.split_mib)
        return plan_splits(LocalStore(), files, spec)


@dataclass(frozen=True, slots=True)
class Paper:
    """What the options say."""

    corpus: Corpus
    hosts: int
    machines: Sequence[Machine]
    request_s: float
    page_s: float
    put_usd: float
    get_usd: float
    gb_month_usd: float


@dataclass(frozen=True, slots=True)
class Job:
    """A machine's job: all well; one host dead half way; what is left resubmitted."""

    machine: Machine
    well: Outcome
    dead: Outcome
    resubmitted: Outcome


def simulate(paper: Paper, sizes: dict[str, int], machine: Machine, split: Counter[str]) -> Job:
    """split: requests of a split by whoever embeds it, PUT (claims left out) and GET."""
    corpus = paper.corpus
    host_bytes_per_s = machine.tokens_per_s / corpus.tokens * corpus.document_bytes
    world = partial(
        World, hosts=paper.hosts, workers=machine.workers,
        bytes_per_s=host_bytes_per_s / machine.workers, request_s=paper.request_s,
        page_s=paper.page_s, put_a_split=split["PUT"], get_a_split=split["GET"],
    )  # fmt: skip
    say(f"{machine.name}: all well")
    well = Fleet(sizes, world(), seed=0).run()
    say(f"{machine.name}: a dead host")
    dead = Fleet(sizes, world(), seed=0).run(dies=paper.hosts // 2, at_s=well.done_s / 2)
    # Sharded by S3 key nobody relieves a dead host: its part is committed when all is submitted
    # again.
    owners = lpt_shares(list(sizes.values()), paper.hosts)
    lost = [name for name, owner in zip(sizes, owners, strict=True) if owner == paper.hosts // 2]
    left = frozenset(lost[len(lost) // 2 :])
    say(f"{machine.name}: resubmitted")
    committed = [name for name in sizes if name not in left]
    again = Fleet(sizes, world(), seed=1, committed=committed).run()
    return Job(machine, well, dead, again)


def requests_of_split(mean_bytes: float, part_bytes: float) -> Counter[str]:
    """By PUT and GET (HEAD among them), claims and the end of the job left out; from A_SPLIT, with
    the ranges and parts that a split of this size has more than a small one."""
    found: Counter[str] = Counter()
    for (verb, kind), count in A_SPLIT.items():
        if kind != "claims" and (verb, kind) not in AT_THE_END:
            found["PUT" if verb == "PUT" else "GET"] += count
    found["GET"] += int(mean_bytes // RANGE_BYTES)
    if part_bytes > WHOLE_PART_BYTES:
        found["PUT"] += int(-(-part_bytes // PART_BYTES)) + 1  # parts, begin and end, less the one
    return found


def measure(setting: Setting, paper: Paper) -> Section:
    """Count, hold the model against it, plan, simulate, end, price."""
    fewer, more = _counted(setting)
    wrong = _compare(a_split(fewer, more))
    began = time.process_time()
    splits = paper.corpus.splits()
    sizes = {split.identity("0" * 64): split.bytes for split in splits}
    planned_s = time.process_time() - began
    mean_documents = paper.corpus.documents / len(sizes)
    mean_bytes = float(np.mean(list(sizes.values())))
    a_split_asks = requests_of_split(mean_bytes, paper.corpus.row_bytes * mean_documents)
    jobs = [simulate(paper, sizes, machine, a_split_asks) for machine in paper.machines]
    say("the end of the job")
    ended = _ended(setting, len(sizes), round(mean_documents))
    size = {
        "splits": len(sizes),
        "documents": paper.corpus.documents,
        "largest share": float(_largest(sizes, paper.hosts)),
        "planned_s": planned_s,
        "manifest_bytes": more.manifest_bytes / more.splits,
        "output_bytes": paper.corpus.row_bytes * paper.corpus.documents,
    }
    return section(paper, size, jobs, ended, (fewer, more), wrong)


def _counted(setting: Setting) -> tuple[Counted, Counted]:
    least = setting.pick(ci=3, full=10)
    bundle = model_bundle(setting.work)
    with counting_s3() as counts:
        say(f"counting requests: {least} and {2 * least} splits")
        return (
            count_job(counts, bundle, splits=least),
            count_job(counts, bundle, splits=2 * least),
        )


def _compare(counted: dict[tuple[str, str], float]) -> list[str]:
    """Where the model of a split's requests is not what was counted. Listings follow from time and
    not from splits: the simulation makes them where hosts look at each other."""
    return [
        f"{verb} {kind}: the model has {A_SPLIT.get((verb, kind), 0)} a split, counted were "
        f"{counted.get((verb, kind), 0):g}"
        for verb, kind in sorted(A_SPLIT.keys() | counted.keys())
        if verb != "LIST" and A_SPLIT.get((verb, kind), 0) != counted.get((verb, kind), 0)
    ]


def _ended(setting: Setting, splits: int, ids: int) -> tuple[Ended, Ended, Ended]:
    """All splits with few ids; and two jobs of few splits with all their ids."""
    some = setting.pick(ci=20, full=300)
    return end_apart(splits, 1), end_apart(some // 3, ids), end_apart(some, ids)


def _largest(sizes: dict[str, int], hosts: int) -> float:
    weights = np.array(list(sizes.values()))
    loads = np.bincount(lpt_shares(weights, hosts), weights=weights, minlength=hosts)
    return float(loads.max() / loads.mean())


def machine_of(text: str) -> Machine:
    """NAME:WORKERS:TOKENS_PER_S:USD_PER_HOUR."""
    name, workers, rate, price = text.split(":")
    return Machine(name, int(workers), float(rate), float(price), "as given")


def parse() -> argparse.ArgumentParser:
    """The options; latencies are assumptions, S3's prices are of its public list for us-east-1,
    S3 Standard (aws.amazon.com/s3/pricing, 2026-11)."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--documents", type=int)
    parser.add_argument("--hosts", type=int)
    parser.add_argument("--tokens", type=float, default=90, help="of a document")
    parser.add_argument("--document-bytes", type=float, default=480, help="of its JSON line")
    parser.add_argument("--row-bytes", type=float, default=384 * 4 + 80, help="as docs/plan.md has")
    parser.add_argument("--file-mib", type=float, default=256, help="of a file, mean")
    parser.add_argument("--sigma", type=float, default=1.0, help="of the files' sizes, lognormal")
    parser.add_argument("--split-mib", type=float, help="input.split_mib of the spec")
    parser.add_argument("--request-s", type=float, default=0.03, help="a small request to S3")
    parser.add_argument("--page-s", type=float, default=0.15, help="a page of a listing")
    parser.add_argument("--put-usd", type=float, default=0.005, help="1,000 PUT, POST or LIST")
    parser.add_argument("--get-usd", type=float, default=0.0004, help="1,000 GET or HEAD")
    parser.add_argument("--gb-month-usd", type=float, default=0.023, help="a GB for a month")
    form = "NAME:WORKERS:TOKENS_PER_S:USD_PER_HOUR"
    parser.add_argument("--machine", type=machine_of, action="append", metavar=form)
    return parser


def paper_of(options: argparse.Namespace) -> Paper:
    ci = options.size == "ci"
    corpus = Corpus(
        options.documents or (20_000_000 if ci else 1_000_000_000), options.tokens,
        options.document_bytes, options.row_bytes, options.file_mib, options.sigma,
        options.split_mib,
    )  # fmt: skip
    machines = options.machine or (MACHINES[:1] if ci else MACHINES)
    return Paper(
        corpus, options.hosts or (10 if ci else 100), machines, options.request_s, options.page_s,
        options.put_usd, options.get_usd, options.gb_month_usd,
    )  # fmt: skip


if __name__ == "__main__":
    given = parse().parse_args()
    made = measure(setting_of(given), paper_of(given))
    if given.json:
        given.json.write_text(json.dumps(asdict(made), indent=1), encoding="utf-8")
    print(made.markdown())
    sys.exit(1 if made.failures else 0)
