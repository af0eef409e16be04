"""A spec's commands on an output that is not, or no longer, what the spec would make."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from embed_job.cli.program import run_program
from embed_job.dataset.of_spec import find_spec_output, open_spec_output
from embed_job.errors import OutputError
from embed_job.spec.file import load_spec
from launcher.cli import app
from tests.opensearch import corpora

NOBODY = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A spec of a small output that is committed, and of an index at which nobody answers."""
    folder = tmp_path_factory.mktemp("made")
    corpora.make_output(folder, rows=8, dim=8, splits=1)
    return corpora.spec_file(folder, NOBODY, alias="kb")


EDITS = [
    ("chunk.max_tokens=100", "prompt, chunking or choice of fields"),
    ("chunk.strategy=truncate", "prompt, chunking or choice of fields"),
    ("input.fields.text=body", "prompt, chunking or choice of fields"),
    ("outputs.0.parquet.text=false", "choice of a text column"),
    ("model.precision=int8", "another model"),
    ("name=other", "is the output of the job test, not of other"),
]


@pytest.mark.parametrize(("edit", "what"), EDITS)
def test_an_edited_spec_is_told_from_its_output(made: Path, edit: str, what: str) -> None:
    with pytest.raises(OutputError) as caught:
        open_spec_output(load_spec(made, [edit]), named="kb.yaml")
    assert what in caught.value.what
    assert caught.value.where == load_spec(made, []).parquet.uri


@pytest.mark.parametrize(
    "edit", ["execution.workers=2", "input.split_mib=1", "outputs.1.opensearch.replicas=3"]
)
def test_what_changes_no_row_may_be_edited(made: Path, edit: str) -> None:
    assert open_spec_output(load_spec(made, [edit]), named="kb.yaml").rows == 8


def test_no_model_is_needed_for_it(made: Path, tmp_path: Path) -> None:
    gone = f"model.bundle={tmp_path}/gone"
    assert open_spec_output(load_spec(made, [gone]), named="kb.yaml").rows == 8
    with pytest.raises(OutputError, match="chunking"):
        open_spec_output(load_spec(made, [gone, "chunk.max_tokens=100"]), named="kb.yaml")


def test_a_model_that_is_there_is_compared(made: Path, tmp_path: Path) -> None:
    corpora.make_bundle(tmp_path, dim=8, seed=9)
    with pytest.raises(OutputError, match="made with another model"):
        find_spec_output(load_spec(made, [f"model.bundle={tmp_path}/bundle"]), named="kb.yaml")


@pytest.mark.parametrize(
    "command",
    [["load"], ["redrive"], ["verify"], ["promote"], ["finalize"], ["search", "x", "--in"]],
)
def test_every_command_refuses_it(
    made: Path, capfd: pytest.CaptureFixture[str], command: list[str]
) -> None:
    edit = ["--set", "chunk.max_tokens=100", "--set", "model.engine=auto"]
    assert run_program(app, [*command, str(made), *edit], name="embed-job") == 4
    out, err = capfd.readouterr()
    said = out + err
    # Of an alias, search asks the cluster first: it may be on an index that the output never made.
    what = "the connection was refused" if command[0] == "search" else "than the spec has"
    assert what in said


@pytest.mark.parametrize(
    "command", ["load", "redrive", "verify", "promote", "rollback", "finalize"]
)
def test_before_a_run_every_command_says_so(
    made: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], command: str
) -> None:
    edit = f"outputs.0.parquet.uri={tmp_path}/none"
    assert run_program(app, [command, str(made), "--set", edit], name="embed-job") == 4
    out, err = capfd.readouterr()
    said = " ".join((out + err).split())
    assert f"{tmp_path}/none: nothing is committed there yet. " in said
    assert f"Run embed-job run {made} --set {edit} first." in said


def test_a_run_that_was_killed_before_its_first_split_has_committed_nothing(
    made: Path, tmp_path: Path
) -> None:
    shutil.copytree(made.parent / "out", tmp_path / "out")
    shutil.rmtree(tmp_path / "out/_embed_job/manifests")
    (tmp_path / "out/_embed_job/job.json").unlink()
    spec = load_spec(made, [f"outputs.0.parquet.uri={tmp_path}/out"])
    with pytest.raises(OutputError, match="nothing is committed"):
        open_spec_output(spec, named="kb.yaml")


@pytest.mark.parametrize("command", ["load", "redrive", "promote", "rollback"])
def test_a_spec_without_an_index(
    made: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], command: str
) -> None:
    plain = tmp_path / "plain.yaml"
    plain.write_text(
        f"name: test\ninput: {{uri: {tmp_path}}}\noutputs: [{{parquet: {{uri: {tmp_path}/out}}}}]\n"
    )
    assert run_program(app, [command, str(plain)], name="embed-job") == 2
    assert f"{plain}: has no opensearch output. Add one" in " ".join(capfd.readouterr().err.split())
