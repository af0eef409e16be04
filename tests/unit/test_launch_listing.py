"""The input's facts as its pages stream by, and how hosts would share it."""

import random
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from embed_job.errors import InputError
from embed_job.fleet.order import LISTING_FILE, LISTING_SCHEMA
from embed_job.source import Compression, Format, SourceFile
from embed_job.source.bundles import MAX_BUNDLE_FILES
from embed_job.source.listing import is_hidden as hidden_to_the_engine
from embed_job.source.listing import kind_of
from embed_job.source.plan import plan_splits
from embed_job.spec import InputSpec
from embed_job.storage import Store
from embed_job.storage.s3 import S3Store
from launcher.planning.listing import KINDS, ListingFacts, code_of, is_hidden, list_objects
from launcher.planning.sharing import cut, simulate

MIB = 1 << 20
Objects = list[tuple[str, int]]


class Bucket:
    """An S3 client of one bucket, three keys a page, in order of the keys."""

    def __init__(self, objects: Objects) -> None:
        self._objects = sorted(objects)

    def list_objects_v2(self, *, Prefix: str, **more: Any) -> dict[str, Any]:  # noqa: N803 - boto3's
        start = int(more.get("ContinuationToken", 0))
        found = [pair for pair in self._objects if pair[0].startswith(Prefix)]
        page = found[start : start + 3]
        return {
            "Contents": [
                {"Key": key, "Size": size, "ETag": f'"{key[-8:]}-tag"'} for key, size in page
            ],
            "IsTruncated": start + 3 < len(found),
            "NextContinuationToken": str(start + 3),
        }


def listed(objects: Objects, folder: Path, uri: str = "s3://bucket/in") -> ListingFacts:
    return list_objects(S3Store(cast(Any, Bucket(objects))), uri, folder)


def rows_of(folder: Path) -> list[tuple[str, int, str]]:
    table = pq.read_table(folder / LISTING_FILE)
    assert table.schema.equals(LISTING_SCHEMA)
    return [tuple(row.values()) for row in table.to_pylist()]


CORPUS = [
    ("in/a.jsonl", 100),
    ("in/b.csv.gz", 40),
    ("in/deep/c.jsonl", 300),
    ("in/empty.jsonl", 0),
    ("in/_SUCCESS", 1),
    ("in/.git/x.jsonl", 5),
    ("in/readme.pdf", 7),
    ("in/deep/", 0),
    ("in-old/d.jsonl", 9),
]


def test_facts_of_a_mixed_folder(tmp_path: Path) -> None:
    facts = listed(CORPUS, tmp_path)
    assert facts.uri == "s3://bucket/in/"
    assert not facts.single
    assert (facts.objects, facts.files, facts.bytes) == (7, 4, 440)
    assert (facts.hidden, facts.ignored, facts.empty) == (2, 1, 1)
    assert facts.ignored_names == ("readme.pdf",)
    assert facts.largest[0] == ("deep/c.jsonl", 300)
    assert {(kind.name, kind.files, kind.bytes) for kind in facts.kinds} == {
        ("jsonl", 3, 400),
        ("csv.gzip", 1, 40),
    }
    assert facts.weights().sum() == 440
    assert {file.name for file in facts.drawn} == {"a.jsonl", "b.csv.gz", "deep/c.jsonl"}


def test_the_listing_holds_what_is_embedded_in_order_of_names(tmp_path: Path) -> None:
    listed(CORPUS, tmp_path)
    assert rows_of(tmp_path) == [
        ("a.jsonl", 100, "/a.jsonl-tag"),
        ("b.csv.gz", 40, "b.csv.gz-tag"),
        ("deep/c.jsonl", 300, "/c.jsonl-tag"),
        ("empty.jsonl", 0, "ty.jsonl-tag"),
    ]


def test_one_object_is_named_below_its_folder(tmp_path: Path) -> None:
    facts = listed(CORPUS, tmp_path, "s3://bucket/in/deep/c.jsonl")
    assert facts.single
    assert facts.uri == "s3://bucket/in/deep/"
    assert rows_of(tmp_path) == [("c.jsonl", 300, "/c.jsonl-tag")]


@pytest.mark.parametrize("name", ["nothing", "in/readme.pdf"])
def test_what_can_not_be_an_input_is_told(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=name):
        listed(CORPUS, tmp_path, f"s3://bucket/{name}")


endings = st.sampled_from(
    [".jsonl", ".JSONL", ".csv", ".csv.gz", ".parquet", ".txt.zst", ".gz", ".pdf", "", "."]
)


@given(stem=st.text("ab._/", min_size=1, max_size=12), ending=endings, second=endings)
def test_kinds_are_those_of_the_engine(stem: str, ending: str, second: str) -> None:
    name = stem + ending + second
    assert is_hidden(name) == hidden_to_the_engine(name)
    assume(not is_hidden(name) and not name.endswith("/"))
    try:
        expected = kind_of(name)
    except InputError:
        with pytest.raises(InputError):
            code_of(name)
        return
    assert KINDS[code_of(name)] == expected


def test_a_drawn_sample_prefers_what_is_large(tmp_path: Path) -> None:
    objects = [(f"in/{number:04}.jsonl", 1) for number in range(3000)]
    objects += [(f"in/large-{number}.jsonl", 10**9) for number in range(32)]
    facts = listed(objects, tmp_path)
    assert sum(file.size == 10**9 for file in facts.drawn) >= 31
    assert len(facts.drawn) == 32


# How hosts share it ---------------------------------------------------------------------------


def coded(name: str, count: int) -> Any:
    return np.full(count, code_of(name), np.uint8)


def sharing(
    sizes: list[int], way: Any, *, hosts: int, name: str = "a.jsonl", workers: int = 1
) -> Any:
    weights = np.array(sizes, np.int64)
    made = cut(weights, coded(name, len(sizes)), split_mib=None)
    return simulate(made, weights, way, hosts=hosts, workers=workers)


def test_one_huge_object_is_shared_by_balanced_hosts_alone() -> None:
    sizes = [16 << 30] + [1] * 3
    assert sharing(sizes, "sharded_by_s3_key", hosts=4).makespan == pytest.approx(4, rel=0.01)
    balanced = sharing(sizes, "balanced", hosts=4)
    assert balanced.makespan == pytest.approx(1, rel=0.01)
    assert balanced.splits == (256, 257)


def test_a_huge_object_that_is_compressed_is_shared_by_nobody() -> None:
    sizes = [16 << 30] + [1] * 3
    balanced = sharing(sizes, "balanced", hosts=4, name="a.jsonl.gz")
    assert balanced.makespan == pytest.approx(4, rel=0.01)
    many = sharing(sizes, "balanced", hosts=4, name="a.jsonl.gz", workers=8)
    assert many.makespan == pytest.approx(32, rel=0.01)
    assert many.held_up


def test_equal_objects_are_shared_evenly_and_hosts_without_any_are_idle() -> None:
    even = sharing([10 * MIB] * 40, "sharded_by_s3_key", hosts=8)
    assert (even.makespan, even.idle, even.busiest_bytes) == (1.0, 0, 50 * MIB)
    few = sharing([10 * MIB] * 3, "sharded_by_s3_key", hosts=8)
    assert few.idle == 5
    assert few.makespan == pytest.approx(8 / 3)


def test_what_is_copied_counts_objects_without_documents_too() -> None:
    weights = np.array([0, 10 * MIB], np.int64)
    stored = np.array([500 * MIB, 10 * MIB], np.int64)
    made = cut(weights, coded("a.jsonl", 2), split_mib=None)
    shares = simulate(made, stored, "sharded_by_s3_key", hosts=1, workers=1)
    assert shares.copied_bytes == 510 * MIB
    assert shares.busiest_bytes == 10 * MIB


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(0, 400 * MIB), max_size=60),
    hosts=st.integers(1, 9),
    split_mib=st.sampled_from([None, 1, 50]),
    way=st.sampled_from(["sharded_by_s3_key", "balanced"]),
)
def test_no_simulation_is_better_than_perfect(
    sizes: list[int], hosts: int, split_mib: float | None, way: Any
) -> None:
    weights = np.array(sizes, np.int64)
    codes = np.array([code_of(f"a.{'txt' if s % 3 else 'jsonl'}") for s in sizes], np.uint8)
    made = cut(weights, codes, split_mib=split_mib)
    shares = simulate(made, weights, way, hosts=hosts, workers=None)
    assert 1.0 <= shares.lowest <= shares.makespan <= shares.highest <= hosts + 1e-9
    assert sum(sizes) / hosts <= shares.busiest_bytes + 1
    assert 0 <= shares.idle <= hosts
    assert shares.splits[0] <= shares.splits[1]


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(0, 300 * MIB), max_size=30),
    split_mib=st.sampled_from([None, 1, 50]),
)
def test_as_many_splits_as_the_engine_makes(sizes: list[int], split_mib: float | None) -> None:
    made = cut(np.array(sizes, np.int64), coded("a.jsonl", len(sizes)), split_mib=split_mib)
    spec = InputSpec(uri="s3://b/in", split_mib=split_mib)
    files = [
        SourceFile(f"k{n}", f"{n}.jsonl", size, "etag:x", Format.JSONL, Compression.NONE)
        for n, size in enumerate(sizes)
    ]
    assert made.splits == len(plan_splits(cast(Store, None), files, spec))


@pytest.mark.parametrize(("ending", "form"), [("txt", Format.TEXT), ("jsonl", Format.JSONL)])
def test_about_as_many_bundles_as_the_engine_makes(ending: str, form: Format) -> None:
    draw = random.Random(0)
    sizes = [draw.randrange(1, 40_000) for _ in range(20_000)]
    made = cut(np.array(sizes, np.int64), coded(f"a.{ending}", len(sizes)), split_mib=None)
    files = [
        SourceFile(f"k{n}", f"{n}.{ending}", size, "etag:x", form, Compression.NONE)
        for n, size in enumerate(sizes)
    ]
    assert len(files) > MAX_BUNDLE_FILES
    spec = InputSpec(uri="s3://b/in")
    assert made.splits == pytest.approx(len(plan_splits(cast(Store, None), files, spec)), rel=0.3)


def test_names_that_are_no_paths_are_noted(tmp_path: Path) -> None:
    objects: Objects = [
        ("in/2024//a.jsonl", 10),
        ("in/b.jsonl", 10),
        (f"in/{'c' * 300}.jsonl", 10),
    ]
    facts = listed(objects, tmp_path)
    assert facts.files == len(objects)
    assert facts.unfit == ("2024//a.jsonl", f"{'c' * 300}.jsonl")
