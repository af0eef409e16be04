"""The default sample: real text, the same each time, quickly."""

from __future__ import annotations

import json
import sysconfig
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from embed_job.dry_run.stdlib_docs import choose_docs, find_sources, read_docs, write_stdlib_docs


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    path = tmp_path_factory.mktemp("sample") / "deep" / "docs.jsonl"
    assert write_stdlib_docs(path) == 2000
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_two_thousand_distinct_documents(sample: list[dict[str, Any]]) -> None:
    assert len(sample) == 2000
    assert all(list(doc) == ["id", "title", "body", "module"] for doc in sample)
    ids = [doc["id"] for doc in sample]
    assert ids == sorted(set(ids))
    assert len({doc["body"] for doc in sample}) == 2000


def test_they_are_public_and_long_enough(sample: list[dict[str, Any]]) -> None:
    for doc in sample:
        assert not any(part.startswith("_") for part in doc["id"].split("."))
        assert doc["id"] == doc["module"] or doc["id"].startswith(f"{doc['module']}.")
        assert doc["title"].startswith(doc["id"])
        assert len(doc["body"]) >= (20 if doc["id"] == doc["module"] else 40)


def test_what_people_ask_about_is_there(sample: list[dict[str, Any]]) -> None:
    bodies = {doc["id"]: doc["body"] for doc in sample}
    assert "ZIP" in bodies["zipfile"]
    assert {"json", "csv", "sqlite3", "asyncio", "subprocess"} <= bodies.keys()
    assert {"pathlib", "pathlib.Path"} & bodies.keys()


def test_it_is_spread_over_modules(sample: list[dict[str, Any]]) -> None:
    modules = Counter(doc["module"] for doc in sample)
    assert len(modules) > 80
    assert modules.most_common(1)[0][1] <= 100


def test_the_same_bytes_each_time_and_others_for_another_seed(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_stdlib_docs(tmp_path / name, count=200, seed=seed)
    first, second, third = ((tmp_path / name).read_bytes() for name in "abc")
    assert first == second != third


def test_it_is_quick(tmp_path: Path) -> None:
    began_s = time.process_time()
    write_stdlib_docs(tmp_path / "a")
    assert time.process_time() - began_s < 4


def test_no_test_or_tool_is_a_source() -> None:
    sources = find_sources(Path(sysconfig.get_path("stdlib")))
    assert {"zipfile", "json.decoder", "xml.etree.ElementTree"} <= sources.keys()
    roots = {name.split(".")[0] for name in sources}
    assert not roots & {"test", "idlelib", "turtledemo", "lib2to3", "site-packages"}


class TestReading:
    def read(self, tmp_path: Path, source: str) -> dict[str, str]:
        path = tmp_path / "m.py"
        path.write_text(source)
        return {doc.title: doc.body for doc in read_docs(path, "m")}

    def test_nothing_is_executed(self, tmp_path: Path) -> None:
        trap = tmp_path / "sprung"
        source = f'"""{"A module. " * 5}"""\nopen({str(trap)!r}, "w")\n'
        assert list(self.read(tmp_path, source)) == ["m"]
        assert not trap.exists()

    def test_names_signatures_and_indentation(self, tmp_path: Path) -> None:
        source = (
            "if True:\n"
            "    class Reader:\n"
            "        def read(self, size=-1, *, to: int = 3):\n"
            '            """Read some bytes from the file that was opened.\n\n'
            '            And a second line.\n            """\n'
            "            def inner():\n"
            '                """A function that nobody outside of it can reach."""\n'
            "        def _hidden(self):\n"
            '            """Something private with a long enough description."""\n'
        )
        assert self.read(tmp_path, source) == {
            "m.Reader.read(self, size=-1, *, to: int=3)": (
                "Read some bytes from the file that was opened.\n\nAnd a second line."
            )
        }

    def test_what_cannot_be_utf8_is_left_out(self, tmp_path: Path) -> None:
        source = f'def f():\n    "{"A long enough description. " * 3}\\ud800"\n'
        assert self.read(tmp_path, source) == {}

    @pytest.mark.parametrize("source", ["def f(:", "x = '\0'"])
    def test_what_does_not_parse_is_left_out(self, tmp_path: Path, source: str) -> None:
        assert self.read(tmp_path, source) == {}

    def test_fewer_than_asked_for(self, tmp_path: Path) -> None:
        text = "A long enough description of what it does."
        for name in ("a", "b"):
            functions = f'def f():\n    "{text} {name}"\ndef g():\n    "{text}"\n'
            (tmp_path / f"{name}.py").write_text(functions * 2)
        found = choose_docs(tmp_path, count=100, seed=0)
        assert len(found) == 3
        assert {doc.body for doc in found} == {text, f"{text} a", f"{text} b"}
