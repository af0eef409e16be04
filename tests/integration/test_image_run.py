"""The real image as a host of a job: what it needs of the machine, and what it leaves."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from embed_job.bundle import open_bundle
from embed_job.bundle.golden import cosines
from embed_job.engine.onnx import OnnxEngine
from embed_job.tokenizer import Tokenizer

IN_IMAGE = Path("/models/default")
STOPPED_WITHIN_S = 10


@pytest.fixture
def corpus(containers: ModuleType) -> Any:
    """A job of the real model over two small files."""
    made = containers.Corpus(IN_IMAGE)
    made.spec["model"] = {"bundle": str(IN_IMAGE), "engine": "onnx"}
    made.add(2, 30)
    return made


class Hosts:
    """Runs hosts of the image to their end."""

    def __init__(self, image: str, containers: ModuleType, image_host: ModuleType) -> None:
        self.image = image
        self.containers = containers
        self.image_host = image_host

    def run(self, root: Any, *options: str) -> Any:
        container = self.image_host.start(self.image, root, *options)
        ended = root.end(container.client)
        assert ended.events("exit"), ended
        return ended


@pytest.fixture
def hosts(image: str, containers: ModuleType, image_host: ModuleType) -> Hosts:
    return Hosts(image, containers, image_host)


def test_without_a_network_and_with_little_shared_memory_it_embeds(
    hosts: Hosts, corpus: Any, tmp_path: Path, default_bundle: Path
) -> None:
    root = hosts.containers.Root(tmp_path, corpus, documents=corpus.files)
    ended = hosts.run(root, "--network", "none", "--shm-size", "64k")
    assert ended.code == 0, ended
    table = _table(root)
    assert set(table["id"].to_pylist()) == corpus.ids
    vectors = np.stack(table["vector"].to_numpy(zero_copy_only=False))
    expected = _embed(default_bundle, table["text"].to_pylist())
    assert cosines(vectors, expected).min() > 0.9999


def test_of_one_cpu_it_takes_one_worker(hosts: Hosts, corpus: Any, tmp_path: Path) -> None:
    corpus.spec["execution"] = {"workers": "auto"}
    root = hosts.containers.Root(tmp_path, corpus, documents=corpus.files)
    ended = hosts.run(root, "--cpus", "1")
    assert ended.code == 0, ended
    workers = ended.events("workers")[0]
    assert (workers["cores"], workers["workers"]) == (1, 1)


def test_of_two_cpus_it_takes_two_workers(hosts: Hosts, corpus: Any, tmp_path: Path) -> None:
    if (os.cpu_count() or 1) < 2:
        pytest.skip("this machine has one core")
    corpus.spec["execution"] = {"workers": "auto"}
    root = hosts.containers.Root(tmp_path, corpus, documents=corpus.files)
    ended = hosts.run(root, "--cpus", "2")
    assert ended.events("workers")[0]["workers"] == 2, ended


@pytest.mark.parametrize("folder", [True, False], ids=["empty-folder", "no-folder"])
def test_an_empty_shard_is_a_success(
    hosts: Hosts, corpus: Any, tmp_path: Path, folder: bool
) -> None:
    root = hosts.containers.Root(
        tmp_path, corpus, host=3, hosts=3, documents=() if folder else None
    )
    ended = hosts.run(root)
    assert ended.code == 0, ended
    assert not list(root.vectors.glob("*.parquet"))


def test_a_read_only_root_file_system_is_enough(hosts: Hosts, corpus: Any, tmp_path: Path) -> None:
    """Only /opt/ml is written to."""
    root = hosts.containers.Root(tmp_path, corpus, documents=corpus.files)
    ended = hosts.run(root, "--read-only")
    assert ended.code == 0, ended
    assert sorted(hosts.containers.rows(root)) == sorted(corpus.ids)


def test_an_output_that_cannot_be_written_is_one_message(
    hosts: Hosts, corpus: Any, tmp_path: Path
) -> None:
    root = hosts.containers.Root(tmp_path, corpus, documents=corpus.files)
    vectors = "/opt/ml/processing/output/vectors"
    ended = hosts.run(root, "--volume", f"{root.vectors}:{vectors}:ro")
    assert ended.code == 4, ended
    assert vectors in ended.message
    assert "Traceback" not in ended.errors


def test_a_full_volume_is_one_message(hosts: Hosts, corpus: Any, tmp_path: Path) -> None:
    root = hosts.containers.Root(tmp_path, corpus, documents=corpus.files)
    ended = hosts.run(root, "--tmpfs", "/opt/ml/processing/output/vectors:size=16k")
    assert ended.code == 4, ended
    assert "disk is full" in ended.message
    assert "Traceback" not in ended.errors


def test_docker_stop_leaves_in_time_what_the_next_run_goes_on_from(
    hosts: Hosts, corpus: Any, tmp_path: Path
) -> None:
    corpus.files.clear()
    corpus.add(8, 40, words="river stone light paper engine garden winter signal copper " * 8)
    first = hosts.containers.Root(tmp_path / "first", corpus, documents=corpus.files)
    running = hosts.image_host.start(hosts.image, first, "--cpus", "1")
    hosts.containers.wait_for(lambda: bool(first.manifests), running.client)
    began = time.monotonic()
    code = running.stop(patience_s=STOPPED_WITHIN_S + 10)
    took = time.monotonic() - began
    stopped = first.end(running.client)
    assert code == 128 + signal.SIGTERM, stopped
    assert took < STOPPED_WITHIN_S
    committed = hosts.containers.rows(first)
    assert 0 < len(committed) < len(corpus.ids)

    second = hosts.containers.Root(tmp_path / "second", corpus, documents=corpus.files)
    second.bring_manifests_of(first)
    ended = hosts.run(second)
    assert ended.code == 0, ended
    fresh = hosts.containers.rows(second)
    assert sorted(committed + fresh) == sorted(corpus.ids)


def test_its_own_entrypoint_says_what_it_misses(
    image: str, image_host: ModuleType, hosts: Hosts
) -> None:
    source = (
        "import subprocess, sys; "
        "done = subprocess.run([sys.executable, '-m', 'container.embed_shard'], "
        "capture_output=True, text=True); "
        "import json; print(json.dumps([done.returncode, done.stdout, done.stderr]))"
    )
    code, output, errors = json.loads(image_host.python(image, source))
    assert code == 2
    assert "resourceconfig.json" in output
    assert "Traceback" not in output + errors


def _table(root: Any) -> Any:
    return pq.read_table(sorted(root.vectors.glob("*.parquet")))


def _embed(bundle_folder: Path, texts: list[str]) -> Any:
    bundle = open_bundle(bundle_folder)
    engine = OnnxEngine(bundle, precision="fp32", threads=1)
    tokens, _ = Tokenizer(bundle).encode_truncated(texts, bundle.max_tokens)
    return engine.embed(tokens)
