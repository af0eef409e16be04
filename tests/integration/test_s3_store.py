"""S3Store against an S3 server, and against one whose connections break."""

from __future__ import annotations

import os
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embed_job.errors import InputError, OutputError, UserError
from embed_job.storage import join, store_for
from embed_job.storage.s3 import S3Store, new_client

MIB = 1 << 20

pytestmark = pytest.mark.usefixtures("s3_bucket")


def noise(size: int, *, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


@dataclass
class Clock:
    """Time that passes by sleeping alone."""

    now_s: float = 0.0
    sleeps: int = 0

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.sleeps += 1
        self.now_s += seconds


@cache
def client_of(endpoint: str) -> Any:
    """A client takes boto3 a third of a second to make, and any number of stores can share it."""
    return new_client(endpoint_url=endpoint)


def make_store(
    endpoint: str | None = None, *, clock: Clock | None = None, **options: Any
) -> S3Store:
    clock = clock or Clock()
    return S3Store(
        client_of(endpoint or os.environ["AWS_ENDPOINT_URL"]),
        clock=clock,
        sleep=clock.sleep,
        **options,
    )


@pytest.fixture
def store(s3_bucket: str) -> S3Store:
    return make_store()


@pytest.fixture
def root(s3_bucket: str) -> str:
    return f"s3://{s3_bucket}"


@pytest.fixture
def broken(fault_proxy: Any) -> S3Store:
    """A store whose requests go through the proxy."""
    return make_store(fault_proxy.url)


class TestFiles:
    def test_the_environment_leads_to_the_server(self, root: str) -> None:
        store = store_for(root)
        store.replace(f"{root}/a", b"x")
        assert store.read(f"{root}/a") == b"x"

    def test_stat(self, store: S3Store, root: str) -> None:
        store.replace(f"{root}/a", b"12345")
        found = store.stat(f"{root}/a")
        assert (found.key, found.size) == (f"{root}/a", 5)
        assert found.etag
        assert '"' not in found.etag

    def test_names_are_taken_as_they_stand(self, store: S3Store, root: str) -> None:
        key = f"{root}/a b/%41+ü#?&/c.txt"
        store.replace(key, b"x")
        assert [file.key for file in store.list(f"{root}/a b")] == [key]
        assert store.read(key) == b"x"

    def test_delete_and_delete_again(self, store: S3Store, root: str) -> None:
        store.replace(f"{root}/a", b"x")
        store.delete(f"{root}/a")
        store.delete(f"{root}/a")
        with pytest.raises(FileNotFoundError):
            store.stat(f"{root}/a")

    @pytest.mark.parametrize("call", ["stat", "read", "open_range", "open_seekable"])
    def test_a_missing_file(self, store: S3Store, root: str, call: str) -> None:
        with pytest.raises(FileNotFoundError, match="nowhere"):
            getattr(store, call)(f"{root}/nowhere")

    def test_a_missing_bucket(self, store: S3Store) -> None:
        with pytest.raises(InputError, match="no such bucket"):
            list(store.list("s3://no-such-bucket-here/a"))
        with pytest.raises(OutputError, match="no such bucket"):
            store.create("s3://no-such-bucket-here/a", b"x")

    def test_an_address_without_a_bucket(self, store: S3Store) -> None:
        with pytest.raises(UserError, match="s3://bucket/name"):
            store.stat("s3:///a")


class TestList:
    def test_pages_in_order_of_keys(self, store: S3Store, s3_bucket: str, root: str) -> None:
        client = boto3.Session().client("s3")
        for number in range(60):
            client.put_object(Bucket=s3_bucket, Key=f"many/{number:04}", Body=b"")
        keys = [file.key for file in store.list(f"{root}/many")]
        assert keys == [f"{root}/many/{number:04}" for number in range(60)]

    def test_a_folder_is_not_its_sibling(self, store: S3Store, root: str) -> None:
        for name in ("kb/1", "kb/sub/2", "kb2/3", "kb.txt"):
            store.replace(f"{root}/{name}", b"x")
        expected = [f"{root}/kb/1", f"{root}/kb/sub/2"]
        assert [file.key for file in store.list(f"{root}/kb")] == expected
        assert [file.key for file in store.list(f"{root}/kb/")] == expected

    def test_a_file(self, store: S3Store, root: str) -> None:
        store.replace(f"{root}/kb", b"xyz")
        store.replace(f"{root}/kb/1", b"x")
        assert [(f.key, f.size) for f in store.list(f"{root}/kb")] == [(f"{root}/kb", 3)]

    def test_folder_markers_are_no_files(self, store: S3Store, s3_bucket: str, root: str) -> None:
        boto3.Session().client("s3").put_object(Bucket=s3_bucket, Key="empty/", Body=b"")
        assert list(store.list(f"{root}/empty")) == []

    def test_nothing_there(self, store: S3Store, root: str) -> None:
        with pytest.raises(FileNotFoundError, match="nowhere"):
            list(store.list(f"{root}/nowhere"))
        assert list(store.list(root)) == []


class TestStreams:
    @pytest.mark.parametrize(("start", "end"), [(0, None), (3, 7), (5, None), (10, None), (4, 4)])
    def test_a_range(self, store: S3Store, root: str, start: int, end: int | None) -> None:
        data = b"0123456789"
        store.replace(f"{root}/a", data)
        assert store.open_range(f"{root}/a", start, end).read() == data[start:end]

    def test_an_empty_file(self, store: S3Store, root: str) -> None:
        store.replace(f"{root}/a", b"")
        assert store.open_range(f"{root}/a").read() == b""
        assert store.open_seekable(f"{root}/a").read() == b""

    def test_many_requests_make_one_stream(
        self, fault_proxy: Any, broken: S3Store, root: str
    ) -> None:
        data = noise(17 * MIB + 5)
        broken.replace(f"{root}/a", data)
        stream = broken.open_range(f"{root}/a", 3)
        pieces = list(iter(lambda: stream.read(1_000_003), b""))
        assert b"".join(pieces) == data[3:]
        assert fault_proxy.count("GET") == 3

    def test_seeking(self, store: S3Store, root: str) -> None:
        data = noise(MIB)
        store.replace(f"{root}/a", data)
        with store.open_seekable(f"{root}/a") as stream:
            stream.seek(-10, 2)
            assert stream.read() == data[-10:]
            stream.seek(500_000)
            assert stream.read(300_001) == data[500_000:800_001]
            assert stream.tell() == 800_001
            stream.seek(2 * MIB)
            assert stream.read(1) == b""

    def test_parquet_reads_the_columns_it_is_asked_for(
        self, fault_proxy: Any, broken: S3Store, root: str, tmp_path: Path
    ) -> None:
        table = pa.table(
            {"id": range(2000), "blob": [noise(2000, seed=seed) for seed in range(2000)]}
        )
        pq.write_table(table, tmp_path / "a.parquet", compression="none", use_dictionary=False)
        size = (tmp_path / "a.parquet").stat().st_size
        broken.upload(tmp_path / "a.parquet", f"{root}/a.parquet")
        with broken.open_seekable(f"{root}/a.parquet") as stream:
            read = pq.ParquetFile(stream).read(columns=["id"])
        assert read.column("id").to_pylist() == list(range(2000))
        ranges = [
            s.headers["range"].removeprefix("bytes=").split("-")
            for s in fault_proxy.seen
            if s.method == "GET"
        ]
        assert sum(int(last) - int(first) + 1 for first, last in ranges) < size / 4

    def test_a_change_while_reading(self, store: S3Store, root: str) -> None:
        store.replace(f"{root}/a", b"a" * 9 * MIB)
        stream = store.open_range(f"{root}/a")
        stream.read(10)
        store.replace(f"{root}/a", b"b" * 9 * MIB)
        with pytest.raises(InputError, match="changed while the run was reading it"):
            stream.read()

    @pytest.mark.parametrize("now", [b"after", b""])
    def test_a_change_since_it_was_listed(self, store: S3Store, root: str, now: bytes) -> None:
        store.replace(f"{root}/a", b"before")
        [listed] = store.list(f"{root}/a")
        assert store.open_range(f"{root}/a", etag=listed.etag).read() == b"before"
        assert store.open_seekable(f"{root}/a", etag=listed.etag).read() == b"before"
        store.replace(f"{root}/a", now)
        for read in (store.open_range, store.open_seekable):
            with pytest.raises(InputError, match="changed while the run was reading it"):
                read(f"{root}/a", etag=listed.etag)

    def test_a_file_that_goes_away_while_reading(self, store: S3Store, root: str) -> None:
        store.replace(f"{root}/a", b"a")
        stream = store.open_range(f"{root}/a")
        store.delete(f"{root}/a")
        with pytest.raises(InputError, match="changed while the run was reading it"):
            stream.read(1)


class TestWrites:
    def test_create_only_where_nothing_is(self, store: S3Store, root: str) -> None:
        assert store.create(f"{root}/m", b"mine") is True
        assert store.create(f"{root}/m", b"theirs") is False
        assert store.create(f"{root}/m", b"mine") is True
        assert store.read(f"{root}/m") == b"mine"

    def test_upload_moves_the_file(self, store: S3Store, root: str, tmp_path: Path) -> None:
        path = tmp_path / "part"
        path.write_bytes(b"rows")
        store.upload(path, f"{root}/out/part")
        assert store.read(f"{root}/out/part") == b"rows"
        assert not path.exists()

    def test_upload_in_parts(
        self, fault_proxy: Any, faults: ModuleType, root: str, tmp_path: Path
    ) -> None:
        data = noise(25 * MIB)
        (tmp_path / "part").write_bytes(data)
        fault_proxy.faults += [
            faults.Fault(faults.Kind.CORRUPT, "PUT", "partNumber=2"),
            faults.Fault(faults.Kind.STATUS, "PUT", "partNumber=3", times=2),
            faults.Fault(faults.Kind.RESET_AFTER, "POST", "uploadId"),
        ]
        make_store(fault_proxy.url, part_bytes=6 * MIB).upload(tmp_path / "part", f"{root}/part")
        assert make_store().read(f"{root}/part") == data
        assert not (tmp_path / "part").exists()
        parts = [seen for seen in fault_proxy.seen if "partNumber" in seen.target]
        assert len(parts) == 5 + 3
        assert all("x-amz-checksum-sha256" in seen.headers for seen in parts)

    def test_a_failed_upload_keeps_the_file_and_leaves_no_parts(
        self, fault_proxy: Any, faults: ModuleType, s3_bucket: str, root: str, tmp_path: Path
    ) -> None:
        (tmp_path / "part").write_bytes(bytes(25 * MIB))
        refusal = faults.Fault(
            faults.Kind.STATUS, "PUT", "partNumber=2", status=403, code="AccessDenied"
        )
        fault_proxy.faults.append(refusal)
        with pytest.raises(PermissionError, match="part"):
            make_store(fault_proxy.url, part_bytes=6 * MIB).upload(
                tmp_path / "part", f"{root}/part"
            )
        assert (tmp_path / "part").exists()
        pending = boto3.Session().client("s3").list_multipart_uploads(Bucket=s3_bucket)
        assert "Uploads" not in pending


class TestFaults:
    def test_slow_down_is_waited_out(self, fault_proxy: Any, faults: ModuleType, root: str) -> None:
        clock = Clock()
        store = make_store(fault_proxy.url, clock=clock)
        fault_proxy.faults.append(faults.Fault(faults.Kind.STATUS, "PUT", times=5))
        store.replace(f"{root}/a", b"x")
        assert clock.sleeps == 5
        assert store.read(f"{root}/a") == b"x"

    @pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
    def test_a_connection_that_breaks_before(
        self, fault_proxy: Any, faults: ModuleType, broken: S3Store, root: str, method: str
    ) -> None:
        fault_proxy.faults.append(faults.Fault(faults.Kind.RESET_BEFORE, method, times=2))
        broken.replace(f"{root}/a", b"x")
        assert broken.open_range(f"{root}/a").read() == b"x"
        assert [file.size for file in broken.list(f"{root}/a")] == [1]
        broken.delete(f"{root}/a")
        assert fault_proxy.faults[0].times == 0

    def test_a_lost_answer_is_recognised_as_success(
        self, fault_proxy: Any, faults: ModuleType, broken: S3Store, root: str
    ) -> None:
        fault_proxy.faults.append(faults.Fault(faults.Kind.RESET_AFTER, "PUT"))
        assert broken.create(f"{root}/m", b"mine") is True
        assert fault_proxy.count("PUT") == 2

    def test_a_lost_answer_to_a_lost_race(
        self, fault_proxy: Any, faults: ModuleType, broken: S3Store, root: str
    ) -> None:
        broken.replace(f"{root}/m", b"theirs")
        fault_proxy.faults.append(faults.Fault(faults.Kind.RESET_AFTER, "PUT"))
        assert broken.create(f"{root}/m", b"mine") is False

    def test_a_conflict_is_tried_again(
        self, fault_proxy: Any, faults: ModuleType, broken: S3Store, root: str
    ) -> None:
        conflict = faults.Fault(
            faults.Kind.STATUS, "PUT", status=409, code="ConditionalRequestConflict"
        )
        fault_proxy.faults.append(conflict)
        assert broken.create(f"{root}/m", b"mine") is True
        assert fault_proxy.count("PUT") == 2

    def test_sixteen_racing_creators(self, fault_proxy: Any, faults: ModuleType, root: str) -> None:
        fault_proxy.faults += [
            faults.Fault(faults.Kind.RESET_AFTER, "PUT", times=4),
            faults.Fault(faults.Kind.STATUS, "PUT", times=4),
        ]
        store = make_store(fault_proxy.url)
        with ThreadPoolExecutor(16) as pool:
            won = list(
                pool.map(
                    lambda number: store.create(f"{root}/m", f"attempt {number}".encode()),
                    range(16),
                )
            )
        assert sum(won) == 1
        assert make_store().read(f"{root}/m") == f"attempt {won.index(True)}".encode()

    def test_a_body_cut_short_is_resumed_at_its_byte(
        self, fault_proxy: Any, faults: ModuleType, broken: S3Store, root: str
    ) -> None:
        data = noise(3 * MIB)
        broken.replace(f"{root}/a", data)
        fault_proxy.faults.append(
            faults.Fault(faults.Kind.TRUNCATE, "GET", times=3, bytes=MIB // 2)
        )
        assert broken.open_range(f"{root}/a", 7).read() == data[7:]
        ranges = [seen.headers["range"] for seen in fault_proxy.seen if seen.method == "GET"]
        starts = [int(value.removeprefix("bytes=").split("-")[0]) for value in ranges]
        assert starts == [7, 7 + MIB // 2, 7 + MIB, 7 + 3 * MIB // 2]

    def test_a_small_read_cut_short(
        self, fault_proxy: Any, faults: ModuleType, broken: S3Store, root: str
    ) -> None:
        broken.replace(f"{root}/a", b"0123456789")
        fault_proxy.faults.append(faults.Fault(faults.Kind.TRUNCATE, "GET", bytes=4))
        assert broken.read(f"{root}/a") == b"0123456789"

    def test_a_body_damaged_on_its_way_is_sent_again(
        self, fault_proxy: Any, faults: ModuleType, broken: S3Store, root: str, tmp_path: Path
    ) -> None:
        fault_proxy.faults.append(faults.Fault(faults.Kind.CORRUPT, "PUT", times=3))
        (tmp_path / "part").write_bytes(b"rows")
        assert broken.create(f"{root}/m", b"mine") is True
        broken.upload(tmp_path / "part", f"{root}/part")
        assert broken.read(f"{root}/m") == b"mine"
        assert broken.read(f"{root}/part") == b"rows"

    def test_every_write_carries_a_checksum(
        self, fault_proxy: Any, broken: S3Store, root: str, tmp_path: Path
    ) -> None:
        (tmp_path / "part").write_bytes(b"rows")
        broken.create(f"{root}/a", b"1")
        broken.replace(f"{root}/b", b"2")
        broken.upload(tmp_path / "part", f"{root}/c")
        writes = [seen for seen in fault_proxy.seen if seen.method == "PUT"]
        assert len(writes) == 3
        assert all("x-amz-checksum-sha256" in seen.headers for seen in writes)

    def test_the_deadline(self, fault_proxy: Any, faults: ModuleType, root: str) -> None:
        clock = Clock()
        store = make_store(fault_proxy.url, clock=clock, deadline_s=60)
        fault_proxy.faults += [
            faults.Fault(faults.Kind.STATUS, method, times=10_000) for method in ("PUT", "HEAD")
        ]
        with pytest.raises(OutputError, match=r"/a: S3 still failed after \d+ attempts.*SlowDown"):
            store.replace(f"{root}/a", b"x")
        assert 30 < clock.now_s <= 60
        with pytest.raises(InputError, match="S3 still failed"):
            store.stat(f"{root}/a")

    @pytest.mark.parametrize(
        ("status", "code", "error", "says"),
        [
            (403, "AccessDenied", PermissionError, "a.jsonl"),
            (400, "ExpiredToken", UserError, "Log in again"),
            (403, "InvalidAccessKeyId", UserError, "Log in again"),
            (301, "PermanentRedirect", UserError, "AWS_REGION"),
            (403, "RequestTimeTooSkewed", UserError, "clock"),
            (405, "MethodNotAllowed", InputError, "refused the request"),
        ],
    )
    def test_refusals_are_told_at_once(
        self,
        fault_proxy: Any,
        faults: ModuleType,
        root: str,
        status: int,
        code: str,
        error: type[Exception],
        says: str,
    ) -> None:
        clock = Clock()
        store = make_store(fault_proxy.url, clock=clock)
        refusal = faults.Fault(faults.Kind.STATUS, "GET", status=status, code=code, times=9)
        fault_proxy.faults.append(refusal)
        with pytest.raises(error, match=says):
            store.read(f"{root}/a.jsonl")
        assert clock.sleeps == 0

    def test_no_credentials(self, root: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        with pytest.raises(UserError, match="credentials are missing"):
            list(S3Store(new_client()).list(root))

    def test_an_unknown_profile(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_PROFILE", "nobody")
        with pytest.raises(UserError, match="AWS_PROFILE"):
            S3Store.from_environment()

    def test_nobody_listens(self, root: str) -> None:
        store = make_store("http://127.0.0.1:9", deadline_s=1)
        with pytest.raises(InputError, match="S3 still failed"):
            store.stat(join(root, "a"))
