"""What is known of instance types, as far as rules and estimates need it.

From the tables of vCPUs, accelerators and instance storage at https://aws.amazon.com/ec2/instance-types/
(as of November 2026), for the types that SageMaker Processing offers. What is not here is unknown.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from launcher.aws.packaged import processing_types

CPU_FAMILIES = frozenset(
    {"t3", "m4", "m5", "m6i", "m7i", "m7i-flex", "m8i", "m8i-flex", "c4", "c5", "c6i", "c7i"}
    | {"c7i-flex", "c8i", "c8i-flex", "r5", "r5d", "r6i", "r7i", "r8i", "r8i-flex"}
)
GPU_FAMILIES = frozenset({"p2", "p3", "p5", "g4dn", "g5", "g6", "g6e", "g7", "g7e"})
TOO_OLD_GPUS = frozenset({"p2", "p3"})
"""K80 and V100: CUDA 13, which the GPU image's torch brings, begins with compute capability 7.5."""
NO_BF16_GPUS = frozenset({"g4dn"})
"""T4: its tensor cores know fp16 alone."""
NVME_FAMILIES = frozenset({"r5d", "p5", "g4dn", "g5", "g6", "g6e", "g7", "g7e"})
"""Their volume is the local disk: its size is fixed, and its key is not yours to choose."""

_NVME_GB = {
    "r5d": {
        "large": 75,
        "xlarge": 150,
        "2xlarge": 300,
        "4xlarge": 600,
        "8xlarge": 1200,
        "12xlarge": 1800,
        "16xlarge": 2400,
        "24xlarge": 3600,
    },
    "g4dn": {
        "xlarge": 125,
        "2xlarge": 225,
        "4xlarge": 225,
        "8xlarge": 900,
        "12xlarge": 900,
        "16xlarge": 900,
    },
    "g5": {
        "xlarge": 250,
        "2xlarge": 450,
        "4xlarge": 600,
        "8xlarge": 900,
        "12xlarge": 3800,
        "16xlarge": 1900,
        "24xlarge": 3800,
        "48xlarge": 7600,
    },
    "g6": {
        "xlarge": 250,
        "2xlarge": 450,
        "4xlarge": 600,
        "8xlarge": 900,
        "12xlarge": 3760,
        "16xlarge": 1880,
        "24xlarge": 3760,
        "48xlarge": 7520,
    },
    "g6e": {
        "xlarge": 250,
        "2xlarge": 450,
        "4xlarge": 600,
        "8xlarge": 900,
        "12xlarge": 3800,
        "16xlarge": 1900,
        "24xlarge": 3800,
        "48xlarge": 7600,
    },
}
_GPUS = {
    "p2": {"8xlarge": 8, "16xlarge": 16},
    "p3": {"8xlarge": 4, "16xlarge": 8},
    "g4dn": {"12xlarge": 4},
    "g5": {"12xlarge": 4, "24xlarge": 4, "48xlarge": 8},
    "g6": {"12xlarge": 4, "24xlarge": 4, "48xlarge": 8},
    "g6e": {"12xlarge": 4, "24xlarge": 4, "48xlarge": 8},
    "p5": {},
}
"""Of sizes with several; the others of these families have one. Of other families: not known."""
_IRREGULAR_VCPUS = {"t3.medium": 2, "c4.8xlarge": 36}
_VCPUS_OF_SIZE = {"large": 2, "xlarge": 4}


@dataclass(frozen=True, slots=True)
class Instance:
    """One type. None: not known. gpus: how many, where it has any. nvme_gb: size of the local
    disk that is its only volume. offered: whether the installed SDK knows it of SageMaker
    Processing."""

    name: str
    vcpus: int | None
    gpu: bool | None
    gpus: int | None
    nvme: bool | None
    nvme_gb: int | None
    offered: bool

    @property
    def family(self) -> str:
        """As in ``g5``; types of one family have the same GPU."""
        return self.name.split(".")[1]


def instance(name: str) -> Instance:
    """What is known of a type such as ``ml.c7i.4xlarge``; of an unknown family, nothing, and no
    vCPUs of a size that the SDK does not know."""
    _, family, size = name.split(".")
    offered = name in processing_types()
    known = family in CPU_FAMILIES or family in GPU_FAMILIES
    return Instance(
        name,
        vcpus=_vcpus(family, size) if known and offered else None,
        gpu=family in GPU_FAMILIES if known else None,
        gpus=_gpus(family, size) if known and offered else None,
        nvme=family in NVME_FAMILIES if known else None,
        nvme_gb=_NVME_GB.get(family, {}).get(size),
        offered=offered,
    )


def _gpus(family: str, size: str) -> int | None:
    if family in CPU_FAMILIES:
        return 0
    return _GPUS[family].get(size, 1) if family in _GPUS else None


def _vcpus(family: str, size: str) -> int | None:
    """4 a unit of xlarge in all of these families, with two exceptions."""
    odd = _IRREGULAR_VCPUS.get(f"{family}.{size}") or _VCPUS_OF_SIZE.get(size)
    if odd is not None:
        return odd
    found = re.fullmatch(r"(\d+)xlarge", size)
    return 4 * int(found[1]) if found else None
