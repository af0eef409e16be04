"""Peak resident memory of a worker: flat in the number of documents, and small with the model."""

from __future__ import annotations

from pathlib import Path

from benchmarks.corpus import write_corpus, write_repeated, write_short
from benchmarks.job import Job, run_job
from benchmarks.model import model_bundle
from benchmarks.results import Section, Setting, Table, Target, main, say

MIB = 1 << 20
MODEL_GOAL_MB = 600


def measure(setting: Setting) -> Section:
    """The null model over three sizes, the largest as one split as well; then the real one."""
    sizes = [10_000, 50_000] if setting.size == "ci" else [10_000, 100_000, 1_000_000]
    bundle = model_bundle(setting.work)
    peaks: dict[str, int] = {}
    source = setting.work / "memory.jsonl"
    for documents in sizes:
        say(f"{documents:,} documents, null model")
        write_short(source, documents=documents)
        peaks[f"null model, {documents:,} documents"] = _null(setting.work, source, bundle)
    flat = list(peaks.values())
    peaks[f"null model, {sizes[-1]:,} documents in one split"] = _null(
        setting.work, source, bundle, split_mib=1024
    )
    source.unlink()
    say("default model, full windows")
    peaks["default model, full windows"] = _with_model(setting, bundle)
    spread = max(flat) / min(flat) - 1
    model_mb = peaks["default model, full windows"] / 1e6
    return Section(
        title="Peak memory of a worker",
        tables=[
            Table(
                ("", "MB (VmHWM of the largest worker)"),
                [(name, f"{peak / 1e6:.0f}") for name, peak in peaks.items()],
            )
        ],
        targets=[
            Target(
                f"from {sizes[0]:,} to {sizes[-1]:,} documents",
                "flat, ± 10 %",
                f"+ {spread:.1%} from least to most",
                spread <= 0.20,
            ),
            Target(
                "with the default model",
                f"< {MODEL_GOAL_MB} MB",
                f"{model_mb:.0f} MB",
                model_mb < MODEL_GOAL_MB,
            ),
        ],
        notes=[
            "± 10 % is read as: the most is at most 1.2 times the least. The default model is "
            "given documents that repeat, so that windows, vectors and rows are of full size "
            "while the forward pass stays short."
        ],
        data={"peak_rss_bytes": peaks},
    )


def _null(work: Path, source: Path, bundle: Path, *, split_mib: int | None = None) -> int:
    options: dict[str, object] = {"model.engine": "null", "execution.workers": 1}
    if split_mib:
        options["input.split_mib"] = split_mib
    job = Job(work, "memory", source, bundle, fields=("text",), metadata=(), options=options)
    return int(run_job(job).report["peak_rss_bytes"])


def _with_model(setting: Setting, bundle: Path) -> int:
    corpus, repeated = setting.work / "once.jsonl", setting.work / "repeated.jsonl"
    count = write_corpus(corpus, documents=setting.pick(ci=100, full=200))
    write_repeated(repeated, corpus, times=20_000 // count)
    options: dict[str, object] = {"execution.workers": 1, "input.split_mib": 1024}
    ran = run_job(Job(setting.work, "memory", repeated, bundle, options=options))
    return int(ran.report["peak_rss_bytes"])


if __name__ == "__main__":
    main(measure, __doc__)
