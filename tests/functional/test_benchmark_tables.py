"""What the benchmarks publish: README's tables between their markers, and what peers are given."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.bound import Shapes
from benchmarks.peers.environments import LOCKS, NAMES
from benchmarks.peers.programs import ON_CPU, ON_GPU
from benchmarks.peers.task import longest_first
from benchmarks.readme import DOCS, update, update_all
from benchmarks.record import Entry, record, section_from, slug
from benchmarks.results import ROOT, Section, Table, Target

SECTION = Section(
    title="Speed",
    tables=[Table(("side", "tokens/s"), [("ours", "9")])],
    targets=[Target("speed", "≥ 2", "1", met=False), Target("GPU", "≥ 2", "not measured", None)],
    notes=["A note."],
    data={"tokens_a_s": 9},
)
FACTS = {
    "slug": "a-cpu-avx2-2-cores",
    "date": "2026-11-21",
    "cpu": "A CPU",
    "cores": 2,
    "platform": "Linux",
    "python": "3.11",
    "instructions": ["avx2"],
    "commit": "aaaa",
    "size": "full",
    "command": "run all",
    "load_average_1_min": 0.1,
    "versions": {"numpy": "1", "torch": "2"},
}


def test_a_full_run_replaces_only_what_is_between_markers(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(
        "before\n<!-- bench:end_to_end -->\nold\n<!-- /bench -->\nbetween\n"
        "<!-- bench:start_up -->\nold too\n<!-- /bench -->\nafter\n"
    )
    made = update(readme, {"end_to_end": SECTION, "sharing": SECTION}, source="A machine.")
    assert made == ["end_to_end"]
    assert readme.read_text() == (
        "before\n<!-- bench:end_to_end -->\n"
        "| side | tokens/s |\n| --- | --- |\n| ours | 9 |\n\n"
        "| target | goal | measured |  |\n| --- | --- | --- | --- |\n"
        "| speed | ≥ 2 | 1 | **missed** |\n| GPU | ≥ 2 | not measured |  |\n\n"
        "A machine.\n<!-- /bench -->\nbetween\n"
        "<!-- bench:start_up -->\nold too\n<!-- /bench -->\nafter\n"
    )


def test_of_smaller_benchmarks_the_readme_shows_the_targets(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("<!-- bench:start_up -->\n<!-- /bench -->\n")
    update(readme, {"start_up": SECTION}, source="A machine.")
    assert "| ours |" not in readme.read_text()
    assert "| speed | ≥ 2 | 1 |" in readme.read_text()


def test_pages_of_docs_show_tables_and_notes_where_the_readme_shows_targets(tmp_path: Path) -> None:
    block = "<!-- bench:{} -->\nold\n<!-- /bench -->\n"
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text(block.format("linear"))
    (tmp_path / "docs" / "engines.md").write_text(block.format("agreement"))
    (tmp_path / "docs" / "refresh.md").write_text(block.format("refresh"))
    (tmp_path / "docs" / "scale.md").write_text(block.format("linear") + block.format("billion"))
    found = dict.fromkeys(("linear", "agreement", "refresh"), SECTION)
    made = update_all(tmp_path, found, source="A machine.")
    pages = ["engines.md: agreement", "refresh.md: refresh", "scale.md: linear"]
    assert sorted(made) == ["README.md: linear", *(f"docs/{page}" for page in pages)]
    assert "| ours |" not in (tmp_path / "README.md").read_text()
    for page in ("engines.md", "refresh.md", "scale.md"):
        text = (tmp_path / "docs" / page).read_text()
        assert "| ours | 9 |" in text
        assert "A note.\n\nA machine.\n<!-- /bench -->" in text
    assert text.endswith(block.format("billion"))


def test_what_was_not_measured_names_no_machine(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("<!-- bench:gpu -->\n<!-- /bench -->\n")
    update(readme, {"gpu": replace(SECTION, data={})}, source="A machine.")
    assert "not measured" in readme.read_text()
    assert "A machine." not in readme.read_text()


PAGES = {"README.md": {"end_to_end", "gpu"}} | {f"docs/{k}": set(v) for k, v in DOCS.items()}


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_each_marker_once_and_closed(page: str) -> None:
    text = (ROOT / page).read_text()
    names = re.findall(r"<!-- bench:(\w+) -->", text)
    assert PAGES[page] <= set(names)
    assert len(names) == len(set(names)) == text.count("<!-- /bench -->")


def test_a_later_run_keeps_what_it_did_not_run_and_says_of_which_commit(tmp_path: Path) -> None:
    order = ["first", "second"]
    first = Entry(FACTS, False, replace(SECTION, title="First"))
    second = Entry(FACTS, False, replace(SECTION, title="Old second"))
    record(tmp_path, FACTS, {"first": first, "second": second}, order=order)
    later = FACTS | {"commit": "bbbb", "versions": {"numpy": "1", "torch": "3"}}
    again = Entry(later, False, replace(SECTION, title="New second"))
    page, text = record(tmp_path, later, {"second": again}, order=order)
    assert page.read_text() == text
    assert re.findall(r"^## (.+)", text, re.MULTILINE) == ["First", "New second"]
    old, new = text.split("## New second")
    assert "commit bbbb; numpy 1, torch 3." in old.split("## First")[0]
    assert "Commit aaaa, a run of its own." in old
    assert "With torch 2." in old
    assert "Commit" not in new


def test_a_run_without_a_result_replaces_an_older_one(tmp_path: Path) -> None:
    record(tmp_path, FACTS, {"first": Entry(FACTS, False, SECTION)}, order=["first"])
    _, text = record(tmp_path, FACTS, {"first": Entry(FACTS, True, None)}, order=["first"])
    assert "**first FAILED**" in text
    assert SECTION.title not in text


def test_processors_of_one_name_have_files_of_their_own() -> None:
    assert slug("AMD EPYC", ["avx2", "fma"], 2) == "amd-epyc-avx2-2-cores"
    wide = ["avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16"]
    assert slug("AMD EPYC", wide, 2) == "amd-epyc-avx512-vnni-2-cores"
    assert slug("Cortex", [], 4, gpus=["NVIDIA T4"]) == "nvidia-t4-cortex-4-cores"


def test_a_result_comes_back_from_json_as_it_was() -> None:
    assert section_from(json.loads(json.dumps(asdict(SECTION)))) == SECTION


def test_sorting_for_a_library_is_undone() -> None:
    given: list[str] = []

    def encode(texts: list[str]) -> list[list[float]]:
        given.extend(texts)
        return [[float(len(text))] for text in texts]

    vectors = longest_first(encode)(["aa", "a", "aaaa", "aaa"])
    assert given == ["aaaa", "aaa", "aa", "a"]
    np.testing.assert_array_equal(vectors[:, 0], [2, 1, 4, 3])


def test_flops_of_the_default_model() -> None:
    assert Shapes(layers=6, hidden=384, wide=1536).flops_a_token == 21_233_664


@pytest.mark.parametrize("name", NAMES)
def test_a_lock_of_peers_has_hashes_and_names_no_index(name: str) -> None:
    lines = (LOCKS / f"{name}.txt").read_text().splitlines()
    assert not [line for line in lines if "://" in line or line.startswith("-")]
    pinned = [line for line in lines if line and not line.startswith((" ", "#"))]
    assert pinned
    assert all("==" in line and line.endswith("\\") for line in pinned)


def test_every_program_of_a_peer_has_a_lock() -> None:
    assert {program.environment for program in (*ON_CPU, *ON_GPU)} == set(NAMES)
