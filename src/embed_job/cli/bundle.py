"""``embed-job bundle``: a model to a bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embed_job.errors import SpecError

if TYPE_CHECKING:
    from embed_job.bundle.build import Built


def bundle_command(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A sentence-transformers folder, a hub id (owner/model), or default.",
        ),
    ],
    *,
    out: Annotated[Path, typer.Option("--out", help="The bundle's folder.")],
    revision: Annotated[
        str | None, typer.Option("--revision", help="Revision on the hub: a commit, tag or branch.")
    ] = None,
    precision: Annotated[
        str,
        typer.Option(
            "--precision",
            help="fp32 (fp16 and bf16 need no more), or int8 to add the lossy one, faster on CPUs.",
        ),
    ] = "fp32",
    sample: Annotated[
        Path | None,
        typer.Option("--sample", help="A .jsonl, .txt or .md file to measure int8's loss on."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Answer with JSON.")] = False,
) -> None:
    """Make a model bundle: the graph, its tokenizer, golden vectors and what they are."""
    if precision not in ("fp32", "int8"):
        raise SpecError("--precision", f"{precision!r} is not known", "Use fp32 or int8.")
    from embed_job.bundle.build import build_bundle
    from embed_job.bundle.proof import installed_peers
    from embed_job.bundle.sample import sample_texts

    built = build_bundle(
        source,
        out,
        revision=revision,
        precisions=("fp32", "int8") if precision == "int8" else ("fp32",),
        sample=None if sample is None else sample_texts(sample),
        independent=installed_peers(),
    )
    typer.echo(json.dumps(_facts(built)) if as_json else _summary(built))


def _facts(built: Built) -> dict[str, object]:
    info = built.bundle.info
    loss = built.loss
    return {
        "path": str(built.bundle.path),
        "made": built.made,
        "source": info.source,
        "revision": info.revision,
        "licence": info.licence,
        "dimension": info.dimension,
        "max_tokens": info.max_tokens,
        "precisions": info.precisions,
        "fingerprint": info.fingerprint,
        "least_cosine": built.checks,
        "int8_cosine": loss and {"texts": loss.texts, "mean": loss.mean, "least": loss.least},
    }


def _summary(built: Built) -> str:
    info = built.bundle.info
    what = "made" if built.made else "is there already, and sound; nothing to do"
    lines = [
        f"{built.bundle.path} {what}",
        f"  model       {info.source}" + (f" @ {info.revision[:12]}" if info.revision else ""),
        f"  vectors     {info.dimension} numbers, {info.pooling} pooling, "
        f"{info.max_tokens} tokens at most",
        f"  precisions  {', '.join(info.precisions)}",
        f"  licence     {info.licence or 'not stated by the model'}",
        f"  fingerprint {info.fingerprint}",
    ]
    for name, least in built.checks.items():
        lines.append(f"  checked     against {name}: least cosine {least:.7f}")
    if built.loss is not None:
        lines.append(
            f"  int8 loses  cosine to fp32 over {built.loss.texts} texts: "
            f"mean {built.loss.mean:.4f}, least {built.loss.least:.4f}"
        )
    return "\n".join(lines)
