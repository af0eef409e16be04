"""``embed-job search``: a question to an output, or to the index loaded from it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from embed_job.dataset.search import Hit
    from embed_job.spec import JobSpec
    from embed_job.spec.opensearch import OpenSearchOutput


@dataclass(frozen=True, slots=True)
class _Answer:
    """hits, and what the user should know of them. index: None where an output was searched."""

    hits: list[Hit]
    complete: bool
    index: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class _Question:
    """What is asked of an index, as of the command's arguments."""

    query: str
    top: int
    filters: tuple[str, ...]
    hybrid: bool
    bundle: Path | None


def search_command(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="The question, in plain words.")],
    where: Annotated[
        str,
        typer.Option(
            "--in",
            metavar="SPEC|DIR|URI",
            help="A spec, to search its index; a run's folder, or the folder of an output.",
        ),
    ] = "out/dry-run",
    top: Annotated[int, typer.Option(min=1, max=1000, help="How many answers.")] = 5,
    filters: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            metavar="FIELD=VALUE",
            help="Of an index: what must hold, as language=en; =, !=, <, <=, > and >= are known. "
            "Given several times, all must hold.",
        ),
    ] = None,
    hybrid: Annotated[
        bool, typer.Option("--hybrid", help="Of an index: search for the words, too.")
    ] = False,
    bundle: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The model bundle, where it is not where it was."),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the spec."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answers as JSON.")] = False,
) -> None:
    """Find what lies nearest to a question: in an index, or exactly, in an output."""
    from embed_job.cli.spec_argument import as_typed, spec_of
    from embed_job.errors import UserError

    spec = spec_of(where, overrides or [])
    if spec is not None and spec.opensearch is not None:
        asked = _Question(query, top, tuple(filters or ()), hybrid, bundle)
        answer = _ask_index(spec, spec.opensearch, asked, as_typed(where, overrides))
    elif filters or hybrid:
        flag = "--filter" if filters else "--hybrid"
        raise UserError(flag, "is for an index", "Give --in a spec with an opensearch output.")
    else:
        answer = _ask_output(_folder(where, spec, overrides), query, top, bundle)
    if as_json:
        _print_json(query, answer)
    else:
        _print(answer)


def _folder(where: str, spec: JobSpec | None, overrides: list[str] | None) -> str:
    """Of the output to search."""
    from embed_job.cli.spec_argument import as_typed
    from embed_job.dataset.of_spec import find_spec_output
    from embed_job.dataset.query import find_output

    if spec is None:
        return find_output(where)
    return find_spec_output(spec, named=as_typed(where, overrides))


def _ask_output(folder: str, query: str, top: int, path: Path | None) -> _Answer:
    """Exact; reads every vector."""
    from embed_job.dataset import open_dataset
    from embed_job.dataset.query import bundle_for, embed_query
    from embed_job.dataset.search import search
    from embed_job.storage import store_for

    dataset = open_dataset(store_for(folder), folder)
    precision = dataset.descriptor.precision
    vector = embed_query(bundle_for(dataset.descriptor, path), query, precision=precision)
    return _Answer(search(dataset, vector, top=top), dataset.complete)


def _ask_index(spec: JobSpec, output: OpenSearchOutput, asked: _Question, named: str) -> _Answer:
    """The index tells which model made it; the Parquet output need not be within reach.

    named: the spec, as the user types it.
    """
    from embed_job.dataset.query import embed_query, open_same_model
    from embed_job.fingerprint import job_fingerprint
    from embed_job.opensearch.client import connect
    from embed_job.opensearch.errors import explained
    from embed_job.opensearch.search.ask import search_index
    from embed_job.opensearch.search.found import find_index

    _refuse_null(spec)
    with explained(output.url), connect(output) as client:
        index = find_index(client, output, lambda: _name(spec, output, named))
        precision = spec.model.precision
        model = open_same_model(
            asked.bundle or spec.model.bundle,
            precision=precision,
            model_fingerprint=index.meta.model_fingerprint,
        )
        vector = embed_query(model, asked.query, precision=precision)
        hits = search_index(
            client, index, vector, asked.query,
            top=asked.top, filters=asked.filters, hybrid=asked.hybrid,
        )  # fmt: skip
    notes = []
    if output.alias and not index.promoted:
        notes.append(
            f"{output.alias} is not there yet: these are of {index.index}, before its promotion."
        )
    wanted = job_fingerprint(
        spec,
        model=index.meta.model_fingerprint,
        prompt=model.prompt_text(spec.model.prompt),
        max_tokens=spec.chunk.max_tokens or model.max_tokens,
    )
    if wanted != index.meta.fingerprint:
        notes.append(
            f"{index.index} was made with another prompt, chunking or choice of fields than the "
            "spec has now."
        )
    return _Answer(hits, complete=True, index=index.index, note=" ".join(notes) or None)


def _refuse_null(spec: JobSpec) -> None:
    from embed_job.errors import OutputError

    if spec.model.engine == "null":
        raise OutputError(
            spec.name, "has engine null, whose vectors mean nothing", "Search one of a real model."
        )


def _name(spec: JobSpec, output: OpenSearchOutput, named: str) -> str:
    """The spec's index, where no alias leads to it."""
    from embed_job.dataset.of_spec import open_spec_output
    from embed_job.opensearch.target import IndexTarget

    if output.index:
        return output.index
    return IndexTarget(output, open_spec_output(spec, named=named).descriptor).name


def _print_json(query: str, answer: _Answer) -> None:
    import orjson

    plain = {"query": query, "complete": answer.complete, "hits": answer.hits}
    if answer.index is not None:
        plain |= {"index": answer.index, "note": answer.note}
    sys.stdout.buffer.write(orjson.dumps(plain, option=orjson.OPT_INDENT_2) + b"\n")


def _print(answer: _Answer) -> None:
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    from embed_job.excerpt import excerpt

    console = Console(highlight=False)
    for hit in answer.hits:
        line = Text.assemble((f"{hit.score:.3f}  ", "green"), (excerpt(hit.id), "bold"))
        line.append(f"  characters {hit.char_start}–{hit.char_end}", style="dim")
        for name, value in hit.metadata.items():
            if value is not None:
                line.append(f"  {excerpt(f'{name}={value}', limit=60)}", style="dim")
        console.print(line)
        if hit.text is not None:
            console.print(Padding(Text(excerpt(hit.text)), (0, 0, 0, 7)))
    if not answer.hits:
        nothing = "The output has no rows." if answer.index is None else "Nothing was found."
        console.print(Text(nothing))
    if not answer.complete:
        console.print(Text("The job is not finished: these are the splits so far.", style="yellow"))
    if answer.note:
        console.print(Text(answer.note, style="yellow"))
