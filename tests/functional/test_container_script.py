"""The uploaded script and the image: do they fit, and what is said where they don't."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import container.embed_shard
import embed_job.fleet
from embed_job.errors import ExitCode

SCRIPT = Path(container.embed_shard.__file__)


class Box:
    """A container's root with the script where SageMaker puts it."""

    def __init__(self, root: Path, *, hosts: int = 1, protocol: int | None = None) -> None:
        self.root = root
        self.script = root / "opt/ml/processing/input/code/embed_shard.py"
        self.script.parent.mkdir(parents=True)
        source = SCRIPT.read_text()
        if protocol is not None:
            mine = f"PROTOCOL = {container.embed_shard.PROTOCOL}\n"
            assert source.count(mine) == 1
            source = source.replace(mine, f"PROTOCOL = {protocol}\n")
        self.script.write_text(source)
        config = root / "opt/ml/config"
        config.mkdir(parents=True)
        names = [f"algo-{number + 1}" for number in range(hosts)]
        resources = {"current_host": "algo-1", "hosts": names}
        (config / "resourceconfig.json").write_text(json.dumps(resources))

    def start(self, *python: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*(python or (sys.executable,)), str(self.script)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"EMBED_JOB_ROOT": str(self.root)} | environment,
        )

    def run(self, *python: str, **environment: str) -> tuple[int, str]:
        process = self.start(*python, **environment)
        _, errors = process.communicate(timeout=60)
        return process.returncode, errors

    @property
    def message(self) -> str:
        return (self.root / "opt/ml/output/message").read_text("utf-8")


def test_script_and_image_of_one_checkout_agree() -> None:
    assert container.embed_shard.PROTOCOL == embed_job.fleet.PROTOCOL
    assert container.embed_shard.UNFIT_IMAGE == ExitCode.IMAGE


def test_an_old_python_can_read_the_script_as_far_as_its_refusal() -> None:
    tree = ast.parse(SCRIPT.read_text(), feature_version=(3, 8))
    at_once = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {getattr(node, "module", None) or node.names[0].name for node in at_once}
    assert names == {"__future__", "json", "os", "signal", "sys", "pathlib", "typing"}


@pytest.mark.parametrize("protocol", [0, 99])
def test_another_protocol_is_one_clear_message(tmp_path: Path, protocol: int) -> None:
    box = Box(tmp_path, protocol=protocol)
    code, errors = box.run()
    assert code == ExitCode.IMAGE
    assert errors.strip() == box.message.strip()
    spoken = embed_job.fleet.PROTOCOL
    assert box.message.startswith(
        f"algo-1 8 IMAGE: the job's script speaks protocol {protocol}, the image {spoken}."
    )


def test_an_image_without_the_package(tmp_path: Path) -> None:
    box = Box(tmp_path)
    code, errors = box.run(sys.executable, "-S", PYTHONPATH="")
    assert code == ExitCode.IMAGE
    assert "Traceback" not in errors
    assert "the image has no container" in box.message


def test_an_image_with_an_old_package(tmp_path: Path) -> None:
    box = Box(tmp_path / "root")
    for package in ("embed_job", "container"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("")
    code, errors = box.run(sys.executable, "-S", PYTHONPATH=str(tmp_path))
    assert code == ExitCode.IMAGE
    assert "Traceback" not in errors
    assert "the image has no embed_job.fleet" in box.message


def test_an_image_that_lacks_a_library(tmp_path: Path) -> None:
    box = Box(tmp_path / "root")
    for package, source in {"embed_job": "", "container": "import no_such_library"}.items():
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text(source)
    code, _ = box.run(sys.executable, "-S", PYTHONPATH=str(tmp_path))
    assert code == ExitCode.IMAGE
    assert "lacks no_such_library" in box.message


def test_the_images_own_entrypoint_is_the_same_script(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "container.embed_shard"],
        env=os.environ | {"EMBED_JOB_ROOT": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == ExitCode.USAGE
    assert "Traceback" not in done.stderr
    assert "resourceconfig.json" in (tmp_path / "opt/ml/output/message").read_text()


def test_a_module_beside_the_script_is_not_imported(tmp_path: Path) -> None:
    box = Box(tmp_path, protocol=99)
    (box.script.parent / "container.py").write_text("raise SystemExit(55)")
    (box.script.parent / "embed_job.py").write_text("raise SystemExit(55)")
    code, _ = box.run()
    assert code == ExitCode.IMAGE


def test_a_hundred_hosts_share_the_message(tmp_path: Path) -> None:
    box = Box(tmp_path, hosts=100, protocol=99)
    assert box.run()[0] == ExitCode.IMAGE
    assert box.message == "algo-1 8 I"


@pytest.mark.parametrize("config", ["", "[]", '{"hosts": null}', '{"current_host": null}'])
def test_a_config_that_says_nothing_does_not_hide_the_message(tmp_path: Path, config: str) -> None:
    box = Box(tmp_path, protocol=99)
    (tmp_path / "opt/ml/config/resourceconfig.json").write_text(config)
    assert box.run()[0] == ExitCode.IMAGE
    assert box.message.startswith("host 8 IMAGE: ")


def test_a_message_file_that_can_not_be_written(tmp_path: Path) -> None:
    box = Box(tmp_path, protocol=99)
    (tmp_path / "opt/ml/output").write_text("a file where the folder should be")
    code, errors = box.run()
    assert code == ExitCode.IMAGE
    assert "IMAGE: the job's script speaks protocol 99" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, ExitCode.INTERRUPTED), (signal.SIGTERM, ExitCode.TERMINATED)],
)
def test_a_signal_before_the_work_begins(
    tmp_path: Path, number: signal.Signals, code: ExitCode
) -> None:
    box = Box(tmp_path / "root")
    ready = tmp_path / "ready"
    (tmp_path / "container").mkdir()
    slow = f"import time, pathlib; pathlib.Path({str(ready)!r}).touch(); time.sleep(60)"
    (tmp_path / "container/__init__.py").write_text(slow)
    process = box.start(sys.executable, "-S", PYTHONPATH=str(tmp_path))
    while not ready.exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == code
    assert "Traceback" not in errors
    assert box.message.startswith(f"algo-1 {int(code)} {code.name}: stopped before it began")
