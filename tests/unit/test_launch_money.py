"""Rates and prices: as they were measured or asked for, and unknown where nobody knows them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import pytest
from botocore.stub import Stubber

from embed_job.errors import InputError
from embed_job.report.model import Report
from embed_job.spec import JobSpec
from launcher.planning.instances import instance
from launcher.planning.prices import Price, find_price, hourly_prices
from launcher.planning.rates import find_rate, read_report
from tests.reports import make_report, make_spec

TYPE = "ml.c7i.4xlarge"


def test_a_dry_run_is_scaled_by_vcpus_and_called_an_estimate() -> None:
    rate = find_rate(make_spec(), make_report(), instance_type=TYPE)
    assert rate.tokens_per_s == 500 * 16
    assert not rate.measured
    assert "estimate" in rate.source
    assert "A CPU" in rate.source
    assert "16 vCPUs" in rate.source


def test_vcpus_of_the_spec_come_first() -> None:
    rate = find_rate(make_spec(vcpus=8), make_report(), instance_type=TYPE)
    assert rate.tokens_per_s == 500 * 8


def test_a_worker_of_several_threads_takes_as_many_vcpus() -> None:
    spec = make_spec().model_dump(mode="json") | {"execution": {"threads_per_worker": 2}}
    rate = find_rate(make_spec(), make_report(spec=spec), instance_type=TYPE)
    assert rate.tokens_per_s == 500 * 8


def test_a_job_on_the_same_type_has_measured_it() -> None:
    machine = {"cores": 16, "cpu": "A CPU", "python": "3.12", "platform": "Linux x86_64"}
    rate = find_rate(make_spec(), make_report(sample=None, machine=machine), instance_type=TYPE)
    assert rate.tokens_per_s == 500 * 16
    assert rate.measured


def test_the_spec_s_own_rate_comes_first() -> None:
    rate = find_rate(make_spec(tokens_per_s=42), make_report(), instance_type=TYPE)
    assert (rate.tokens_per_s, rate.measured) == (42, True)


@pytest.mark.parametrize(
    ("report", "instance_type", "why"),
    [
        (None, TYPE, "--report"),
        (make_report(), "ml.g5.xlarge", "CPU"),
        (make_report(), "ml.x9.large", "vCPUs"),
        (make_report(spec={"model": {"engine": "null"}}), TYPE, "another engine"),
        (make_report(spec={"model": {"precision": "int8"}}), TYPE, "another precision"),
    ],
)
def test_what_nobody_has_measured_is_unknown(
    report: Report | None, instance_type: str, why: str
) -> None:
    rate = find_rate(make_spec(), report, instance_type=instance_type)
    assert rate.tokens_per_s is None
    assert "unknown" in rate.source
    assert why in rate.source


def test_a_report_is_read_from_its_folder(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(make_report().model_dump_json())
    assert read_report(tmp_path) == read_report(tmp_path / "report.json") == make_report()


@pytest.mark.parametrize("text", [None, "{}", "not JSON"])
def test_what_is_no_report_is_told(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "report.json").write_text(text)
    with pytest.raises(InputError, match=r"report\.json"):
        read_report(tmp_path)


# Prices ---------------------------------------------------------------------------------------


def product(*prices: str, unit: str = "Hrs") -> str:
    """A product, as the Price List API describes it, as far as it is read."""
    dimensions = {
        f"SKU.T.{number}": {"unit": unit, "pricePerUnit": {"USD": price}}
        for number, price in enumerate(prices)
    }
    terms = {"OnDemand": {"SKU.T": {"priceDimensions": dimensions}}}
    return json.dumps({"product": {"sku": "SKU"}, "terms": terms})


@pytest.fixture
def pricing() -> Iterator[tuple[Any, Stubber]]:
    client = boto3.client(
        "pricing",
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",  # noqa: S106 - no secret
    )
    with Stubber(client) as stub:
        yield client, stub


def ask(client: Any) -> Price:
    compute = make_spec().compute
    assert compute is not None
    return find_price(compute, TYPE, region="eu-west-1", pricing=lambda: client)


def test_the_price_list_is_asked_for_processing_in_the_region(pricing: Any) -> None:
    client, stub = pricing
    wanted = {
        "ServiceCode": "AmazonSageMaker",
        "Filters": [
            {"Type": "TERM_MATCH", "Field": "regionCode", "Value": "eu-west-1"},
            {"Type": "TERM_MATCH", "Field": "instanceName", "Value": TYPE},
            {"Type": "TERM_MATCH", "Field": "component", "Value": "Processing"},
        ],
    }
    stub.add_response("get_products", {"PriceList": [product("0.857")]}, wanted)
    price = ask(client)
    assert price.usd_per_hour == 0.857
    assert "eu-west-1" in price.source


@pytest.mark.parametrize(
    ("products", "why"), [([], "no price"), ([product("1"), product("2")], "2 different prices")]
)
def test_no_price_and_several_are_unknown(pricing: Any, products: list[str], why: str) -> None:
    client, stub = pricing
    stub.add_response("get_products", {"PriceList": products})
    price = ask(client)
    assert price.usd_per_hour is None
    assert why in price.source


def test_a_refusal_is_told_by_its_code(pricing: Any) -> None:
    client, stub = pricing
    stub.add_client_error("get_products", "AccessDeniedException")
    price = ask(client)
    assert price.usd_per_hour is None
    assert "AccessDeniedException" in price.source


def test_the_spec_s_price_is_taken_without_asking() -> None:
    compute = make_spec(price_per_hour_usd=1.5).compute
    assert compute is not None
    assert find_price(compute, TYPE, region="r", pricing=None).usd_per_hour == 1.5
    other = find_price(compute, "ml.c6i.large", region="r", pricing=None)
    assert other.usd_per_hour is None


def test_what_is_said_of_one_type_holds_for_no_preference() -> None:
    """Not even for the type that instance_type has where nobody sets it."""
    chosen = [{"instance_type": TYPE, "instance_count": 2}]
    plain = make_spec().model_dump(mode="json")
    said = {"price_per_hour_usd": 0.01, "tokens_per_s": 1e9, "vcpus": 1000}
    spec = JobSpec.model_validate(plain | {"compute": {"instance_preferences": chosen} | said})
    assert spec.compute is not None
    assert spec.compute.instance_type == TYPE
    assert find_price(spec.compute, TYPE, region="r", pricing=None).usd_per_hour is None
    assert find_rate(spec, make_report(), instance_type=TYPE).tokens_per_s == 500 * 16


def test_only_hours_that_cost_something_are_prices() -> None:
    found = hourly_prices([product("0.0"), product("1.2"), product("3", unit="GB-Mo")])
    assert found == {1.2}


@pytest.mark.parametrize(
    ("name", "vcpus", "gpu", "nvme_gb"),
    [
        ("ml.c7i.4xlarge", 16, False, None),
        ("ml.t3.medium", 2, False, None),
        ("ml.c4.8xlarge", 36, False, None),
        ("ml.m5.large", 2, False, None),
        ("ml.g5.xlarge", 4, True, 250),
        ("ml.r5d.large", 2, False, 75),
        ("ml.g7.2xlarge", 8, True, None),
        ("ml.x9.xlarge", None, None, None),
        ("ml.c7i.3xlarge", None, False, None),
    ],
)
def test_what_is_known_of_types(
    name: str, vcpus: int | None, gpu: bool | None, nvme_gb: int | None
) -> None:
    found = instance(name)
    assert (found.vcpus, found.gpu, found.nvme_gb) == (vcpus, gpu, nvme_gb)


def test_every_type_that_processing_offers_is_known() -> None:
    model = botocore.session.get_session().get_service_model("sagemaker")
    offered = model.shape_for("ProcessingInstanceType").enum
    assert [name for name in offered if instance(name).vcpus is None] == []
