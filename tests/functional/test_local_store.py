"""LocalStore on real file systems: races, full disks, links, other devices."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from embed_job.errors import InputError
from embed_job.storage.local import LocalStore


@pytest.fixture
def store() -> LocalStore:
    return LocalStore()


COUNT = """
import sys
from embed_job.storage.local import LocalStore

store, key, left = LocalStore(), sys.argv[1], 25
while left:
    read = store.read_tagged(key)
    left -= store.swap(key, b"%d" % (int(read.data) + 1), tag=read.tag)
"""


def names_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


class TestList:
    def test_in_order_of_keys(self, store: LocalStore, tmp_path: Path) -> None:
        for name in ("a/x", "a/y/z", "a-b/1", "a.txt", "b", "A"):
            store.replace(str(tmp_path / name), name.encode())
        found = list(store.list(str(tmp_path)))
        names = [file.key.removeprefix(f"{tmp_path}/") for file in found]
        assert names == ["A", "a-b/1", "a.txt", "a/x", "a/y/z", "b"] == sorted(names)
        assert [file.size for file in found] == [len(name) for name in names]

    def test_a_folder_is_not_its_sibling(self, store: LocalStore, tmp_path: Path) -> None:
        store.replace(str(tmp_path / "kb/1"), b"")
        store.replace(str(tmp_path / "kb2/2"), b"")
        assert [file.key for file in store.list(str(tmp_path / "kb"))] == [str(tmp_path / "kb/1")]

    def test_a_file(self, store: LocalStore, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"123")
        assert [(f.key, f.size) for f in store.list(str(tmp_path / "a"))] == [
            (str(tmp_path / "a"), 3)
        ]

    def test_nothing_there(self, store: LocalStore, tmp_path: Path) -> None:
        assert list(store.list(str(tmp_path))) == []
        with pytest.raises(FileNotFoundError):
            list(store.list(str(tmp_path / "nowhere")))

    def test_links_are_followed_but_not_round_and_round(
        self, store: LocalStore, tmp_path: Path
    ) -> None:
        store.replace(str(tmp_path / "real/1"), b"")
        store.replace(str(tmp_path / "top/2"), b"")
        (tmp_path / "top/linked").symlink_to(tmp_path / "real")
        (tmp_path / "top/up").symlink_to(tmp_path / "top")
        (tmp_path / "real/around").symlink_to(tmp_path / "top")
        names = [file.key.removeprefix(f"{tmp_path}/") for file in store.list(f"{tmp_path}/top")]
        assert names == ["top/2", "top/linked/1"]

    def test_a_dangling_link_is_a_missing_file(self, store: LocalStore, tmp_path: Path) -> None:
        (tmp_path / "a.jsonl").symlink_to(tmp_path / "gone.jsonl")
        with pytest.raises(InputError, match=r"a\.jsonl.*gone\.jsonl"):
            list(store.list(str(tmp_path)))


class TestRead:
    @pytest.mark.parametrize(("start", "end"), [(0, None), (3, 7), (5, None), (12, None), (4, 4)])
    def test_a_range(self, store: LocalStore, tmp_path: Path, start: int, end: int | None) -> None:
        (tmp_path / "a").write_bytes(b"0123456789")
        stream = store.open_range(str(tmp_path / "a"), start, end)
        assert b"".join(iter(lambda: stream.read(3), b"")) == b"0123456789"[start:end]
        stream.close()

    @pytest.mark.parametrize("call", ["stat", "read", "open_range", "open_seekable"])
    def test_a_missing_file(self, store: LocalStore, tmp_path: Path, call: str) -> None:
        with pytest.raises(FileNotFoundError, match="nowhere"):
            getattr(store, call)(str(tmp_path / "nowhere"))


class TestWrite:
    def test_create_only_where_nothing_is(self, store: LocalStore, tmp_path: Path) -> None:
        key = str(tmp_path / "deep/er/m")
        assert store.create(key, b"mine") is True
        assert store.create(key, b"theirs") is False
        assert store.create(key, b"mine") is True
        assert store.read(key) == b"mine"
        assert names_below(tmp_path / "deep") == ["er", "er/m"]

    def test_sixteen_racing_creators(self, store: LocalStore, tmp_path: Path) -> None:
        start = Barrier(16)

        def attempt(number: int) -> bool:
            start.wait()
            return store.create(str(tmp_path / "new/m"), f"attempt {number}".encode())

        with ThreadPoolExecutor(16) as pool:
            won = list(pool.map(attempt, range(16)))
        assert sum(won) == 1
        assert store.read(str(tmp_path / "new/m")) == f"attempt {won.index(True)}".encode()
        assert names_below(tmp_path / "new") == ["m"]

    def test_replace(self, store: LocalStore, tmp_path: Path) -> None:
        key = str(tmp_path / "a")
        store.replace(key, b"old")
        store.replace(key, b"new")
        assert store.read(key) == b"new"

    def test_a_failure_leaves_no_temporary_file(self, store: LocalStore, tmp_path: Path) -> None:
        (tmp_path / "taken/by").mkdir(parents=True)
        with pytest.raises(OSError, match="taken"):
            store.replace(str(tmp_path / "taken"), b"x")
        assert names_below(tmp_path) == ["taken", "taken/by"]

    def test_swap_only_what_was_read(self, store: LocalStore, tmp_path: Path) -> None:
        key = str(tmp_path / "deep/m")
        assert store.swap(key, b"first", tag=None) is True
        assert store.swap(key, b"again", tag=None) is False
        read = store.read_tagged(key)
        assert read.data == b"first"
        assert store.swap(key, b"second", tag=read.tag) is True
        assert store.swap(key, b"third", tag=read.tag) is False
        assert store.read(key) == b"second"
        store.delete(key)
        assert store.swap(key, b"third", tag=read.tag) is False
        assert not (tmp_path / "deep/m").exists()

    @pytest.mark.parametrize("there", [True, False])
    def test_of_sixteen_racing_swaps_one_wins(
        self, store: LocalStore, tmp_path: Path, there: bool
    ) -> None:
        key, start = str(tmp_path / "new/m"), Barrier(16)
        for round_ in range(8):
            if there:
                store.replace(key, b"round %d" % round_)
            else:
                store.delete(key)

            def attempt(number: int) -> bool:
                tag = store.read_tagged(key).tag if there else None
                start.wait()
                return store.swap(key, f"attempt {number}".encode(), tag=tag)

            with ThreadPoolExecutor(16) as pool:
                won = list(pool.map(attempt, range(16)))
            assert sum(won) == 1
            assert store.read(key) == f"attempt {won.index(True)}".encode()

    def test_processes_that_count_by_swaps_lose_no_count(
        self, store: LocalStore, tmp_path: Path
    ) -> None:
        key = str(tmp_path / "count")
        store.replace(key, b"0")
        counting = [subprocess.Popen([sys.executable, "-c", COUNT, key]) for _ in range(4)]
        assert [process.wait(60) for process in counting] == [0] * 4
        assert store.read(key) == b"100"

    def test_move(self, store: LocalStore, tmp_path: Path) -> None:
        source, target = str(tmp_path / "a"), str(tmp_path / "deep/er/b")
        store.replace(source, b"rows")
        for _ in range(2):
            store.move(source, target)
            assert names_below(tmp_path) == ["deep", "deep/er", "deep/er/b"]
            assert store.read(target) == b"rows"
        store.replace(source, b"rows")
        store.move(source, target)
        assert not (tmp_path / "a").exists()

    def test_what_is_nowhere_is_not_moved(self, store: LocalStore, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            store.move(str(tmp_path / "a"), str(tmp_path / "b"))

    def test_delete_and_delete_again(self, store: LocalStore, tmp_path: Path) -> None:
        store.replace(str(tmp_path / "a"), b"x")
        store.delete(str(tmp_path / "a"))
        store.delete(str(tmp_path / "a"))
        assert names_below(tmp_path) == []


class TestUpload:
    def test_moves_the_file(self, store: LocalStore, tmp_path: Path) -> None:
        (tmp_path / "spool").write_bytes(b"rows")
        store.upload(tmp_path / "spool", str(tmp_path / "out/part"))
        assert names_below(tmp_path) == ["out", "out/part"]
        assert store.read(str(tmp_path / "out/part")) == b"rows"

    def test_to_another_file_system(
        self, store: LocalStore, tmp_path: Path, small_disk: Path
    ) -> None:
        (tmp_path / "spool").write_bytes(b"rows")
        store.upload(tmp_path / "spool", str(small_disk / "out/part"))
        assert names_below(tmp_path) == []
        assert names_below(small_disk) == ["out", "out/part"]
        assert store.read(str(small_disk / "out/part")) == b"rows"


class TestFullDisk:
    @pytest.mark.parametrize("call", ["create", "replace"])
    def test_is_told_and_leaves_nothing_behind(
        self, store: LocalStore, small_disk: Path, call: str
    ) -> None:
        with pytest.raises(OSError, match="No space left") as caught:
            getattr(store, call)(str(small_disk / "a"), bytes(2 << 20))
        assert caught.value.errno == errno.ENOSPC
        assert names_below(small_disk) == []

    def test_keeps_what_was_to_be_uploaded(
        self, store: LocalStore, tmp_path: Path, small_disk: Path
    ) -> None:
        (tmp_path / "spool").write_bytes(bytes(2 << 20))
        with pytest.raises(OSError, match="No space left"):
            store.upload(tmp_path / "spool", str(small_disk / "a"))
        assert names_below(small_disk) == []
        assert (tmp_path / "spool").stat().st_size == 2 << 20

    def test_what_was_there_stays(self, store: LocalStore, small_disk: Path) -> None:
        store.replace(str(small_disk / "a"), b"old")
        with pytest.raises(OSError, match="No space left"):
            store.replace(str(small_disk / "a"), bytes(2 << 20))
        assert store.read(str(small_disk / "a")) == b"old"
        assert names_below(small_disk) == ["a"]


@pytest.fixture
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file system of one MiB, another than that of tmp_path."""
    folder = tmp_path_factory.mktemp("disk")
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
        failure = mounted.stderr.strip() if mounted.returncode else ""
    except OSError as error:
        failure = str(error)
    if failure:
        reason = f"NOT TESTED: a full disk needs the right to mount a tmpfs ({failure})"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
