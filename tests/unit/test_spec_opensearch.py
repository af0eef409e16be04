"""An OpenSearch output in a spec: what it comes to, and how each mistake in one is told."""

from typing import Any

import pytest
import yaml

from embed_job.errors import SpecError
from embed_job.spec import JobSpec
from embed_job.spec.file import parse_spec
from embed_job.spec.opensearch import OpenSearchOutput

DOMAIN = "https://search-vectors-abcdefghijklmnopqrstuvwxyz.eu-west-1.es.amazonaws.com"
COLLECTION = "https://abcdefghijklmnopqrst.eu-central-1.aoss.amazonaws.com"
STORED_ARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:kb-AbCdEf"


def text_of(*outputs: dict[str, Any], metadata: tuple[str, ...] = ()) -> str:
    made = {
        "name": "kb",
        "input": {"uri": "data/", "fields": {"metadata": list(metadata)}},
        "outputs": list(outputs),
    }
    return yaml.safe_dump(made)


PARQUET = {"parquet": {"uri": "out/"}}


def index(**options: Any) -> dict[str, Any]:
    return {"opensearch": {"url": DOMAIN, "alias": "kb", **options}}


def load(*outputs: dict[str, Any], metadata: tuple[str, ...] = ()) -> JobSpec:
    return parse_spec(text_of(*outputs, metadata=metadata), name="kb.yaml")


def output(**options: Any) -> OpenSearchOutput:
    found = load(PARQUET, index(**options)).opensearch
    assert found is not None
    return found


class TestWhatItComesTo:
    def test_a_domain_is_signed_for_where_it_lies(self) -> None:
        found = output()
        assert (found.auth_in_force, found.region_in_force) == ("sigv4", "eu-west-1")
        assert not found.is_serverless

    def test_so_is_a_collection(self) -> None:
        found = output(url=COLLECTION)
        assert (found.auth_in_force, found.region_in_force) == ("sigv4", "eu-central-1")
        assert found.is_serverless

    @pytest.mark.parametrize(
        ("url", "serverless"),
        [
            ("https://vpc-vectors-abcdefghijklmnopqrstuvwxyz.aos.eu-west-1.on.aws", False),
            ("https://abcdefghijklmnopqrst.aoss.eu-west-1.on.aws", True),
        ],
    )
    def test_names_of_both_kinds_of_addresses_are_known(self, url: str, serverless: bool) -> None:
        found = output(url=url)
        assert (found.auth_in_force, found.region_in_force) == ("sigv4", "eu-west-1")
        assert found.is_serverless == serverless
        assert found.in_vpc != serverless

    def test_a_secret_means_a_password(self) -> None:
        assert output(secret_arn=STORED_ARN).auth_in_force == "basic"

    def test_a_server_of_this_machine_needs_nothing(self) -> None:
        found = output(url="http://127.0.0.1:9200/")
        assert (found.url, found.auth_in_force) == ("http://127.0.0.1:9200", "none")

    def test_a_domain_of_another_name_is_what_it_is_said_to_be(self) -> None:
        found = output(url="https://vectors.example.com", auth="sigv4", region="eu-west-2")
        assert (found.region_in_force, found.is_serverless) == ("eu-west-2", False)
        assert output(url="https://vectors.example.com", service="aoss").is_serverless

    def test_its_name_says_where_it_is_reached(self) -> None:
        found = output()
        assert (found.on_aws, found.in_vpc, found.is_loopback) == (True, False, False)
        assert output(url=DOMAIN.replace("search-", "vpc-")).in_vpc
        assert output(url="http://[::1]:9200").is_loopback
        assert not output(url="https://vpc-kb.example.com").in_vpc

    def test_its_place_is_where_it_stands(self) -> None:
        usual, turned = load(PARQUET, index()), load(index(), PARQUET)
        assert (usual.parquet_key, usual.opensearch_key) == (
            "outputs.0.parquet",
            "outputs.1.opensearch",
        )
        assert (turned.parquet_key, turned.opensearch_key) == (
            "outputs.1.parquet",
            "outputs.0.opensearch",
        )
        assert load(PARQUET).opensearch_key == "outputs.1.opensearch"

    def test_what_was_written_whole_is_read_again(self) -> None:
        spec = load(PARQUET, index(index="mine"))
        assert JobSpec.model_validate(spec.model_dump(mode="json")) == spec

    def test_a_field_within_a_field_is_none_of_the_servers(self) -> None:
        spec = load(PARQUET, index(), metadata=("page.url", "page.lang", "_site", "a b"))
        assert "page.url" in spec.input.fields.metadata


MISTAKES: dict[str, tuple[dict[str, Any], str, str]] = {
    "an unencrypted server elsewhere": (
        index(url="http://search.example.com"),
        "outputs.1.opensearch.url",
        "use https://",
    ),
    "no address": (index(url="search.example.com"), "outputs.1.opensearch.url", "no https://"),
    "no port": (index(url="https://a.b:99999"), "outputs.1.opensearch.url", "no https://"),
    "no host": (index(url="https://[::1"), "outputs.1.opensearch.url", "no https://"),
    "a query": (index(url=f"{DOMAIN}/?a=b"), "outputs.1.opensearch.url", "more than"),
    "one name for both": (index(index="kb"), "outputs.1.opensearch", "same name"),
    "the name that loads write to": (
        index(index="kb", alias="kb-load"),
        "outputs.1.opensearch",
        "loads of kb write to that",
    ),
    "a generation of an index that has a name": (
        index(index="mine", generation=2),
        "outputs.1.opensearch",
        "generation is part of the name",
    ),
    "a promotion without an alias": (
        {"opensearch": {"url": DOMAIN, "index": "mine", "promote": "auto"}},
        "outputs.1.opensearch",
        "promote: auto needs alias",
    ),
    "too few indexes": (index(keep_indexes=1), "outputs.1.opensearch.keep_indexes", "is 1"),
    "a canary without queries": (
        index(gates={"canary": {"min_overlap": 0.5}}),
        "outputs.1.opensearch.gates.canary.queries",
        "is missing",
    ),
    "no name": ({"opensearch": {"url": DOMAIN}}, "outputs.1.opensearch", "needs alias"),
    "capitals": (index(alias="KB"), "outputs.1.opensearch.alias", "is 'KB'"),
    "a hidden index": (index(index=".kb"), "outputs.1.opensearch.index", "is '.kb'"),
    "float16 by lucene": (
        index(graph={"engine": "lucene", "storage": "float16"}),
        "outputs.1.opensearch.graph",
        "needs engine: faiss",
    ),
    "on_disk by lucene": (
        index(graph={"engine": "lucene", "storage": "on_disk"}),
        "outputs.1.opensearch.graph",
        "compression: 4x by lucene",
    ),
    "compression in memory": (
        index(graph={"compression": "8x"}),
        "outputs.1.opensearch.graph",
        "belongs to storage: on_disk",
    ),
    "a password without a secret": (
        index(auth="basic"),
        "outputs.1.opensearch",
        "secret_arn go together",
    ),
    "a secret for nothing": (
        index(auth="sigv4", secret_arn=STORED_ARN),
        "outputs.1.opensearch",
        "secret_arn go together",
    ),
    "a signature for nowhere": (
        index(url="https://search.example.com", auth="sigv4"),
        "outputs.1.opensearch",
        "needs region",
    ),
    "a signature for elsewhere": (
        index(region="us-east-1"),
        "outputs.1.opensearch",
        "region is us-east-1, and the url's is eu-west-1",
    ),
    "a domain called Serverless": (
        index(service="aoss"),
        "outputs.1.opensearch",
        "service is aoss, and the url's is es",
    ),
    "a password for Serverless": (
        index(url=COLLECTION, secret_arn=STORED_ARN),
        "outputs.1.opensearch",
        "sigv4 alone",
    ),
    "an unknown key": (index(alais="kb"), "outputs.1.opensearch.alais", "unknown key"),
    "a misspelt kind": ({"opensaerch": {}}, "outputs.1.opensaerch", "unknown key"),
    "both kinds in one": (
        {**PARQUET, **index()},
        "outputs.1",
        "is either parquet or opensearch",
    ),
    "no kind": ({}, "outputs.1", "is either parquet or opensearch"),
    "two parquet outputs": (PARQUET, "outputs", "exactly one parquet output"),
}


@pytest.mark.parametrize(("second", "key", "what"), MISTAKES.values(), ids=MISTAKES)
def test_each_mistake_is_told(second: dict[str, Any], key: str, what: str) -> None:
    with pytest.raises(SpecError) as caught:
        load(PARQUET, second)
    assert f"'{key}'" in caught.value.what
    assert what in caught.value.what
    assert caught.value.hint


def test_an_index_alone_has_nothing_to_be_loaded_from() -> None:
    for outputs in ([index()], [index(), index(alias="other")]):
        with pytest.raises(SpecError, match="exactly one parquet output") as caught:
            load(*outputs)
        assert "'outputs'" in caught.value.what


@pytest.mark.parametrize(
    ("metadata", "what"),
    [
        (("_id",), "the server's own"),
        (("vector.kind",), "vector is a field of its own"),
        (("page", "page.url"), "page is a field of its own"),
        (("split.kind",), "split is a field of its own"),
        (("page..url",), "a name on either side"),
        ((" ",), "a name on either side"),
    ],
)
def test_a_field_that_no_index_holds_is_refused_before_anything_is_embedded(
    metadata: tuple[str, ...], what: str
) -> None:
    with pytest.raises(SpecError) as caught:
        load(PARQUET, index(), metadata=metadata)
    assert "input.fields.metadata" in caught.value.what
    assert what in caught.value.what
    load(PARQUET, metadata=metadata)  # Parquet holds it


@pytest.mark.parametrize(
    ("name", "what"),
    [("generation", "a field generation of our own"), ("generation.of", "generation is a field")],
)
def test_a_field_that_serverless_alone_has_is_refused_there_alone(name: str, what: str) -> None:
    with pytest.raises(SpecError) as caught:
        load(PARQUET, index(url=COLLECTION), metadata=(name,))
    assert what in caught.value.what
    load(PARQUET, index(), metadata=(name,))


@pytest.mark.parametrize("secret", ["hunter2", "arn:aws:s3:::hunter2"])
def test_what_may_be_a_password_is_not_repeated(secret: str) -> None:
    for options in ({"secret_arn": secret}, {"url": f"https://admin:{secret}@search.example.com"}):
        with pytest.raises(SpecError) as caught:
            load(PARQUET, index(**options))
        assert "hunter2" not in str(caught.value)
        overrides = [f"outputs.1.opensearch.{key}={value}" for key, value in options.items()]
        with pytest.raises(SpecError) as caught:
            parse_spec(text_of(PARQUET, index()), name="kb.yaml", overrides=overrides)
        assert "--set outputs.1.opensearch." in str(caught.value)
        assert "hunter2" not in str(caught.value)


def test_a_key_of_it_that_stands_elsewhere_is_sent_there() -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec(text_of(PARQUET) + "alias: kb\n", name="kb.yaml")
    assert "'outputs.1.opensearch.alias'" in caught.value.hint


def test_it_can_be_given_by_overrides() -> None:
    overrides = ["outputs.1.opensearch.url=http://localhost:9200", "outputs.1.opensearch.index=kb"]
    spec = parse_spec(text_of(PARQUET), name="kb.yaml", overrides=overrides)
    assert spec.opensearch is not None
    assert spec.opensearch.index == "kb"
