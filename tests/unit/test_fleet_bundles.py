"""Bundles stand whoever made them: any sequence of sharings covers each file exactly once."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from embed_job.source import Compression, Format, SourceFile, Split
from embed_job.source.bundles import Bundled, standing_bundles, survey
from embed_job.source.plan import plan_splits
from embed_job.spec import InputSpec

SPEC = InputSpec(uri="s3://bucket/in")
ENDINGS = {
    ".txt": Format.TEXT,
    ".md": Format.TEXT,
    ".jsonl": Format.JSONL,
    ".csv": Format.CSV,
    ".tsv": Format.TSV,
}


def source_file(name: str, size: int, version: str) -> SourceFile:
    kind = ENDINGS["." + name.rpartition(".")[2]]
    return SourceFile(f"s3://bucket/in/{name}", name, size, version, kind, Compression.NONE)


class Output:
    """What is committed, as (name, version) and range; and what hosts would plan."""

    def __init__(self) -> None:
        self.committed: dict[str, Bundled] = {}

    def plan(self, share: list[SourceFile], whole: list[SourceFile]) -> tuple[list[str], Any]:
        """(identities that this host says are to be committed, the splits among them by it)."""
        seen = survey(((f.name, f.size, f.version) for f in whole), self.committed.values())
        standing = standing_bundles(self.committed, seen)
        splits = {
            split.identity("f"): split
            for split in plan_splits(None, share, SPEC, standing=standing, found=seen)  # type: ignore[arg-type]
        }
        names = {file.name for file in share}
        ours = [
            split
            for split in standing.splits
            if any(name in names for name, _ in self.committed[split].files)
        ]
        return [*splits, *ours], splits

    def commit(self, identity: str, split: Split) -> None:
        files = tuple((file.name, file.version) for file in split.files)
        self.committed[identity] = Bundled(files, split.start, split.end)


Sizes = st.one_of(st.integers(0, 3000), st.integers(0, 300_000))
Corpus = st.dictionaries(
    st.builds(
        lambda number, ending: f"{number:03}{ending}", st.integers(0, 400), st.sampled_from(
            [".txt", ".md", ".jsonl"]
        )
    ),
    Sizes,
    min_size=1,
    max_size=200,
)  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(Corpus, st.data())
def test_any_sequence_of_sharings_covers_each_file_once(
    corpus: dict[str, int], data: st.DataObject
) -> None:
    output = Output()
    versions = dict.fromkeys(corpus, 0)
    for _ in range(data.draw(st.integers(1, 4), label="jobs")):
        changed = data.draw(st.lists(st.sampled_from(sorted(corpus)), max_size=3), label="changed")
        for name in changed:
            versions[name] += data.draw(st.sampled_from([1, -1]))
        gone = data.draw(st.sets(st.sampled_from(sorted(corpus)), max_size=2), label="gone")
        whole = [
            source_file(name, size, str(versions[name]))
            for name, size in sorted(corpus.items())
            if name not in gone
        ]
        hosts = data.draw(st.integers(1, 4), label="hosts")
        owner = {file.name: data.draw(st.integers(0, hosts - 1)) for file in whole}
        shares = [[file for file in whole if owner[file.name] == host] for host in range(hosts)]
        at_once = data.draw(st.booleans(), label="all start at once")
        early = [output.plan(share, whole) for share in shares]
        planned: set[str] = set()
        for host, share in enumerate(shares):
            # Else each starts when those before it have committed.
            ids, splits = early[host] if at_once else output.plan(share, whole)
            planned.update(ids)
            for identity, split in splits.items():
                if data.draw(st.integers(0, 9)) or host == hosts - 1:
                    output.commit(identity, split)
        missing = planned - output.committed.keys()
        if missing:
            continue  # this job was cut off; what it committed stays
        covered: Counter[tuple[str, str]] = Counter()
        sizes = {file.name: file.size for file in whole}
        ranges: dict[tuple[str, str], int] = {}
        for identity in planned:
            held = output.committed[identity]
            for file in held.files:
                cut = len(held.files) == 1 and not file[0].endswith((".txt", ".md"))
                if cut:
                    ranges[file] = ranges.get(file, 0) + held.end - held.start
                else:
                    covered[file] += 1
        covered.update(file for file, total in ranges.items() if total == sizes[file[0]])
        assert covered == Counter({(file.name, file.version): 1 for file in whole if file.size}), (
            "not each file once"
        )


@settings(deadline=None, max_examples=60)
@given(Corpus, st.randoms(use_true_random=False))
def test_hosts_that_start_at_different_moments_agree_on_one_plan(
    corpus: dict[str, int], random: Any
) -> None:
    output = Output()
    whole = [source_file(name, size, "1") for name, size in sorted(corpus.items())]
    first, splits = output.plan(whole, whole)
    for identity in random.sample(sorted(splits), len(splits) // 2):
        output.commit(identity, splits[identity])
    second, _ = output.plan(whole, whole)
    assert set(second) == set(first)


def test_a_changed_member_ends_its_bundle_and_no_other() -> None:
    output = Output()
    whole = [source_file(f"{n:03}.txt", 1000, "1") for n in range(400)]
    _, splits = output.plan(whole, whole)
    for identity, split in splits.items():
        output.commit(identity, split)
    assert len(splits) > 3
    changed = [*whole[:200], source_file("200.txt", 1000, "2"), *whole[201:]]
    planned, again = output.plan(changed, changed)
    (old,) = [i for i, s in splits.items() if "200.txt" in {file.name for file in s.files}]
    assert set(splits) - {old} <= set(planned)
    assert {file.name for split in again.values() for file in split.files} == {
        file.name for file in splits[old].files
    }
