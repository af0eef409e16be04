"""What the AWS SDK's own data says of AWS: without a call, credentials or a profile."""

from __future__ import annotations

from functools import cache


@cache
def processing_types() -> frozenset[str]:
    """Instance types that the installed SDK knows of SageMaker Processing; a newer one may know
    more."""
    from botocore.loaders import Loader

    model = Loader().load_service_model("sagemaker", "service-2")
    return frozenset(model["shapes"]["ProcessingInstanceType"]["enum"])


@cache
def partition_of(region: str) -> str:
    """The partition of a region, ``aws`` where its name is like none of any."""
    from botocore.exceptions import UnknownRegionError
    from botocore.loaders import Loader
    from botocore.regions import EndpointResolver

    resolver = EndpointResolver(Loader().load_data("endpoints"))
    try:
        return str(resolver.get_partition_for_region(region))
    except UnknownRegionError:
        return "aws"
