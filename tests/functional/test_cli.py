"""The program as its user meets it: messages, exit codes, what goes to which stream."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from embed_job.errors import ExitCode
from embed_job.spec.file import load_spec

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {
    **{key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"},
    "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
    # Compiled once, not by each of these processes.
    "PYTHONPYCACHEPREFIX": str(ROOT / ".pytest_cache" / "bytecode"),
    "NO_COLOR": "1",
}
PROGRAM = [sys.executable, "-m", "launcher.cli"]

SPEC = """\
name: kb
input: {uri: data/}
outputs:
  - parquet: {uri: out/}
"""


def embed_job(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *arguments],
        cwd=cwd,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def mistake(*arguments: str, cwd: Path, code: int = ExitCode.USAGE) -> str:
    """The message of a command line that must fail: alone, and without a traceback."""
    ended = embed_job(*arguments, cwd=cwd)
    assert ended.returncode == code, ended.stderr
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr
    return ended.stderr


@pytest.fixture
def folder(tmp_path: Path, tiny_bundle: Path) -> Path:
    """A folder with a spec, kb.yaml, and an input of 30 documents, one of which is refused."""
    return prepare(tmp_path / "job", tiny_bundle)


@pytest.fixture(scope="module")
def run_once(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Such a folder after a run; stdout and stderr hold what it said."""
    made = prepare(tmp_path_factory.mktemp("once") / "job", tiny_bundle)
    ended = embed_job("run", "kb.yaml", cwd=made)
    assert ended.returncode == 0, ended.stderr
    (made / "stdout").write_text(ended.stdout)
    (made / "stderr").write_text(ended.stderr)
    return made


def prepare(folder: Path, bundle: Path) -> Path:
    (folder / "data").mkdir(parents=True)
    lines = [json.dumps({"id": f"d{n}", "text": f"text number {n}"}) for n in range(29)]
    (folder / "data/a.jsonl").write_text("\n".join([*lines, '{"id": "d29"}']) + "\n")
    (folder / "kb.yaml").write_text(SPEC + f"model: {{bundle: '{bundle}'}}\n")
    return folder


class TestHelp:
    def test_every_command_is_listed(self, tmp_path: Path) -> None:
        shown = embed_job("--help", cwd=tmp_path)
        assert shown.returncode == 0
        for command in ("init", "bundle", "run", "verify", "search"):
            assert re.search(rf"\b{command}\b", shown.stdout)

    @pytest.mark.parametrize("command", ["bundle", "run"])
    def test_a_command_has_help(self, command: str, tmp_path: Path) -> None:
        shown = embed_job(command, "--help", cwd=tmp_path)
        assert shown.returncode == 0
        assert f"Usage: embed-job {command}" in shown.stdout

    def test_help_loads_nothing_heavy(self, tmp_path: Path) -> None:
        code = (
            "import sys, embed_job.cli, typer;"
            "typer.main.get_command(embed_job.cli.app);"
            "heavy = {'numpy', 'pyarrow', 'onnx', 'onnxruntime', 'torch', 'tokenizers',"
            " 'transformers', 'boto3', 'pydantic', 'jinja2', 'huggingface_hub',"
            " 'opensearchpy'};"
            "print(sorted(heavy & set(sys.modules)))"
        )
        shown = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=True,
        )
        assert shown.stdout.strip() == "[]"

    def test_version(self, tmp_path: Path) -> None:
        assert re.match(r"embed-job \d+\.\d+", embed_job("--version", cwd=tmp_path).stdout)


class TestUsage:
    def test_unknown_command_names_the_nearest(self, tmp_path: Path) -> None:
        assert "Did you mean 'run'" in mistake("rnu", cwd=tmp_path)

    def test_unknown_option_names_the_nearest(self, tmp_path: Path) -> None:
        assert "--sample" in mistake("run", "--smaple", "5", cwd=tmp_path)

    def test_run_without_anything_to_run(self, tmp_path: Path) -> None:
        assert "--sample" in mistake("run", cwd=tmp_path)

    def test_set_without_a_spec(self, tmp_path: Path) -> None:
        message = mistake("run", "--sample", "5", "--set", "name=x", cwd=tmp_path)
        assert "--set" in message

    def test_a_spec_that_is_not_there(self, tmp_path: Path) -> None:
        message = mistake("run", "none.yaml", cwd=tmp_path)
        assert "none.yaml: no such file" in message
        assert "embed-job init" in message

    def test_a_spec_that_cannot_be_read(self, tmp_path: Path) -> None:
        # Readable by nobody, root included.
        message = mistake("run", "/proc/self/mem", cwd=tmp_path)
        assert message.startswith("Error /proc/self/mem:")

    def test_a_wrong_key(self, tmp_path: Path) -> None:
        (tmp_path / "kb.yaml").write_text(SPEC + "chunk: {max_token: 5}\n")
        message = mistake("run", "kb.yaml", cwd=tmp_path)
        assert "kb.yaml:5: unknown key 'chunk.max_token'" in message
        assert "Did you mean 'max_tokens'?" in message

    def test_a_wrong_type_by_set(self, tmp_path: Path) -> None:
        (tmp_path / "kb.yaml").write_text(SPEC)
        message = mistake("run", "kb.yaml", "--set", "execution.workers=many", cwd=tmp_path)
        assert "--set execution.workers=many" in message
        assert "'auto' or a valid integer" in message

    def test_a_spec_cannot_style_the_message(self, tmp_path: Path) -> None:
        (tmp_path / "kb.yaml").write_text(SPEC + "'[bold red]x[/]': 1\n")
        assert "[bold red]x[/]" in mistake("run", "kb.yaml", cwd=tmp_path)


class TestRun:
    def test_a_run_and_its_repetition(self, run_once: Path) -> None:
        events = [
            json.loads(line)["event"] for line in (run_once / "stderr").read_text().splitlines()
        ]
        assert (events[0], events[-1]) == ("started", "ended")
        told = (run_once / "stdout").read_text()
        assert re.search(r"engine +(native|onnx) on CPU.*, fp32\n", told)
        assert "30 read = 29 written + 1 rejected + 0 skipped" in told
        assert "1 missing_text" in told
        assert "out/kb/report.html" in told
        assert (run_once / "out/kb/report.html").is_file()
        again = embed_job("run", "kb.yaml", "--quiet", cwd=run_once)
        assert again.returncode == 0
        assert "all were embedded before" in again.stdout
        assert again.stderr == ""

    def test_json_is_the_report_and_nothing_else(self, run_once: Path) -> None:
        ended = embed_job("run", "kb.yaml", "--json", "--report", "here", cwd=run_once)
        assert json.loads(ended.stdout) == json.loads((run_once / "here/report.json").read_text())
        assert json.loads(ended.stdout)["counts"]["documents"]["written"] == 29

    def test_a_run_that_is_no_success_says_why(self, run_once: Path) -> None:
        strict = "input.max_rejected_fraction=0"
        ended = embed_job("run", "kb.yaml", "--set", strict, "--quiet", cwd=run_once)
        assert ended.returncode == ExitCode.INCOMPLETE
        assert "not a success" in ended.stdout
        problems = json.loads((run_once / "out/kb/report.json").read_text())["problems"]
        assert problems
        assert problems[0] in ended.stdout

    def test_a_sample_leaves_the_output_alone(self, folder: Path) -> None:
        ended = embed_job("run", "kb.yaml", "--sample", "10", "--quiet", cwd=folder)
        assert ended.returncode == 0, ended.stderr
        assert "embed-job run kb.yaml" in ended.stdout
        assert "embed-job search" in ended.stdout
        assert (folder / "out/dry-run/report.json").is_file()
        assert [path.name for path in (folder / "out").iterdir()] == ["dry-run"]
        checked = embed_job("verify", "out/dry-run", "--json", cwd=folder)
        assert checked.returncode == 0
        assert json.loads(checked.stdout)["ok"]

    def test_another_sample_is_no_loss(self, folder: Path) -> None:
        for size in ("20", "5"):
            ended = embed_job("run", "kb.yaml", "--sample", size, "--quiet", cwd=folder)
            assert ended.returncode == 0, ended.stdout
        assert f"{size} read" in ended.stdout

    def test_a_sample_leaves_the_index_alone(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.setblocking(False)
            index = f"{{url: 'http://127.0.0.1:{server.getsockname()[1]}', alias: kb}}"
            settings = ("--set", f"outputs.1.opensearch={index}")
            ended = embed_job("run", "kb.yaml", "--sample", "10", "--quiet", *settings, cwd=folder)
            assert ended.returncode == 0, ended.stderr
            with pytest.raises(BlockingIOError):
                server.accept()
        assert (folder / "out/dry-run/vectors/_embed_job").is_dir()
        assert not list((folder / "out/dry-run").rglob("loads"))

    def test_verify_finds_what_was_damaged(self, run_once: Path, tmp_path: Path) -> None:
        copy = shutil.copytree(run_once / "out", tmp_path / "out")
        (part,) = copy.glob("part-*.parquet")
        part.write_bytes(part.read_bytes()[:-1] + b"x")
        checked = embed_job("verify", "out", cwd=tmp_path)
        assert checked.returncode == ExitCode.INCOMPLETE
        assert "✗" in checked.stdout
        assert "checks failed" in checked.stdout

    def test_an_empty_input_is_a_success(self, folder: Path) -> None:
        (folder / "data/a.jsonl").write_text("")
        ended = embed_job("run", "kb.yaml", "--quiet", cwd=folder)
        assert ended.returncode == 0
        assert "0 read" in ended.stdout

    def test_a_missing_input(self, folder: Path) -> None:
        message = mistake(
            "run", "kb.yaml", "--set", "input.uri=none/", cwd=folder, code=ExitCode.INPUT
        )
        assert "none/" in message

    def test_a_missing_bundle(self, folder: Path) -> None:
        message = mistake(
            "run", "kb.yaml", "--set", "model.bundle=none", cwd=folder, code=ExitCode.BUNDLE
        )
        assert "none" in message

    def test_a_report_without_a_place_is_told_before_anything_runs(self, folder: Path) -> None:
        message = mistake(
            "run", "kb.yaml", "--report", "kb.yaml/x", cwd=folder, code=ExitCode.OUTPUT
        )
        assert "kb.yaml/x" in message
        assert not (folder / "out").exists()


class TestVerify:
    def test_a_folder_that_is_not_there(self, tmp_path: Path) -> None:
        assert "none" in mistake("verify", "none", cwd=tmp_path, code=ExitCode.OUTPUT)


class TestInit:
    def test_it_writes_a_spec_that_loads_and_its_schema(self, tmp_path: Path) -> None:
        shown = embed_job("init", "my.yaml", cwd=tmp_path)
        assert shown.returncode == 0
        assert "embed-job run my.yaml" in shown.stdout
        load_spec(tmp_path / "my.yaml")
        named = (tmp_path / "my.yaml").read_text().splitlines()[0].partition("$schema=")[2]
        assert json.loads((tmp_path / named).read_text())["title"] == "JobSpec"

    def test_it_replaces_nothing_unasked(self, tmp_path: Path) -> None:
        (tmp_path / "job.yaml").write_text("mine")
        assert "there already" in mistake("init", cwd=tmp_path)
        assert (tmp_path / "job.yaml").read_text() == "mine"
        assert embed_job("init", "--force", cwd=tmp_path).returncode == 0
        load_spec(tmp_path / "job.yaml")

    def test_a_schema_of_somebody_else_stays(self, tmp_path: Path) -> None:
        (tmp_path / "schema.json").write_text("{}")
        assert embed_job("init", cwd=tmp_path).returncode == 0
        assert (tmp_path / "schema.json").read_text() == "{}"
        assert "$schema" not in (tmp_path / "job.yaml").read_text()

    def test_it_prints(self, tmp_path: Path) -> None:
        shown = embed_job("init", "-", cwd=tmp_path)
        (tmp_path / "printed.yaml").write_text(shown.stdout)
        load_spec(tmp_path / "printed.yaml")
        assert json.loads(embed_job("init", "--schema", "-", cwd=tmp_path).stdout)

    def test_a_folder_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        message = mistake("init", "file/job.yaml", cwd=tmp_path, code=ExitCode.OUTPUT)
        assert "file/job.yaml" in message


def test_a_reader_who_leaves_early_is_no_error(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*PROGRAM, "init", "-"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        assert running.stderr.read() == b""
        assert running.wait(timeout=60) == 141


def test_every_exit_code_is_documented() -> None:
    text = (ROOT / "docs/exit-codes.md").read_text()
    for code in ExitCode:
        assert f"| {code.value} | `{code.name}` |" in text
