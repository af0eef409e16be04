"""A peer's trial before anything is timed: its best batch size, its token ids, its vectors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.corpus import FIELDS, read_jsonl, text_of, write_jsonl
from benchmarks.job import Job, cosines, output_vectors, read_vectors, run_job
from benchmarks.peers.programs import CannotRunError, Machine, Program, ProgramRan, run_program
from benchmarks.results import say
from embed_job.bundle import open_bundle
from embed_job.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Sample:
    """Some of the documents. vectors, by id, and lengths and ids of tokens are ours."""

    source: Path
    vectors: dict[str, npt.NDArray[np.float32]]
    lengths: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Trial:
    """ran: with the best batch size. least: cosine against ours. other_ids: documents of the sample
    for which the model was given other tokens. why_not: what kept it from running, else empty."""

    program: Program
    ran: ProgramRan | None = None
    least: float = 0.0
    other_ids: int = 0
    why_not: str = ""


def sample_of(work: Path, corpus: Path, bundle: Path, *, documents: int) -> Sample:
    """Documents spread over a corpus, with our ids and our vectors in fp32."""
    records = list(read_jsonl(corpus))
    source = work / f"sample-{corpus.name}"
    write_jsonl(source, records[:: max(1, len(records) // documents)][:documents])
    job = Job(work, f"sample-{corpus.stem}", source, bundle, options={"chunk.strategy": "truncate"})
    run_job(job)
    opened = open_bundle(bundle, verify=False)
    texts = [text_of(record, FIELDS) for record in read_jsonl(source)]
    tokens, _ = Tokenizer(opened).encode_truncated(texts, opened.max_tokens)
    return Sample(source, output_vectors(job), tokens.lengths, tokens.ids)


def try_program(program: Program, sample: Sample, machine: Machine, *, quick: bool) -> Trial:
    """Search and check; a peer that cannot run is no error, the table says why.

    quick: no search, the first batch size is taken.
    """
    say(f"trying {program.name}")
    ids = machine.work / "trial-ids.npz"
    out = machine.work / "peers" / f"trial-{program.module}-{program.variant}.parquet"
    out.parent.mkdir(exist_ok=True)
    sizes = [str(size) for size in program.batch_sizes[: 1 if quick else None]]
    options = ["--batch-size", sizes[0]] if quick else ["--candidates", *sizes]
    try:
        ran = run_program(program, sample.source, out, machine, ["--ids-out", str(ids), *options])
        least = float(cosines(read_vectors(parts_of(out)), sample.vectors).min())
    except (CannotRunError, RuntimeError) as error:
        say(f"  it cannot run: {error}")
        return Trial(program, why_not=str(error))
    return Trial(program, ran, least, _other_ids(np.load(ids), sample))


def parts_of(out: Path) -> list[Path]:
    """The Parquet files of an output, in order."""
    return sorted(out.glob("**/*.parquet")) if out.is_dir() else [out]


def _other_ids(theirs: dict[str, npt.NDArray[np.int64]], sample: Sample) -> int:
    """Documents whose token ids differ from ours."""
    ours = np.split(sample.ids, np.cumsum(sample.lengths)[:-1])
    found = np.split(theirs["ids"], np.cumsum(theirs["lengths"])[:-1])
    if len(ours) != len(found):
        return max(len(ours), len(found))
    return sum(not np.array_equal(a, b) for a, b in zip(ours, found, strict=True))
