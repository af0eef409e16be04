"""``embed-job plan`` as a person types it, against a real S3 server."""

import gzip
import json
import os
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from embed_job.bundle import open_bundle
from embed_job.fleet.listing import listing_of_order
from embed_job.fleet.order import read_order
from embed_job.plan import describe
from embed_job.source.listing import list_input
from embed_job.spec import JobSpec
from launcher.aws.clients import make_clients
from launcher.iam import make_policies
from launcher.job.names import names_of
from launcher.planning.plan import LaunchPlan, make_launch_plan, write_order_files

ROOT = Path(__file__).parents[2]
ACCOUNT = "123456789012"
IMAGE = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/embed-job@sha256:{'0' * 64}"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/embed-job"


@pytest.fixture
def corpus(s3_bucket: str) -> str:
    """A bucket with 31 objects below in/, of several kinds, and a sibling."""
    s3 = boto3.client("s3")
    for number in range(28):
        lines = [
            json.dumps({"id": f"{number}-{n}", "text": f"document {n} of {number}", "lang": "en"})
            for n in range(20)
        ]
        s3.put_object(Bucket=s3_bucket, Key=f"in/{number:02}.jsonl", Body="\n".join(lines).encode())
    packed = gzip.compress(b'{"id": "z", "text": "packed", "lang": "en"}\n')
    s3.put_object(Bucket=s3_bucket, Key="in/z.jsonl.gz", Body=packed)
    s3.put_object(Bucket=s3_bucket, Key="in/_SUCCESS", Body=b"")
    s3.put_object(Bucket=s3_bucket, Key="in/readme.pdf", Body=b"pdf")
    s3.put_object(Bucket=s3_bucket, Key="in-old/a.jsonl", Body=b"{}")
    return s3_bucket


def spec_of(bucket: str, bundle: Path, **compute: Any) -> dict[str, Any]:
    return {
        "name": "kb",
        "input": {"uri": f"s3://{bucket}/in/", "fields": {"metadata": ["lang"]}},
        "model": {"bundle": str(bundle)},
        "outputs": [{"parquet": {"uri": f"s3://{bucket}/out/"}}],
        "compute": {"image_uri": IMAGE, "role_arn": ROLE, "instance_count": 4} | compute,
    }


def run_plan(
    tmp_path: Path, spec: dict[str, Any], *options: str
) -> subprocess.CompletedProcess[str]:
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(spec), encoding="utf-8")
    command = [sys.executable, "-m", "launcher.cli", "plan", str(path), *options]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"COLUMNS": "80"},
    )


def planned(bucket: str, bundle: Path, folder: Path, **compute: Any) -> LaunchPlan:
    spec = JobSpec.model_validate(spec_of(bucket, bundle, **compute))
    names = names_of("kb-20261121-050403-abcd", spec.parquet.uri, region="us-east-1")
    clients = make_clients(None, environment=os.environ)
    return make_launch_plan(spec, names, clients=clients, folder=folder)


def test_a_person_reads_it_at_80_columns(corpus: str, tiny_bundle: Path, tmp_path: Path) -> None:
    done = run_plan(tmp_path, spec_of(corpus, tiny_bundle, price_per_hour_usd=1.0))
    assert done.returncode == 0, done.stdout + done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    for expected in (
        "31: 28 jsonl",
        "1 jsonl.gzip",
        "1 of unknown endings, 1 hidden",
        "about 561 documents",
        "sharded_by_s3_key",
        "balanced",
        "4 × ml.c7i.4xlarge",
        "unknown",
        "sagemaker:CreateProcessingJob",
        "Nothing keeps it from being submitted",
    ):
        assert expected in done.stdout, done.stdout
    left = boto3.client("s3").list_objects_v2(Bucket=corpus, Prefix="out/")
    assert left["KeyCount"] == 0


def test_json_has_every_figure(corpus: str, tiny_bundle: Path, tmp_path: Path) -> None:
    compute = {"price_per_hour_usd": 2.0, "tokens_per_s": 100.0}
    done = run_plan(tmp_path, spec_of(corpus, tiny_bundle, **compute), "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["ok"]
    assert facts["input"]["objects"] == 31
    assert facts["contents"]["documents"] == 561
    assert facts["columns"] == {"lang": "string"}
    assert facts["model_fingerprint"]
    (machines,) = facts["machines"]
    hours = facts["contents"]["tokens"] / 400 / 3600 * machines["makespan"]
    assert machines["hours"] == pytest.approx(hours)
    assert machines["cost_usd"] == pytest.approx(hours * 4 * 2.0)
    assert facts["output_bytes"] > facts["contents"]["chunks"] * 32 * 4
    listed = next(call for call in facts["calls"] if call["action"] == "s3:ListBucket")
    assert listed["times"] == 1


def test_the_example_for_gpus_has_no_rate_before_it_is_measured(
    corpus: str, tiny_bundle: Path, tmp_path: Path
) -> None:
    spec = yaml.safe_load((ROOT / "jobs/gpu.yaml").read_text())
    spec["input"] = {"uri": f"s3://{corpus}/in/"}
    spec["outputs"][0]["parquet"]["uri"] = f"s3://{corpus}/out/"
    spec["model"]["bundle"] = str(tiny_bundle)
    spec["compute"] |= {"image_uri": IMAGE, "region": "us-east-1", "price_per_hour_usd": 2.0}
    facts = json.loads(run_plan(tmp_path, spec, "--json").stdout)
    assert facts["problems"] == []
    assert facts["contents"]["tokens"] > 0
    assert facts["model_fingerprint"] not in (None, open_bundle(tiny_bundle).fingerprint("fp32"))
    (machine,) = facts["machines"]
    assert (machine["instance_type"], machine["gpus"]) == ("ml.g5.xlarge", 1)
    assert (machine["tokens_per_s"], machine["hours"], machine["cost_usd"]) == (None, None, None)
    assert machine["rate_source"].startswith("unknown: no rate of this precision was measured")
    spec["compute"]["tokens_per_s"] = 1e6
    (machine,) = json.loads(run_plan(tmp_path, spec, "--json").stdout)["machines"]
    assert machine["hours"] > 0
    assert machine["cost_usd"] > 0


def test_the_request_alone_is_printed(corpus: str, tiny_bundle: Path, tmp_path: Path) -> None:
    done = run_plan(tmp_path, spec_of(corpus, tiny_bundle), "--request")
    assert done.returncode == 0, done.stderr
    request = json.loads(done.stdout)
    assert request["ProcessingJobName"].startswith("kb-")
    assert request["ProcessingResources"]["ClusterConfig"]["InstanceCount"] == 4


def test_everything_that_is_wrong_is_told_at_once(
    corpus: str, tiny_bundle: Path, tmp_path: Path
) -> None:
    spec = spec_of(
        corpus,
        tiny_bundle,
        image_uri=None,
        role_arn="arn:aws:iam::999999999999:role/x",
        instance_count=40,
        environment={"DB_PASSWORD": "hunter2"},
    )
    spec["input"]["fields"]["id"] = "key"
    done = run_plan(tmp_path, spec)
    assert done.returncode == 2
    for expected in (
        "compute.image_uri: is missing",
        "999999999999",
        "40 instances share 31 objects",
        "compute.environment.DB_PASSWORD",
        "4 to mend",
    ):
        assert expected in done.stdout, done.stdout
    assert "hunter2" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("uri", "what"),
    [
        ("docs/", "not in S3"),
        ("s3://BUCKET/inn/", "nothing under this prefix"),
        ("s3://no-such-bucket-at-all/in/", "no such bucket"),
    ],
)
def test_an_input_that_is_not_there_is_told(
    uri: str, what: str, corpus: str, tiny_bundle: Path, tmp_path: Path
) -> None:
    spec = spec_of(corpus, tiny_bundle)
    spec["input"]["uri"] = uri.replace("BUCKET", corpus)
    done = run_plan(tmp_path, spec)
    assert done.returncode == 2, done.stdout + done.stderr
    assert what in " ".join(done.stdout.split())
    assert "Traceback" not in done.stderr


def test_a_missing_bundle_leaves_unknown_what_follows_from_it(corpus: str, tmp_path: Path) -> None:
    plan = planned(corpus, tmp_path / "none", tmp_path, tokens_per_s=1.0)
    assert plan.contents is not None
    assert plan.contents.documents == 561
    assert plan.contents.tokens is None
    assert plan.output_bytes is None
    assert plan.choices[0].hours is None
    assert plan.model is None
    assert "not a model bundle" in plan.model_note
    assert plan.errors == []


def test_what_hosts_are_handed_agrees_with_the_plan(
    corpus: str, tiny_bundle: Path, tmp_path: Path
) -> None:
    plan = planned(corpus, tiny_bundle, tmp_path)
    written = write_order_files(plan, tmp_path, created_at=1.0)
    order = read_order(tmp_path)
    assert order == written
    assert order.listed
    assert plan.listing is not None
    assert (order.files, order.bytes) == (29, plan.listing.bytes)
    assert (order.ignored, order.hidden) == (("readme.pdf",), 1)
    assert order.columns == {"lang": "string"}
    assert order.model_fingerprint == plan.model
    handed = listing_of_order(tmp_path, order, source_uri=plan.spec.input.uri)
    store = make_clients(None, environment=os.environ).store
    assert handed.files == list_input(store, plan.spec.input.uri).files


def test_a_folder_without_its_slash_is_told_from_its_siblings(
    corpus: str, tiny_bundle: Path, tmp_path: Path
) -> None:
    spec = spec_of(corpus, tiny_bundle)
    spec["input"]["uri"] = f"s3://{corpus}/in"
    done = run_plan(tmp_path, spec, "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    (problem,) = facts["problems"]
    assert problem["severity"] == "warning"
    assert f"s3://{corpus}/in-old/" in problem["what"]
    documents = next(
        entry for entry in facts["request"]["ProcessingInputs"] if entry["InputName"] == "documents"
    )
    assert documents["S3Input"]["S3Uri"] == f"s3://{corpus}/in/"


def test_an_output_of_another_job_is_told(corpus: str, tiny_bundle: Path, tmp_path: Path) -> None:
    local = spec_of(corpus, tiny_bundle) | {"name": "other"}
    path = tmp_path / "other.yaml"
    path.write_text(yaml.safe_dump(local), encoding="utf-8")
    command = [sys.executable, "-m", "launcher.cli", "run", str(path), "--report", str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    done = run_plan(tmp_path, spec_of(corpus, tiny_bundle))
    assert done.returncode == 2
    assert "belongs to another job" in " ".join(done.stdout.split())
    again = run_plan(tmp_path, local, "--json", "--report", str(tmp_path))
    assert again.returncode == 0, again.stderr
    facts = json.loads(again.stdout)
    assert facts["committed_splits"] == facts["splits"]
    assert facts["machines"][0]["tokens_per_s"] > 0
    assert not facts["machines"][0]["measured"]
    blind = run_plan(tmp_path, local, "--set", "compute.delivery=processing_output")
    assert "nothing is taken over from earlier runs" in " ".join(blind.stdout.split())


def test_one_object_is_found_again_by_hosts_that_read_it_in_parts(
    corpus: str, tiny_bundle: Path, tmp_path: Path
) -> None:
    plain = spec_of(corpus, tiny_bundle, sharing="balanced")
    plain["input"]["uri"] = f"s3://{corpus}/in/05.jsonl"
    spec = JobSpec.model_validate(plain)
    names = names_of("kb-20261121-050403-abcd", spec.parquet.uri, region="us-east-1")
    clients = make_clients(None, environment=os.environ)
    plan = make_launch_plan(spec, names, clients=clients, folder=tmp_path)
    order = write_order_files(plan, tmp_path, created_at=1.0)
    listing = listing_of_order(tmp_path, order, source_uri=spec.input.uri)
    assert [file.key for file in listing.files] == [spec.input.uri]
    assert [file.name for file in listing.files] == ["05.jsonl"]
    here = list_input(clients.store, spec.input.uri)
    assert listing.files == here.files


DOMAIN = "https://search-vectors-abcdefghijklmnopqrstuvwxyz.us-east-1.es.amazonaws.com"
COLLECTION = "https://abcdefghijklmnopqrst.us-east-1.aoss.amazonaws.com"


def with_index(spec: dict[str, Any], url: str = DOMAIN, **options: Any) -> dict[str, Any]:
    output = {"opensearch": {"url": url, "alias": "kb", **options}}
    return spec | {"outputs": [*spec["outputs"], output]}


def test_the_index_its_memory_and_the_requests_of_hosts_are_planned(
    corpus: str, tiny_bundle: Path, tmp_path: Path
) -> None:
    spec = with_index(spec_of(corpus, tiny_bundle), replicas=1, graph={"m": 16})
    done = run_plan(tmp_path, spec, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    facts = json.loads(done.stdout)
    index = facts["index"]
    bundle = open_bundle(tiny_bundle, precision="fp32")
    wanted = describe(JobSpec.model_validate(spec), bundle)
    assert index["name"] == f"kb-{wanted.fingerprint[:10]}-001"
    assert index["rows"] == facts["contents"]["chunks"]
    a_vector = 1.1 * (4 * bundle.dimension + 8 * 16)
    assert index["memory_bytes"] == pytest.approx(2 * a_vector * index["rows"], rel=0.01)
    asked = {(call["action"], call["resource"]) for call in facts["calls"]}
    assert ("es:ESHttpPost", f"{DOMAIN}/{index['name']}-load/_bulk") in asked

    # What hosts are planned to ask is what the role's printed policy lets them ask.
    policy = make_policies(JobSpec.model_validate(spec), region="us-east-1").execution_role
    allowed = [item for item in policy["Statement"] if "es:" in str(item["Action"])]
    domain = "arn:aws:es:us-east-1:123456789012:domain/vectors"
    for action, resource in asked:
        if action.startswith("es:"):
            arn = resource.replace(DOMAIN, domain)
            assert any(
                action in item["Action"] and any(fnmatchcase(arn, one) for one in item["Resource"])
                for item in allowed
            ), (action, resource)

    read = run_plan(tmp_path, spec)
    words = " ".join(read.stdout.split())
    assert f"index {index['name']} at https://search-vectors" in words
    assert "memory of its graphs" in words
    assert f"SERVER/{index['name']}-load/_bulk" in "".join(words.split())  # it is folded


def test_a_collection_is_not_sized_and_takes_no_upkeep(
    corpus: str, tiny_bundle: Path, tmp_path: Path
) -> None:
    done = run_plan(tmp_path, with_index(spec_of(corpus, tiny_bundle), COLLECTION), "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    facts = json.loads(done.stdout)
    assert facts["index"]["memory_bytes"] is None
    of_hosts = [call for call in facts["calls"] if call["when"] == "hosts"]
    assert {call["action"] for call in of_hosts} == {"aoss:APIAccessAll"}
    assert not any("_forcemerge" in call["resource"] for call in of_hosts)
    assert any("arrives at least once" in problem["what"] for problem in facts["problems"])


def test_without_the_bundle_an_index_has_the_name_that_the_spec_gives_it(
    corpus: str, tmp_path: Path
) -> None:
    for options, name in ({}, None), ({"index": "kb-2026"}, "kb-2026"):
        spec = with_index(spec_of(corpus, tmp_path / "none"), **options)
        facts = json.loads(run_plan(tmp_path, spec, "--json").stdout)
        assert facts["index"]["name"] == name
        assert facts["index"]["memory_bytes"] is None
