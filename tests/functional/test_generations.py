"""What a later generation replaces is put aside; a sweep that dies is ended by the next."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embed_job.commit.commits import Commits
from embed_job.commit.retire import Sweep
from embed_job.errors import ExitCode
from embed_job.manifest import JobManifest, SplitManifest
from embed_job.storage.local import LocalStore


def commits_of(folder: Path, store: LocalStore | None = None) -> Commits:
    return Commits(store or LocalStore(), str(folder))


def committed(folder: Path) -> JobManifest:
    found = commits_of(folder).job()
    assert found is not None
    return found


def retired(folder: Path) -> list[tuple[str, str]]:
    """Generation and file of each retired split whose rows are kept."""
    return [
        (Path(below).name, manifest.source.files[0][0])
        for below, manifest in commits_of(folder).retired()
    ]


def names_below(folder: Path) -> set[str]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix() for path in found}


def run(job: Any) -> int:
    """A run that succeeds; the generation that it has committed."""
    assert job.run().exit_code is ExitCode.OK
    return committed(job.output).generation


def test_what_is_replaced_is_put_aside_out_of_readers_sight(job: Any) -> None:
    job.write_corpus(files=3, documents=10)
    job.allow_deletions()
    assert run(job) == 1
    assert retired(job.output) == []
    before = job.rows()
    job.write("001.jsonl", [{"id": "new", "text": "a new text"}])
    assert run(job) == 2
    ((folder, manifest),) = commits_of(job.output).retired()
    assert Path(folder) == job.output / "_embed_job/retired/00000002"
    assert manifest.source.files[0][0] == "001.jsonl"
    named = [*(part.name for part in manifest.parts), manifest.ledger]
    assert all((Path(folder) / name).is_file() for name in named)
    assert manifest.ids is not None
    assert not (job.output / manifest.ids).exists()
    assert sorted(job.rows()) == sorted([*set(before) - {f"d{n:06}" for n in range(10, 20)}, "new"])


def test_only_generations_that_replaced_something_are_counted(job: Any) -> None:
    job.write_corpus(files=2, documents=5)
    job.allow_deletions()
    run(job)
    for number in range(4):
        job.write("000.jsonl", [{"id": f"new-{number}", "text": f"text of {number}"}])
        run(job)
        for _ in range(3):
            assert run(job) > number
    assert [name for _, name in retired(job.output)] == ["000.jsonl"] * 2
    texts = {name.split("/")[2] for name in names_below(job.output) if "/retired/" in name}
    assert len(texts) == 2
    job.spec["refresh"]["keep_generations"] = 0
    run(job)
    assert not [name for name in names_below(job.output) if "/retired/" in name]


class Dying(LocalStore):
    """A store whose process is killed: after so many changes nothing is changed any more."""

    def __init__(self, changes: int) -> None:
        super().__init__()
        self._left = changes
        self._lock = threading.Lock()

    def _may(self) -> None:
        with self._lock:
            self._left -= 1
            if self._left < 0:
                raise KeyboardInterrupt

    def replace(self, key: str, data: bytes) -> None:
        self._may()
        super().replace(key, data)

    def delete(self, key: str) -> None:
        self._may()
        super().delete(key)

    def move(self, source: str, target: str) -> None:
        self._may()
        super().move(source, target)


@pytest.fixture
def leaving(job: Any) -> tuple[Path, dict[str, SplitManifest]]:
    """An output with an orphan, and those of its splits that stay: all but one."""
    job.write_corpus(files=3, documents=5)
    run(job)
    part = next(iter(job.parts()))
    shutil.copyfile(job.output / part, job.output / part.replace("-000.", "-007."))
    found = commits_of(job.output).committed(committed(job.output).fingerprint)
    stay = {s: m for s, m in found.items() if m.source.files[0][0] != "001.jsonl"}
    assert len(stay) == 2
    return job.output, stay


def sweep(folder: Path, live: dict[str, SplitManifest], store: LocalStore, *, number: int) -> None:
    commits = commits_of(folder, store)
    found = commits.committed(committed(folder).fingerprint)
    Sweep(commits, generation=number, keep=2, holds=lambda: True).run(live, found)


def test_a_sweep_killed_after_any_change_is_ended_by_the_next(
    leaving: tuple[Path, dict[str, SplitManifest]], tmp_path: Path
) -> None:
    output, live = leaving
    changes = 0
    while True:
        folder = tmp_path / f"killed-after-{changes}"
        shutil.copytree(output, folder)
        try:
            sweep(folder, live, Dying(changes), number=2)
            died = False
        except KeyboardInterrupt:
            died = True
        sweep(folder, live, LocalStore(), number=3)
        (kept,) = retired(folder)
        assert kept[1] == "001.jsonl"
        ((below, manifest),) = commits_of(folder).retired()
        assert manifest.ledger is not None
        assert (Path(below) / manifest.ledger).is_file()
        whole = commits_of(folder)
        assert set(whole.committed(manifest.fingerprint)) == set(live)
        assert whole.incomplete(live.values()) == {}
        open_parts = {name for name in names_below(folder) if name.startswith("part-")}
        assert open_parts == {part.name for m in live.values() for part in m.parts}
        if not died:
            break
        changes += 1
    assert changes == 6, "manifest copied and taken away; part, ledger, ids and the orphan"


def test_who_has_lost_the_lease_removes_nothing(
    leaving: tuple[Path, dict[str, SplitManifest]],
) -> None:
    output, live = leaving
    before = names_below(output)
    commits = commits_of(output)
    found = commits.committed(committed(output).fingerprint)
    swept = Sweep(commits, generation=2, keep=2, holds=lambda: False).run(live, found)
    assert (swept.retired, swept.removed) == (0, 0)
    assert names_below(output) == before


def test_of_two_that_commit_a_generation_one_wins(job: Any) -> None:
    job.write_corpus(files=1, documents=5)
    run(job)
    commits = commits_of(job.output)
    base, tag = commits.tagged_job()
    assert base is not None
    mine = base.model_copy(update={"generation": 2})
    theirs = base.model_copy(update={"generation": 3})
    assert commits.commit_job(theirs, tag=tag)
    assert not commits.commit_job(mine, tag=tag)
    assert commits.generation() == 3


def test_a_text_that_came_and_went_is_served_by_what_was_put_aside(
    make_job: Callable[[str], Any],
) -> None:
    job = make_job("came-and-went")
    job.write_corpus(files=2, documents=20)
    job.allow_deletions()
    run(job)
    rows = job.rows()
    (job.input / "001.jsonl").rename(job.folder / "away.jsonl")
    run(job)
    assert len(job.rows()) == 20
    (job.folder / "away.jsonl").rename(job.input / "again.jsonl")
    result = job.run()
    assert result.exit_code is ExitCode.OK
    assert job.rows() == rows
    assert result.report.resumed.chunks_embedded == 0
