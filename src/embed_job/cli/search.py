"""``embed-job search``: a question to an output."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from embed_job.dataset.search import Hit


def search_command(
    query: Annotated[str, typer.Argument(help="The question, in plain words.")],
    where: Annotated[
        str,
        typer.Option("--in", metavar="DIR|URI", help="A run's folder, or the folder of an output."),
    ] = "out/dry-run",
    top: Annotated[int, typer.Option(min=1, max=1000, help="How many answers.")] = 5,
    bundle: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The model bundle, where it is not where it was."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answers as JSON.")] = False,
) -> None:
    """Find what lies nearest to a question in an output. Exact; reads every vector."""
    from embed_job.dataset import open_dataset
    from embed_job.dataset.query import bundle_for, embed_query, find_output
    from embed_job.dataset.search import search
    from embed_job.storage import store_for

    folder = find_output(where)
    dataset = open_dataset(store_for(folder), folder)
    precision = dataset.descriptor.precision
    vector = embed_query(bundle_for(dataset.descriptor, bundle), query, precision=precision)
    hits = search(dataset, vector, top=top)
    if as_json:
        _print_json(query, hits, complete=dataset.complete)
    else:
        _print(hits, complete=dataset.complete)


def _print_json(query: str, hits: list[Hit], *, complete: bool) -> None:
    import orjson

    answer = {"query": query, "complete": complete, "hits": hits}
    sys.stdout.buffer.write(orjson.dumps(answer, option=orjson.OPT_INDENT_2) + b"\n")


def _print(hits: list[Hit], *, complete: bool) -> None:
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    from embed_job.excerpt import excerpt

    console = Console(highlight=False)
    for hit in hits:
        line = Text.assemble((f"{hit.score:.3f}  ", "green"), (excerpt(hit.id), "bold"))
        line.append(f"  characters {hit.char_start}–{hit.char_end}", style="dim")
        for name, value in hit.metadata.items():
            if value is not None:
                line.append(f"  {excerpt(f'{name}={value}', limit=60)}", style="dim")
        console.print(line)
        if hit.text is not None:
            console.print(Padding(Text(excerpt(hit.text)), (0, 0, 0, 7)))
    if not hits:
        console.print(Text("The output has no rows."))
    if not complete:
        console.print(Text("The job is not finished: these are the splits so far.", style="yellow"))
