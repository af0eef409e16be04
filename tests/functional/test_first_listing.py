"""A job without a listing: its hosts make one, and all of them go by the same."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from embed_job.errors import InputError
from embed_job.fleet import Host
from embed_job.fleet.first_listing import Patience, complete_order
from embed_job.fleet.listing import iter_listed
from embed_job.fleet.order import LISTING_FILE, JobOrder
from embed_job.spec import JobSpec

HASTY = Patience(wait_s=0, poll_s=0.01)


@pytest.fixture
def order(tmp_path: Path) -> JobOrder:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.jsonl").write_text('{"id": "1", "text": "one"}\n')
    (folder / "notes.xyz").write_text("no documents")
    spec = JobSpec.model_validate(
        {
            "name": "nightly",
            "input": {"uri": str(folder)},
            "outputs": [{"parquet": {"uri": str(tmp_path / "out")}}],
            "compute": {"sharing": "balanced"},
        }
    )
    return JobOrder(program_version="1", spec=spec, listed=False, created_at=0)


def host(rank: int, hosts: int = 2) -> Host:
    return Host(job="nightly-1", name=f"algo-{rank + 1}", rank=rank, count=hosts)


def names(folder: Path) -> list[str]:
    return [name for name, _, _ in iter_listed(folder / LISTING_FILE)]


def left_in(tmp_path: Path) -> list[str]:
    folder = tmp_path / "out/_embed_job/jobs/nightly-1/input"
    return sorted(path.name for path in folder.iterdir())


def test_the_first_host_lists_and_the_others_take_it(order: JobOrder, tmp_path: Path) -> None:
    found: dict[int, JobOrder | None] = {}

    def complete(rank: int) -> None:
        found[rank] = complete_order(
            order, host(rank, 4), tmp_path / f"host-{rank}", stopping=lambda: False,
            patience=Patience(poll_s=0.01), clock=lambda: 100.0 + rank,
        )  # fmt: skip

    threads = [threading.Thread(target=complete, args=(rank,)) for rank in (3, 2, 1, 0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    first = found[0]
    assert first is not None
    assert all(found[rank] == first for rank in range(4))
    assert (first.listed, first.files, first.ignored, first.created_at) == (
        True, 3, ("notes.xyz",), 100.0,
    )  # fmt: skip
    assert all(names(tmp_path / f"host-{n}") == ["0.jsonl", "1.jsonl", "2.jsonl"] for n in range(4))
    assert left_in(tmp_path) == ["listing-algo-1.parquet", "order.json"]


def test_who_waits_in_vain_lists_and_whoever_was_first_is_right(
    order: JobOrder, tmp_path: Path
) -> None:
    second = complete_order(
        order, host(1), tmp_path / "second", stopping=lambda: False, patience=HASTY
    )
    (tmp_path / "in/3.jsonl").write_text('{"id": "4", "text": "four"}\n')
    first = complete_order(order, host(0), tmp_path / "first", stopping=lambda: False)
    assert first == second
    assert first is not None
    assert first.listing_file == "listing-algo-2.parquet"
    assert names(tmp_path / "first") == names(tmp_path / "second") == [
        "0.jsonl", "1.jsonl", "2.jsonl",
    ]  # fmt: skip
    assert left_in(tmp_path) == ["listing-algo-2.parquet", "order.json"]


def test_hosts_that_all_list_at_once_agree(order: JobOrder, tmp_path: Path) -> None:
    """No host waits, and the input changes under them: one order, one listing, whole."""
    found: list[JobOrder | None] = []
    ready = threading.Barrier(6)

    def complete(rank: int) -> None:
        ready.wait()
        (tmp_path / f"in/by-{rank}.jsonl").write_text('{"id": "1", "text": "one"}\n')
        found.append(
            complete_order(
                order,
                host(rank, 6),
                tmp_path / f"host-{rank}",
                stopping=lambda: False,
                patience=HASTY,
            )
        )

    threads = [threading.Thread(target=complete, args=(rank,)) for rank in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(found) == 6
    assert all(one == found[0] is not None for one in found)
    listed = {tuple(names(tmp_path / f"host-{rank}")) for rank in range(6)}
    assert len(listed) == 1
    assert len(left_in(tmp_path)) == 2


@pytest.mark.parametrize("content", [None, b""])
def test_an_input_without_documents_is_refused_and_leaves_no_order(
    order: JobOrder, tmp_path: Path, content: bytes | None
) -> None:
    for path in (tmp_path / "in").glob("*.jsonl"):
        path.unlink()
        if content is not None:
            path.write_bytes(content)
    with pytest.raises(InputError) as refused:
        complete_order(order, host(0), tmp_path / "host", stopping=lambda: False)
    assert "holds nothing to embed" in str(refused.value)
    assert "Nothing was deleted" in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_a_host_that_is_to_stop_waits_no_longer(order: JobOrder, tmp_path: Path) -> None:
    assert complete_order(order, host(1), tmp_path / "host", stopping=lambda: True) is None
