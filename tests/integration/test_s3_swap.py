"""Compare-and-swap and moves in S3, with answers that get lost and writers that race."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import pytest

from embed_job.errors import OutputError
from embed_job.storage.s3 import S3Store, new_client

pytestmark = pytest.mark.usefixtures("s3_bucket")


@pytest.fixture
def root(s3_bucket: str) -> str:
    return f"s3://{s3_bucket}"


@pytest.fixture
def store(fault_proxy: Any) -> S3Store:
    """Requests go through the proxy; retries don't wait."""
    return S3Store(new_client(endpoint_url=fault_proxy.url), sleep=lambda _: None)


def test_swap_only_what_was_read(store: S3Store, root: str) -> None:
    key = f"{root}/m"
    assert store.swap(key, b"first", tag=None) is True
    assert store.swap(key, b"again", tag=None) is False
    read = store.read_tagged(key)
    assert read.data == b"first"
    assert store.swap(key, b"second", tag=read.tag) is True
    assert store.swap(key, b"third", tag=read.tag) is False
    assert store.read(key) == b"second"
    store.delete(key)
    assert store.swap(key, b"third", tag=read.tag) is False
    with pytest.raises(FileNotFoundError):
        store.read_tagged(key)


def test_of_sixteen_racing_swaps_one_wins(
    store: S3Store, fault_proxy: Any, faults: ModuleType, root: str
) -> None:
    key = f"{root}/m"
    store.replace(key, b"before")
    tag = store.read_tagged(key).tag
    fault_proxy.faults += [
        faults.Fault(faults.Kind.RESET_AFTER, "PUT", times=4),
        faults.Fault(faults.Kind.STATUS, "PUT", times=4),
    ]
    with ThreadPoolExecutor(16) as pool:
        tries = range(16)
        won = list(pool.map(lambda n: store.swap(key, f"attempt {n}".encode(), tag=tag), tries))
    assert sum(won) == 1
    assert store.read(key) == f"attempt {won.index(True)}".encode()


def test_a_lost_answer_is_recognised_as_success(
    store: S3Store, fault_proxy: Any, faults: ModuleType, root: str
) -> None:
    store.replace(f"{root}/m", b"before")
    tag = store.read_tagged(f"{root}/m").tag
    fault_proxy.faults.append(faults.Fault(faults.Kind.RESET_AFTER, "PUT"))
    assert store.swap(f"{root}/m", b"mine", tag=tag) is True
    assert store.read(f"{root}/m") == b"mine"


def test_a_missing_bucket(store: S3Store) -> None:
    with pytest.raises(OutputError, match="no such bucket"):
        store.swap("s3://no-such-bucket-here/a", b"x", tag="0")
    with pytest.raises(OutputError, match="no such bucket"):
        store.move("s3://no-such-bucket-here/a", "s3://no-such-bucket-here/b")


def test_move_never_brings_the_bytes_here(store: S3Store, fault_proxy: Any, root: str) -> None:
    source, target = f"{root}/a b/part+1", f"{root}/retired/part+1"
    store.replace(source, bytes(1 << 20))
    fault_proxy.seen.clear()
    store.move(source, target)
    assert fault_proxy.count("GET") == 0
    assert [file.key for file in store.list(root)] == [target]
    store.move(source, target)
    assert store.stat(target).size == 1 << 20


@pytest.mark.parametrize("kind", ["RESET_BEFORE", "RESET_AFTER", "STATUS"])
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_a_move_that_is_disturbed_ends_well(
    store: S3Store, fault_proxy: Any, faults: ModuleType, root: str, kind: str, method: str
) -> None:
    store.replace(f"{root}/a", b"rows")
    fault_proxy.faults.append(faults.Fault(faults.Kind[kind], method))
    store.move(f"{root}/a", f"{root}/b")
    assert [file.key for file in store.list(root)] == [f"{root}/b"]
    assert fault_proxy.faults[0].times == 0


def test_what_is_nowhere_is_not_moved(store: S3Store, root: str) -> None:
    with pytest.raises(FileNotFoundError):
        store.move(f"{root}/a", f"{root}/b")
