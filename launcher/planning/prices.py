"""What an instance costs: from the spec, or from the AWS Price List; never made up."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from embed_job.spec.compute import ComputeSpec

if TYPE_CHECKING:
    from mypy_boto3_pricing import PricingClient


@dataclass(frozen=True, slots=True)
class Price:
    """usd_per_hour: of one instance; None: unknown. source: who says so, or why nobody does."""

    usd_per_hour: float | None
    source: str


def find_price(
    compute: ComputeSpec,
    instance_type: str,
    *,
    region: str | None,
    pricing: Callable[[], PricingClient] | None,
) -> Price:
    """The price of one instance-hour of Processing.

    pricing: makes the client, when it is needed; None: AWS is not to be asked.
    """
    several = bool(compute.instance_preferences)
    asked = not several and compute.instance_type == instance_type
    if compute.price_per_hour_usd is not None and asked:
        return Price(compute.price_per_hour_usd, "compute.price_per_hour_usd of the spec")
    if pricing is None or region is None:
        hint = "" if several else "; set compute.price_per_hour_usd"
        return Price(None, f"unknown: AWS was not asked{hint}")
    try:
        pages = (
            pricing()
            .get_paginator("get_products")
            .paginate(
                ServiceCode="AmazonSageMaker",
                Filters=[
                    {"Type": "TERM_MATCH", "Field": field, "Value": value}
                    for field, value in (
                        ("regionCode", region),
                        ("instanceName", instance_type),
                        ("component", "Processing"),
                    )
                ],
            )
        )
        found = {price for page in pages for price in hourly_prices(page["PriceList"])}
    except (BotoCoreError, ClientError) as error:
        why = type(error).__name__
        if isinstance(error, ClientError):
            why = str(error.response.get("Error", {}).get("Code", why))
        return Price(None, f"unknown: the AWS Price List can't be asked ({why})")
    if len(found) != 1:
        many = "no price" if not found else f"{len(found)} different prices"
        return Price(None, f"unknown: the AWS Price List has {many} for it in {region}")
    return Price(found.pop(), f"AWS Price List, {region}, on demand")


def hourly_prices(products: Iterable[str]) -> set[float]:
    """On-demand prices by the hour, in USD, of products as the Price List describes them (JSON)."""
    found = set()
    for text in products:
        product: dict[str, Any] = json.loads(text)
        for term in product.get("terms", {}).get("OnDemand", {}).values():
            for dimension in term.get("priceDimensions", {}).values():
                usd = dimension.get("pricePerUnit", {}).get("USD")
                if dimension.get("unit") in {"Hrs", "Hours"} and usd and float(usd) > 0:
                    found.add(float(usd))
    return found
