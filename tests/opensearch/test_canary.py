"""A canary between indexes of two real models, as a user runs it."""

from __future__ import annotations

import math
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from opensearchpy import OpenSearch

from embed_job.bundle import open_bundle
from embed_job.cli.candidate import opened_candidate
from embed_job.dataset.query import embed_query
from embed_job.errors import OutputError
from embed_job.opensearch.promotion.promote import promote_past_gates
from embed_job.spec.file import load_spec
from tests.opensearch import corpora, models
from tests.opensearch.index_targets import client_with
from tests.opensearch.loading import embed_job, load, printed

QUERIES = (
    {"query": "the quick brown fox", "judgements": {"d000001": 3, "d000007": 1, "d000020": 2}},
    {"query": "how do I read a zip file", "judgements": {"d000003": 1, "d000030": 2}},
    {"query": "a lighthouse", "filters": ["language=de"]},
    {"query": "over the lazy dog"},
)
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


class Pair:
    """An old and a new output under one alias, and their indexes."""

    def __init__(self, folder: Path, url: str, client: OpenSearch) -> None:
        self.client, self.folder, self._url = client, folder, url
        self.alias = f"t-{uuid.uuid4().hex[:12]}"
        self.old, self.new = (
            models.make(folder / name, seed=seed) for name, seed in (("old", 7), ("new", 8))
        )
        self.queries = self.write(*QUERIES)
        live = load(client, load_spec(Path(self.spec(self.old))))
        self.live, self.next = live.name, load(client, load_spec(Path(self.spec(self.new)))).name

    def write(self, *queries: dict[str, Any]) -> str:
        """The file of queries; its path as a spec names it."""
        return models.write_queries(self.folder / "queries.jsonl", *queries)

    def spec(self, output: models.Output, **limits: Any) -> str:
        canary = {"queries": self.queries, "min_overlap": 0, "min_ndcg_ratio": 0} | limits
        return str(output.spec(self._url, alias=self.alias, gates={"canary": canary}))

    def begin_anew(self) -> None:
        """As when the old index had just been promoted, with these queries."""
        self.write(*QUERIES)
        client = self.client
        if client.indices.exists_alias(name=self.alias):
            client.indices.delete_alias(index=self.holder(), name=self.alias)
        for output in (self.old, self.new):
            shutil.rmtree(output.kept.parent, ignore_errors=True)
        assert embed_job("promote", self.spec(self.old), "--force") == 0

    def report(self) -> tuple[str, str]:
        return "--report", str(self.folder / "report")

    def holder(self) -> str:
        (holder,) = self.client.indices.get_alias(name=self.alias)
        return str(holder)

    @contextmanager
    def without(self, folder: Path) -> Iterator[Path]:
        """While it lies elsewhere."""
        elsewhere = self.folder / "elsewhere"
        folder.rename(elsewhere)
        yield elsewhere
        elsewhere.rename(folder)


@pytest.fixture(scope="module")
def loaded(
    tmp_path_factory: pytest.TempPathFactory, opensearch_url: str, client: OpenSearch
) -> Iterator[Pair]:
    pair = Pair(tmp_path_factory.mktemp("canary"), opensearch_url, client)
    yield pair
    client.indices.delete(index=f"{pair.alias}*")


@pytest.fixture
def pair(loaded: Pair, capfdbinary: pytest.CaptureFixture[bytes]) -> Pair:
    loaded.begin_anew()
    capfdbinary.readouterr()
    return loaded


def nearest(output: models.Output, query: dict[str, Any]) -> list[str]:
    """The first ten documents, by an exact search of the output with its own model."""
    bundle = open_bundle(output.folder / "bundle")
    vector = embed_query(bundle, query["query"], precision="fp32")
    rows = [
        row
        for row in corpora.rows_of(output.folder / "out")
        if "filters" not in query or row["language"] == "de"
    ]
    order = np.argsort([-float(row["vector"] @ vector) for row in rows], kind="stable")
    return [rows[place]["doc_id"] for place in order[:10]]


def gain(documents: list[str], grades: dict[str, int]) -> float:
    """nDCG@10, written out: ranks 1 and 2 whole, then divided by log2 of the rank."""
    found = [grades.get(name, 0) for name in documents]
    best = sorted(grades.values(), reverse=True)
    sums = [
        gains[0] + sum(gains[at] / math.log2(at + 1) for at in range(1, len(gains)))
        for gains in (found, best)
    ]
    return float(sums[0] / sums[1])


def test_the_figures_are_those_of_exact_searches(
    pair: Pair, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert embed_job("canary", pair.spec(pair.new), "--json", *pair.report()) == 0
    said = printed(capfdbinary)
    old, new = ([nearest(one, query) for query in QUERIES] for one in (pair.old, pair.new))
    shares = [len(set(a) & set(b)) / 10 for a, b in zip(old, new, strict=True)]
    found = said["comparison"]
    assert found["overlap"] == pytest.approx(sum(shares) / len(shares))
    assert 0 < found["overlap"] < 1, "or this test shows little"
    assert (found["judged"], found["queries"]) == (2, 4)
    for name, answers in (("old_ndcg", old), ("new_ndcg", new)):
        gains = [gain(answers[at], dict(QUERIES[at]["judgements"])) for at in (0, 1)]  # type: ignore[call-overload]
        assert found[name] == pytest.approx(sum(gains) / 2)
    for side in ("old_latency", "new_latency"):
        assert 0 < found[side]["p50_ms"] <= found[side]["p95_ms"]
    assert said["notes"] == []


def test_a_failed_gate_leaves_the_alias_and_force_names_what_it_overrides(
    pair: Pair, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    spec = pair.spec(pair.new, min_overlap=1)
    assert embed_job("promote", spec, *pair.report()) == 6
    told = capfdbinary.readouterr().out.decode()
    assert "✗ canary: the answers overlap" in told
    assert "; at least 1" in told
    assert "is not promoted: 1 check failed" in told
    assert f"embed-job promote {spec} --force" in told
    assert pair.holder() == pair.live
    assert embed_job("promote", spec, "--force", *pair.report()) == 0
    told = capfdbinary.readouterr().out.decode()
    assert "! overridden: canary: the answers overlap" in told
    assert "past 11 checks" in told
    assert f"{pair.live} stays, out of use" in told
    assert pair.holder() == pair.next


def test_force_names_each_check_it_overrides_in_json(
    pair: Pair, client: OpenSearch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    client.indices.put_settings(index=pair.next, body={"index.refresh_interval": "-1"})
    spec = pair.spec(pair.new, min_overlap=1)
    assert embed_job("promote", spec, "--json", *pair.report()) == 6
    said = printed(capfdbinary)
    failed = [check["name"] for check in said["checks"] if not check["ok"]]
    assert failed == ["index: no load profile is on", "canary: the answers overlap"]
    assert (said["promotion"], said["overridden"]) == (None, [])
    assert embed_job("promote", spec, "--json", "--force", *pair.report()) == 0
    client.indices.put_settings(index=pair.next, body={"index.refresh_interval": None})
    said = printed(capfdbinary)
    assert said["overridden"] == failed
    assert said["promotion"]["index"] == pair.next


def test_the_first_promotion_has_nothing_to_compare_with(
    pair: Pair, client: OpenSearch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    client.indices.delete_alias(index=pair.live, name=pair.alias)
    assert embed_job("promote", pair.spec(pair.new), "--json", *pair.report()) == 0
    said = printed(capfdbinary)
    last = said["checks"][-1]
    assert (last["skipped"], last["detail"]) == (True, "there is no other index to compare with")
    assert said["page"] is None
    assert pair.new.kept.exists()


@pytest.fixture
def figures(capfdbinary: pytest.CaptureFixture[bytes]) -> Callable[[Pair], dict[str, Any]]:
    """What a canary has found, but for how long it took."""

    def ask(pair: Pair) -> dict[str, Any]:
        capfdbinary.readouterr()
        embed_job("canary", pair.spec(pair.new), "--json", *pair.report())
        found = printed(capfdbinary)["comparison"]
        return {name: value for name, value in found.items() if "latency" not in name}

    return ask


def test_what_was_kept_stands_for_a_model_that_is_gone(
    pair: Pair, figures: Callable[[Pair], dict[str, Any]]
) -> None:
    with_bundle = figures(pair)
    assert pair.old.kept.exists(), "kept when it was promoted"
    with pair.without(pair.old.folder / "bundle"):
        assert figures(pair) == pytest.approx(with_bundle)
        pair.write(QUERIES[1], QUERIES[0])
        assert figures(pair)["queries"] == 2, "some of them will do, in any order"


def test_with_neither_bundle_nor_vectors_the_gate_says_what_to_do(
    pair: Pair, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    pair.write(*QUERIES, {"query": "a query that is new"})
    with pair.without(pair.old.folder / "bundle") as elsewhere:
        assert embed_job("promote", pair.spec(pair.new), *pair.report()) == 6
        told = capfdbinary.readouterr().out.decode()
        assert "✗ canary: both indexes can be asked" in told
        assert f"{pair.live}: nothing here can embed the queries as its model did" in told
        assert "keeps no vectors of these queries" in told
        assert "Run `embed-job canary` with the spec of that index where its bundle is" in told
        assert pair.holder() == pair.live
        # What it says helps.
        assert embed_job("canary", pair.spec(pair.old), "--bundle", elsewhere) == 0
        told = capfdbinary.readouterr().out.decode()
        assert f"the vectors of the queries are kept for what replaces {pair.live}" in told
        assert embed_job("promote", pair.spec(pair.new), *pair.report()) == 0
    assert pair.holder() == pair.next


def test_a_model_that_can_not_be_asked_may_be_overridden(
    pair: Pair, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    with pair.without(pair.old.folder):
        assert embed_job("promote", pair.spec(pair.new), "--json", "--force", *pair.report()) == 0
    said = printed(capfdbinary)
    assert said["overridden"] == ["canary: both indexes can be asked"]
    assert said["promotion"]["previous"] == pair.live


def test_an_alias_that_is_moved_during_the_checks_is_left(pair: Pair, opensearch_url: str) -> None:
    """They have compared with another index than the one that would be replaced."""
    client, other = pair.client, f"{pair.alias}-other"
    client.indices.create(index=other)

    def fault(number: int, method: str, path: str) -> None:
        if path.endswith("/_msearch") and pair.holder() != other:
            add = {"add": {"index": other, "alias": pair.alias}}
            remove = {"remove": {"index": pair.live, "alias": pair.alias}}
            client.indices.update_aliases(body={"actions": [remove, add]})

    with opened_candidate(Path(pair.spec(pair.new)), None, None) as (_, candidate):
        faulty = replace(candidate, client=client_with(opensearch_url, fault))
        with pytest.raises(OutputError, match=f"was on {pair.live} when the checks began"):
            promote_past_gates(faulty)
    assert pair.holder() == other
    client.indices.delete(index=other)


def test_a_page_that_can_not_be_written_hides_no_promotion(
    pair: Pair, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert embed_job("promote", pair.spec(pair.new), "--force", "--report", pair.queries) == 0
    said = capfdbinary.readouterr()
    assert "the canary's page cannot be written" in said.err.decode()
    assert f"{pair.alias} → {pair.next}" in said.out.decode()
    assert pair.holder() == pair.next


def test_vectors_that_can_not_be_kept_are_told_and_no_more(
    pair: Pair, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    in_the_way = pair.new.kept.parent
    in_the_way.write_text("")
    assert embed_job("canary", pair.spec(pair.new), "--json", *pair.report()) == 0
    in_the_way.unlink()
    [note] = printed(capfdbinary)["notes"]
    assert f"could not be kept in {pair.new.folder}/out for a later canary" in note


def test_a_filter_that_an_index_can_not_take_is_named(
    pair: Pair, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    bad = {"query": "x", "filters": ["langage=de"]}
    pair.write(QUERIES[0], bad)
    assert embed_job("canary", pair.spec(pair.new), *pair.report()) == 6
    told = capfdbinary.readouterr().out.decode()
    assert f"{pair.queries}:2: a filter of it: names 'langage'" in told
    assert "Did you mean 'language'?" in told


def test_queries_that_are_not_there_are_told_before_anything_is_moved(
    pair: Pair, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    Path(pair.queries).unlink()
    assert embed_job("promote", pair.spec(pair.new), "--force", *pair.report()) == 3
    assert "there is no such file" in capfdbinary.readouterr().err.decode()
    assert pair.holder() == pair.live


def test_without_queries_there_is_no_canary(
    pair: Pair, opensearch_url: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    bare = pair.new.spec(opensearch_url, alias=pair.alias)
    assert embed_job("canary", str(bare)) == 2
    assert "opensearch.gates.canary: is not set" in capfdbinary.readouterr().err.decode()


def test_the_page_shows_both_answers_and_loads_nothing(
    pair: Pair, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    hostile = {
        "query": "<script>alert(1)</script> fox",
        "judgements": dict.fromkeys(map(corpora.row_id, range(60)), 2),
    }
    pair.write(*QUERIES, hostile)
    assert embed_job("canary", pair.spec(pair.new), *pair.report()) == 0
    told = capfdbinary.readouterr().out.decode()
    path = pair.folder / "report/canary.html"
    assert f"both answers side by side: {path}" in told
    page = path.read_text()
    assert "&lt;script&gt;alert(1)&lt;/script&gt; fox" in page
    assert "<script" not in page
    assert "default-src 'none'" in page
    assert page.count('<div class="two">') == 5
    assert page.count("grade 2") >= 20
    assert "only here" in page


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
def test_the_page_lies_side_by_side_in_a_browser(
    pair: Pair, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert embed_job("canary", pair.spec(pair.new), *pair.report()) == 0
    page = pair.folder / "report/canary.html"
    dom, log = browsed(page)
    assert dom.count("<ol>") == 2 * len(QUERIES)
    assert dom.count("<li") == sum(
        len(nearest(one, query)) for one in (pair.old, pair.new) for query in QUERIES
    )
    assert "Refused to" not in log, "the page's own rules forbid nothing that it needs"
    assert "SyntaxError" not in log


def browsed(page: Path) -> tuple[str, str]:
    """The page's document as a browser has it, and the browser's log."""
    done = subprocess.run(
        [
            str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
            f"--user-data-dir={page.parent / 'browser'}", "--dump-dom", page.as_uri(),
        ],
        check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    return done.stdout, done.stderr
