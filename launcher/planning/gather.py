"""What a plan reads before it can say anything: input, output, model, account."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from embed_job.errors import SpecError, UserError
from embed_job.spec import JobSpec
from launcher.aws.clients import Clients
from launcher.planning.index import IndexFacts, find_index
from launcher.planning.listing import ListingFacts, list_objects
from launcher.planning.model import ModelFacts, find_model, lacking_precision
from launcher.planning.sample import Look, look_into
from launcher.planning.surroundings import committed_splits, siblings_of, whose_output
from launcher.rules.problems import Problem


@dataclass(frozen=True, slots=True)
class Gathered:
    """What was read; problems: what could not be. index: that the job fills, where it does."""

    model: ModelFacts | None = None
    model_note: str = ""
    listing: ListingFacts | None = None
    look: Look | None = None
    index: IndexFacts | None = None
    siblings: tuple[str, ...] = ()
    committed: int = 0
    problems: tuple[Problem, ...] = ()


def gather(spec: JobSpec, clients: Clients, folder: Path) -> Gathered:
    found = _gather_index(spec, _gather_places(spec, clients, folder))
    # One fault of the spec may be met more than once.
    return replace(found, problems=tuple(dict.fromkeys(found.problems)))


def _gather_places(spec: JobSpec, clients: Clients, folder: Path) -> Gathered:
    found = Gathered()
    try:
        model, note = find_model(spec)
        found = replace(found, model=model, model_note=note)
        lacking = lacking_precision(spec)
        found = replace(found, problems=(lacking,) if lacking else ())
    except SpecError as error:
        found = _with_problem(found, error, error.where)
    if spec.parquet.uri.startswith("s3://"):
        found = _gather_output(spec, clients, found)
    if not spec.input.uri.startswith("s3://"):
        return found  # a rule tells of it
    try:
        listing = list_objects(clients.store, spec.input.uri, folder)
        siblings = siblings_of(clients.s3, spec.input.uri, single=listing.single)
        found = replace(found, listing=listing, siblings=siblings)
        chunker = found.model.chunker if found.model else None
        return replace(found, look=look_into(clients.store, listing, spec, chunker=chunker))
    except UserError as error:
        return _with_problem(found, error, "input.uri")


def _gather_index(spec: JobSpec, found: Gathered) -> Gathered:
    rows = found.look.contents.chunks if found.look else None
    try:
        return replace(found, index=find_index(spec, rows=rows))
    except SpecError as error:
        return _with_problem(found, error, error.where)


def _gather_output(spec: JobSpec, clients: Clients, found: Gathered) -> Gathered:
    where = f"{spec.parquet_key}.uri"
    try:
        against = whose_output(clients.store, spec)
        if against is not None:
            return _with_problem(found, against, where)
        return replace(found, committed=committed_splits(clients.store, spec.parquet.uri))
    except PermissionError as error:
        refused = UserError(
            where, f"may not be read ({error})", "Grant s3:GetObject and s3:ListBucket on it."
        )
        return _with_problem(found, refused, where)


def _with_problem(found: Gathered, error: UserError, where: str) -> Gathered:
    at = error.where if error.where.startswith(("input.", "chunk.", "model.")) else where
    what = error.what if error.where in {at, where} else f"{error.where}: {error.what}"
    problem = Problem("error", at, what, error.hint)
    return replace(found, problems=(*found.problems, problem))


def account_of(clients: Clients) -> str | None:
    """Whose account this is; None where nobody says."""
    if clients.known_region is None:
        return None
    try:
        return str(clients.sts.get_caller_identity()["Account"])
    except (BotoCoreError, ClientError):
        return None
