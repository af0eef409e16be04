"""A report from a run's facts: sums, rates, estimates, and a page that nothing can break."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embed_job.engine.facts import EngineFacts
from embed_job.errors import OutputError
from embed_job.manifest import Counts, SplitCounts, SplitManifest, SplitSource, StageTimes
from embed_job.report.build import build_report
from embed_job.report.html import render_html
from embed_job.report.model import (
    MAX_EXAMPLES,
    Inputs,
    Machine,
    NearestExample,
    Neighbour,
    RejectedExample,
    Report,
    RunFacts,
    SampleInfo,
)
from embed_job.report.write import render_json, write_report
from embed_job.sink import Part
from embed_job.spec import ExecutionSpec, JobSpec
from embed_job.spec.compute import ComputeSpec

SPEC = JobSpec.model_validate(
    {
        "name": "kb",
        "input": {"uri": "data/"},
        "outputs": [{"parquet": {"uri": "out/kb/vectors/"}}],
    }
)
BEGAN = 1_700_000_000.0
EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


def manifest(
    number: int, *, seconds: float = 10.0, documents: int = 100, **counts: object
) -> SplitManifest:
    rejected = counts.pop("rejected_by_reason", {})
    assert isinstance(rejected, dict)
    refused = sum(rejected.values())
    filled = {
        "documents": Counts(read=documents + refused, written=documents, rejected=refused),
        "chunks": Counts(read=documents, written=documents),
        "tokens": documents * 50,
        "embedded_tokens": documents * 45,
        "padded_tokens": documents * 50,
        "rejected_by_reason": rejected,
        **counts,
    }
    return SplitManifest(
        split=f"{number:064x}",
        attempt="a1",
        fingerprint="f" * 64,
        source=SplitSource(files=((f"file-{number}.jsonl", "v"),), start=0, end=9, bytes=9),
        counts=SplitCounts.model_validate(filled),
        parts=(Part(name=f"part-{number}.parquet", rows=documents, bytes=1000, sha256="0" * 64),),
        ids=None,
        dead_letters=None,
        worker=number % 2,
        host="h",
        started_at=BEGAN + 2,
        finished_at=BEGAN + 2 + seconds,
        stages_s=StageTimes(read=1, tokenize=1, embed=seconds - 3, write=0.5, wait=0.5),
        peak_rss_bytes=(100 + number) << 20,
    )


def facts(*manifests: SplitManifest, fresh: set[int] | None = None) -> RunFacts:
    chosen = range(len(manifests)) if fresh is None else fresh
    return RunFacts(
        spec=SPEC,
        fingerprint="f" * 64,
        manifests=manifests,
        fresh=frozenset(manifests[number].split for number in chosen),
        inputs=Inputs(uri="data/", files=2, bytes=4000, splits=len(manifests)),
        machine=Machine(cores=2, cpu="A CPU", python="3.11.2", platform="Linux x86_64"),
        workers=2,
        started_at=BEGAN,
        finished_at=BEGAN + 22,
        wall_s=22,
        load_s=2,
    )


class TestSums:
    def test_counts_are_over_all_splits_and_rates_over_fresh_ones(self) -> None:
        report = build_report(facts(manifest(0), manifest(1), manifest(2), fresh={1, 2}))
        assert report.counts.documents == Counts(read=300, written=300)
        assert report.counts.tokens == 15_000
        assert report.throughput.documents == 200
        assert report.throughput.tokens_per_s == 200 * 50 / 20
        assert report.throughput.documents_per_s == 10
        assert report.padding_fraction == pytest.approx(0.1)
        assert report.resumed.splits_reused == 1
        assert report.resumed.documents_embedded == 200
        assert [split.reused for split in report.splits] == [True, False, False]
        assert report.peak_rss_bytes == 102 << 20
        assert report.stages_s.embed == 21

    def test_nothing_fresh_has_no_rate_but_that_of_before(self) -> None:
        report = build_report(facts(manifest(0), fresh=set()))
        assert report.throughput.tokens_per_s == 0
        assert report.throughput.committed_tokens_per_s_per_worker == 500
        assert report.workers == ()

    def test_an_empty_input_is_a_success(self) -> None:
        report = build_report(replace(facts(), inputs=Inputs(uri="d", files=0, bytes=0, splits=0)))
        assert report.ok
        assert report.counts.documents.read == 0
        assert report.throughput.committed_tokens_per_s_per_worker is None
        assert any("no documents" in line for line in report.warnings)

    def test_sums_that_disagree_are_no_success(self) -> None:
        off = manifest(0, chunks=Counts(read=5, written=3))
        report = build_report(facts(off))
        assert not report.identity_holds
        assert not report.ok

    def test_two_wrongs_do_not_make_a_balance(self) -> None:
        over = manifest(0, documents=1, chunks=Counts(read=5, written=6))
        under = manifest(1, documents=1, chunks=Counts(read=6, written=5))
        assert not build_report(facts(over, under)).identity_holds

    def test_a_problem_is_no_success(self) -> None:
        report = build_report(replace(facts(manifest(0)), problems=["2 ids are in two splits"]))
        assert not report.ok

    def test_examples_are_bounded(self) -> None:
        letter = RejectedExample(
            file="a", line=1, byte_offset=0, reason="empty_text", stage="read", detail=""
        )
        many = replace(facts(manifest(0)), rejected_examples=[letter] * 500)
        assert len(build_report(many).rejected_examples) == MAX_EXAMPLES

    def test_a_name_that_is_not_utf8_can_be_told(self) -> None:
        odd = Inputs(uri="d", files=1, bytes=1, splits=1, ignored=1, ignored_examples=("\udcff",))
        report = build_report(replace(facts(manifest(0)), inputs=odd))
        assert b"udcff" in render_json(report)
        assert "udcff" in render_html(report)

    def test_the_spec_is_told_without_its_defaults_missing(self) -> None:
        told = build_report(facts()).spec["execution"]
        assert told["batch_tokens"] == ExecutionSpec().batch_tokens

    @given(st.lists(st.tuples(st.integers(1, 500), st.floats(3, 100)), max_size=8))
    def test_workers_share_what_was_embedded(self, sizes: list[tuple[int, float]]) -> None:
        made = [manifest(n, documents=d, seconds=s) for n, (d, s) in enumerate(sizes)]
        report = build_report(facts(*made))
        assert sum(worker.documents for worker in report.workers) == report.throughput.documents
        assert all(0 <= worker.busy_fraction <= 1 for worker in report.workers)


class TestWarnings:
    def test_a_straggler_is_named(self) -> None:
        late = manifest(4, seconds=50)
        report = build_report(facts(*(manifest(number) for number in range(4)), late))
        assert [split.straggler for split in report.splits] == [False] * 4 + [True]
        assert any(late.split[:12] in line for line in report.warnings)

    def test_truncation_and_absent_fields_are_told(self) -> None:
        cut = manifest(0, truncated_documents=3, truncated_tokens=90, absent_fields={"lang": 7})
        lines = "\n".join(build_report(facts(cut)).warnings)
        assert "3 documents were truncated and 90 tokens" in lines
        assert "'lang' was absent from 7 of 100" in lines

    def test_workers_without_work_are_told(self) -> None:
        assert any(
            "2 workers had 1 split to share" in line
            for line in build_report(facts(manifest(0))).warnings
        )
        assert not build_report(facts(manifest(0), manifest(1))).warnings
        assert not build_report(facts(manifest(0), fresh=set())).warnings


NATIVE = EngineFacts("native", "CPU", "avx512")
A10G = EngineFacts("torch", "NVIDIA A10G", "sm_86")


class TestEngines:
    def test_what_ran_is_told_with_its_precision(self) -> None:
        report = build_report(replace(facts(manifest(0)), engines=[NATIVE, A10G]))
        told = json.loads(render_json(report))["engines"]
        assert told[0] == {"engine": "native", "device": "CPU", "instructions": "avx512"}
        page = render_html(report)
        assert "native on CPU (avx512), fp32" in page
        assert "torch on NVIDIA A10G (sm_86), fp32" in page
        assert Report.model_validate_json(render_json(report)) == report

    def test_a_run_that_embeds_nothing_tells_of_no_engine(self) -> None:
        report = build_report(facts(manifest(0), fresh=set()))
        assert report.engines == ()
        assert "<dt>engine</dt>" not in render_html(report)

    def test_a_library_that_chooses_for_itself_names_no_instructions(self) -> None:
        assert str(EngineFacts("onnx", "CPU")) == "onnx on CPU"

    def test_processes_of_gpus_are_not_measured_by_cores(self) -> None:
        run = replace(facts(manifest(0)), engines=[A10G], workers=1)
        assert not build_report(run).warnings


class TestEstimates:
    def with_compute(self, run: RunFacts, **compute: object) -> RunFacts:
        section = ComputeSpec.model_validate(compute)
        return replace(run, spec=run.spec.model_copy(update={"compute": section}))

    def test_nothing_is_invented(self) -> None:
        estimates = build_report(facts(manifest(0))).estimates
        assert estimates.hours_on_compute is None
        assert estimates.cost_usd is None
        assert estimates.missing == ("compute.vcpus", "compute.price_per_hour_usd")

    def test_a_price_alone_is_no_cost(self) -> None:
        run = self.with_compute(facts(manifest(0)), price_per_hour_usd=1)
        assert build_report(run).estimates.cost_usd is None

    def test_of_several_types_nothing_is_stated(self) -> None:
        """What the spec says of one type beside them is of none."""
        chosen = [{"instance_type": "ml.c7i.4xlarge", "instance_count": 2}]
        run = self.with_compute(
            facts(manifest(0)), instance_preferences=chosen, vcpus=8, price_per_hour_usd=1
        )
        estimates = build_report(run).estimates
        assert (estimates.hours_on_compute, estimates.cost_usd) == (None, None)
        assert estimates.missing == ()

    def test_a_gpu_s_rate_says_nothing_of_vcpus(self) -> None:
        run = self.with_compute(facts(manifest(0)), vcpus=8, price_per_hour_usd=1)
        estimates = build_report(replace(run, engines=[A10G])).estimates
        assert estimates.hours_here is not None
        assert (estimates.hours_on_compute, estimates.missing) == (None, ())

    def test_a_sample_is_scaled_to_the_corpus(self) -> None:
        run = replace(
            facts(manifest(0), manifest(1)),
            sample=SampleInfo(documents=200, bytes=1000, of_bytes=1_000_000),
        )
        run = self.with_compute(run, vcpus=8, instance_count=4, price_per_hour_usd=0.5)
        estimates = build_report(run).estimates
        assert estimates.corpus_documents == 200_000
        assert estimates.corpus_tokens == 10_000_000
        assert estimates.output_bytes == 2_000_000
        # 10,000 tokens in 20 worker seconds: 500 tokens/s a core.
        assert estimates.hours_here == pytest.approx(10_000_000 / 1000 / 3600)
        assert estimates.hours_on_compute == pytest.approx(10_000_000 / (500 * 32) / 3600)
        assert estimates.cost_usd == pytest.approx(estimates.hours_on_compute * 4 * 0.5)
        assert estimates.usd_per_million_documents == pytest.approx(estimates.cost_usd * 5)
        assert estimates.missing == ()

    def test_a_run_that_finds_all_done_still_knows_the_rate(self) -> None:
        run = replace(facts(manifest(0), manifest(1), fresh=set()), workers=0)
        assert build_report(run).estimates.hours_here == pytest.approx(10_000 / 1000 / 3600)

    def test_an_unfinished_run_says_nothing_of_the_whole(self) -> None:
        run = facts(manifest(0))
        run = replace(run, inputs=run.inputs.model_copy(update={"splits": 3}))
        assert build_report(run).estimates.corpus_tokens is None


class Tags(HTMLParser):
    """Tags, and attributes that could load or run something."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.open: list[str] = []
        self.attributes: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in ("meta", "i", "br", "rect"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("i", "rect"):
            return
        assert self.open.pop() == tag


def full(evil: str) -> Report:
    """A report in which every text that comes from outside is `evil`."""
    bad = manifest(1, rejected_by_reason={"malformed_record": 2})
    source = SplitSource(files=((evil, "v"),), start=0, end=9, bytes=9)
    bad = bad.model_copy(update={"source": source})
    letter = RejectedExample(
        file=evil,
        line=1,
        byte_offset=None,
        reason="malformed_record",
        stage="read",
        detail=evil,
        doc_id=evil,
    )
    near = NearestExample(query=evil, neighbours=(Neighbour(doc_id=evil, score=0.9, text=evil),))
    section = SPEC.input.model_copy(update={"uri": evil})
    run = replace(
        facts(manifest(0), bad),
        spec=SPEC.model_copy(update={"input": section}),
        inputs=Inputs(uri=evil, files=1, bytes=1, splits=2, ignored=1, ignored_examples=(evil,)),
        machine=Machine(cores=1, cpu=evil, python="3", platform=evil),
        problems=[evil],
        rejected_examples=[letter],
        duplicates_across_splits=1,
        duplicate_examples=[evil],
        examples=[near],
    )
    return build_report(run)


class TestPage:
    def test_nothing_in_it_comes_from_elsewhere_or_runs(self) -> None:
        page = render_html(build_report(facts(manifest(0), manifest(1))))
        found = Tags(page)
        assert not found.open
        assert not found.tags & {"script", "link", "img", "iframe", "object", "base", "form"}
        assert not {name for name in found.attributes if name.startswith("on")}
        assert not re.search(r"url\(|@import|https?://", page)

    def test_a_document_cannot_add_to_the_page(self) -> None:
        page = render_html(full(EVIL))
        found = Tags(page)
        assert not found.tags & {"script", "img"}
        assert "onerror" not in found.attributes
        assert "&lt;script&gt;" in page

    @settings(max_examples=40, deadline=None)
    @given(st.text(max_size=60))
    def test_no_text_breaks_the_page(self, text: str) -> None:
        assert not Tags(render_html(full(text))).open

    def test_texts_are_cut_short_and_lose_their_bidi_marks(self) -> None:
        page = render_html(full("a" * 5000 + "\u202e"))
        assert "a" * 700 not in page.partition("<pre>")[0]
        assert "\u202e" not in page.partition("<pre>")[0]

    def test_it_tells_success_from_failure(self) -> None:
        good = build_report(facts(manifest(0)))
        assert ">Success<" in render_html(good)
        off = build_report(facts(manifest(0, chunks=Counts(read=5, written=3))))
        assert "sums do not agree" in render_html(off)

    @pytest.mark.parametrize("splits", [0, 1, 61, 700])
    def test_any_number_of_splits(self, splits: int) -> None:
        page = render_html(build_report(facts(*(manifest(number) for number in range(splits)))))
        assert not Tags(page).open
        assert page.count("<rect") <= 61


class TestFiles:
    def test_both_are_written_and_the_json_reads_back(self, tmp_path: Path) -> None:
        report = full("x")
        write_report(report, tmp_path / "deep" / "er")
        data = (tmp_path / "deep/er/report.json").read_bytes()
        assert data == render_json(report)
        assert Report.model_validate_json(data) == report
        assert (tmp_path / "deep/er/report.html").read_text().startswith("<!doctype html>")

    def test_what_was_taken_over_is_told_and_in_no_rate(self) -> None:
        taken = {"carried_documents": 60, "reused_chunks": 5, "embedded_chunks": 35}
        both = [manifest(0), manifest(1, taken_over_tokens=65 * 50, **taken)]
        report = build_report(facts(*both))
        assert report.resumed.documents_carried == 60
        assert (report.resumed.chunks_reused, report.resumed.chunks_embedded) == (5, 35)
        assert report.throughput.documents == 140
        assert report.throughput.tokens == 200 * 50 - 65 * 50
        assert "60 unchanged documents and 5 known texts; 35 texts embedded" in render_html(report)

    def test_the_json_has_the_promised_keys(self) -> None:
        found = json.loads(render_json(build_report(facts(manifest(0)))))
        assert set(found["counts"]["documents"]) == {"read", "written", "rejected", "skipped"}
        assert set(found["counts"]["chunks"]) == {"read", "written", "rejected", "skipped"}
        assert {"tokens_per_s", "documents_per_s"} <= set(found["throughput"])
        assert set(found["truncated"]) == {"documents", "tokens"}
        assert set(found["stages_s"]) == {"read", "carry", "tokenize", "embed", "write", "wait"}
        promised = {"padding_fraction", "rejected_by_reason", "peak_rss_bytes", "fingerprint"}
        assert promised <= set(found)
        assert isinstance(found["counts"]["tokens"], int)

    def test_a_folder_that_is_a_file_is_one_message(self, tmp_path: Path) -> None:
        (tmp_path / "out").write_text("")
        with pytest.raises(OutputError, match="cannot be written"):
            write_report(full("x"), tmp_path / "out")
