"""What a diff foretells, against what the run then does; and that it touches nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embed_job.chunk.chunker import Chunker
from embed_job.errors import BundleError, ExitCode
from embed_job.plan import plan_listed
from embed_job.reuse.diff.facts import Diff
from embed_job.reuse.diff.look import look
from embed_job.reuse.diff.make import make_diff
from embed_job.source.listing import Listing
from embed_job.spec import JobSpec
from launcher.planning.model import find_model
from tests.functional.conftest import Job, sentence

DiffOf = Callable[..., Diff]


@pytest.fixture
def diff_of(tmp_path_factory: pytest.TempPathFactory) -> DiffOf:
    """The diff of a job; with the listing cut short by `without`."""

    def diff(job: Job, *, without: str = "") -> Diff:
        spec = JobSpec.model_validate(job.spec)
        plan, note = look(spec)
        if without:
            files = tuple(file for file in plan.listing.files if file.name != without)
            plan = plan_listed(spec, Listing(files), plan.dataset, plan.place, claim=False)
        return make_diff(
            plan, chunker=chunker_of(spec), scratch=tmp_path_factory.mktemp("diff"), note=note
        )

    return diff


def chunker_of(spec: JobSpec) -> Chunker | None:
    model, _ = find_model(spec)
    return model.chunker if model else None


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file below a folder: its time of change and its inode."""
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_ino) for path in folder.rglob("*")}


def done(job: Job) -> dict[str, Any]:
    """What the last run did."""
    resumed: dict[str, Any] = job.report()["resumed"]
    return resumed


def corpus(job: Job, numbers: range, **changed: dict[str, Any]) -> list[dict[str, Any]]:
    """Documents with a kind and a text of their own; changed: by id, with a d in front."""
    return [
        {"id": f"d{n}", "text": f"{sentence(n)} {sentence(n + 7000)}", "kind": f"k{n % 3}"}
        | changed.get(f"d{n}", {})
        for n in numbers
    ]


@pytest.fixture
def ready(job: Job) -> Job:
    """Three files of 40 documents, embedded."""
    job.spec["input"] |= {"fields": {"metadata": ["kind"]}, "max_rejected_fraction": 1}
    job.spec["execution"] = {"workers": 1}
    job.allow_deletions()
    for file in range(3):
        job.write(f"{file}.jsonl", corpus(job, range(file * 40, file * 40 + 40)))
    assert job.run().exit_code == ExitCode.OK
    return job


def test_a_diff_foretells_what_the_run_does(ready: Job, diff_of: DiffOf) -> None:
    documents = corpus(
        ready,
        range(40, 78),  # d78 and d79 are gone
        d41={"text": "quite another text"},
        d42={"kind": "other"},
        d43={"text": f"{sentence(43)} {sentence(7043)}", "kind": None},
    )
    moved = {"id": "moved", "text": documents[10]["text"], "kind": "k"}
    bad = {"id": "bad", "kind": "no text"}
    ready.write("1.jsonl", [*documents, {"id": "new", "text": "new", "kind": "k"}, moved, bad])
    before = tree(ready.folder)

    diff = diff_of(ready)

    assert tree(ready.folder) == before
    facts = diff.documents
    assert (facts.added, facts.text, facts.metadata, facts.gone) == (2, 1, 2, 2)
    assert (facts.kept, facts.read, facts.unchanged, facts.rejected) == (80, 41, 35, 1)
    assert facts.balanced
    assert facts.before == 120
    assert diff.delete_fraction == pytest.approx(2 / 120)
    examples = diff.examples
    assert set(examples.added) == {"new", "moved"}
    assert (examples.text, set(examples.metadata)) == (("d41",), {"d42", "d43"})
    assert set(examples.gone) == {"d78", "d79"}
    assert (diff.generation, diff.problems, diff.notes) == (1, (), ())
    # Two texts are new; those of d42, d43 and moved are known.
    assert (diff.work.embedded_chunks, diff.work.reused_chunks) == (2, 3)

    assert ready.run().exit_code == ExitCode.OK
    ran = done(ready)
    assert ran["documents_carried"] == diff.work.carried == 35
    assert ran["chunks_reused"] == diff.work.reused_chunks
    assert ran["chunks_embedded"] == diff.work.embedded_chunks


def test_where_nothing_changed_nothing_is_read(ready: Job, diff_of: DiffOf) -> None:
    diff = diff_of(ready)
    assert (diff.splits.new, diff.splits.embedded, diff.documents.read) == (0, 0, 0)
    assert (diff.documents.kept, diff.documents.gone) == (120, 0)
    assert (diff.work.embedded_chunks, diff.work.tokens) == (0, 0)


def test_before_the_first_run_all_is_new_and_nothing_is_made(job: Job, diff_of: DiffOf) -> None:
    job.write_corpus(files=2, documents=30)
    diff = diff_of(job)
    assert not job.output.exists()
    assert diff.generation is None
    assert (diff.documents.added, diff.documents.before) == (60, 0)
    job.run()
    assert diff.work.embedded_chunks == done(job)["chunks_embedded"] == 60
    assert diff.work.tokens == job.report()["counts"]["embedded_tokens"]


def test_a_text_that_comes_back_costs_nothing(ready: Job, diff_of: DiffOf) -> None:
    ready.write("0.jsonl", corpus(ready, range(40), d3={"text": "for a day"}))
    ready.run()
    ready.write("0.jsonl", corpus(ready, range(40)))
    diff = diff_of(ready)
    assert (diff.documents.text, diff.documents.unchanged) == (1, 39)
    assert (diff.work.carried, diff.work.embedded_chunks) == (40, 0)


def test_too_much_gone_is_told_in_the_words_of_the_run(ready: Job, diff_of: DiffOf) -> None:
    ready.spec["refresh"]["max_delete_fraction"] = 0.05
    ready.write("2.jsonl", corpus(ready, range(80, 100)))
    diff = diff_of(ready)
    assert diff.documents.gone == 20
    [problem] = diff.problems
    assert ready.run().exit_code == ExitCode.INCOMPLETE
    [said] = ready.report()["problems"]
    assert problem.partition(", such as ")[0] == said.partition(", such as ")[0]
    assert "20 of the 120 documents" in problem

    # The run has committed its splits: nothing is left to be embedded once it is allowed.
    ready.spec["refresh"]["max_delete_fraction"] = 0.5
    diff = diff_of(ready)
    assert diff.splits.embedded > 0
    assert (diff.splits.new, diff.problems) == (0, ())
    assert (diff.documents.unchanged, diff.documents.gone) == (20, 20)
    assert (diff.work.carried, diff.work.embedded_chunks) == (0, 0)


def test_a_listing_that_lacks_a_file_is_told(ready: Job, diff_of: DiffOf) -> None:
    diff = diff_of(ready, without="2.jsonl")
    assert diff.documents.gone == 40
    [problem] = diff.problems
    assert "listing of the input is not complete" in problem
    assert "2.jsonl" in problem


def test_a_lost_ledger_costs_no_forward_pass(ready: Job, diff_of: DiffOf) -> None:
    for path in (ready.output / "_embed_job" / "ledger").iterdir():
        path.unlink()
    ready.write("0.jsonl", corpus(ready, range(40), d3={"text": "another text"}))
    diff = diff_of(ready)
    assert (diff.documents.unknown, diff.documents.unchanged, diff.documents.gone) == (40, 0, 0)
    assert (diff.work.carried, diff.work.embedded_chunks) == (0, 1)
    ready.run()
    assert done(ready)["chunks_embedded"] == 1


def test_without_reuse_all_that_is_read_is_embedded(ready: Job, diff_of: DiffOf) -> None:
    ready.spec["refresh"]["reuse"] = False
    ready.write("0.jsonl", corpus(ready, range(40), d3={"kind": "other"}))
    diff = diff_of(ready)
    assert (diff.reuse, diff.why_not) == (False, "refresh.reuse is off")
    assert (diff.documents.unchanged, diff.documents.metadata) == (39, 1)
    assert (diff.work.carried, diff.work.reused_chunks, diff.work.embedded_chunks) == (0, 0, 40)
    ready.run()
    assert done(ready)["chunks_embedded"] == 40


def test_processing_output_takes_nothing_over(ready: Job, diff_of: DiffOf) -> None:
    ready.spec["compute"] = {"delivery": "processing_output"}
    ready.write("0.jsonl", corpus(ready, range(40), d3={"kind": "other"}))
    diff = diff_of(ready)
    assert "processing_output" in diff.why_not
    assert (diff.work.carried, diff.work.embedded_chunks) == (0, 40)


def test_without_the_bundle_documents_are_told_and_tokens_are_not(
    ready: Job, diff_of: DiffOf
) -> None:
    ready.write("0.jsonl", corpus(ready, range(40), d3={"text": "another text"}))
    ready.spec["model"]["bundle"] = str(ready.folder / "nowhere")
    diff = diff_of(ready)
    assert (diff.documents.text, diff.work.chunked, diff.work.carried) == (1, 1, 39)
    assert (diff.work.tokens, diff.work.embedded_chunks) == (None, None)
    assert "taken to be that of the last run" in diff.notes[0]


def test_without_bundle_and_output_there_is_nothing_to_go_by(job: Job, diff_of: DiffOf) -> None:
    job.write_corpus(files=1, documents=3)
    job.spec["model"]["bundle"] = str(job.folder / "nowhere")
    with pytest.raises(BundleError):
        diff_of(job)


@pytest.mark.parametrize("policy", ["reject", "last_wins", "suffix"])
def test_repeated_ids_are_told_as_the_run_counts_them(
    job: Job, diff_of: DiffOf, policy: str
) -> None:
    job.spec["input"] |= {"on_duplicate_id": policy, "max_rejected_fraction": 1}
    job.write("a.jsonl", [{"id": "a", "text": sentence(n)} for n in range(3)])
    job.run()
    job.write("a.jsonl", [{"id": "a", "text": sentence(n)} for n in range(4)])
    facts = diff_of(job).documents
    job.run()
    counts = job.report()["counts"]["documents"]
    assert facts.balanced
    assert (facts.read, facts.rejected, facts.skipped) == (
        counts["read"],
        counts["rejected"],
        counts["skipped"],
    )
