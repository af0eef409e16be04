"""Images in private repositories of ECR, as compute.image_uri names them."""

from __future__ import annotations

import re
from collections.abc import Iterable

ECR_IMAGE = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr(?:-fips)?\.(?P<region>[a-z0-9-]+)\.amazonaws\.(?:com(?:\.cn)?|eu)/"
    r"(?P<repository>[^@:]+)(?::(?P<tag>[^@]+))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
"""The whole of an image's URI."""
_PUSHED_TAG = re.compile(r"[^-]+(?:-[^-]+)*-(cpu|gpu)-[0-9a-f]{12}")
"""VERSION-TARGET-CONTENT, as `make push` tags what it pushes."""


def target_of(tags: Iterable[str]) -> str | None:
    """Of which target of the Dockerfile an image is, as its tags tell; None: they don't."""
    found = {match[1] for tag in tags if (match := _PUSHED_TAG.fullmatch(tag))}
    return found.pop() if len(found) == 1 else None
