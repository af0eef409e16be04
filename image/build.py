"""Build the image: what ``make image`` runs. Standard library only.

Reads the labels from the bundle, hands pip's settings of this machine to the build stages, and
says what came of it. Everything after ``--`` goes to ``docker build`` as it is.
"""

from __future__ import annotations

import argparse
import ast
import gzip
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PASSED_ON = (
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_TRUSTED_HOST",
    "PIP_DEFAULT_TIMEOUT",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
)
"""Settings that build stages take from this machine; named only, so that no value is printed."""


def labels(bundle: Path) -> dict[str, str]:
    """Build arguments that become labels, from the bundle and from the code."""
    info = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
    return {
        "FINGERPRINT": info["fingerprint"],
        "SOURCE": info["source"],
        "LICENCE": info["licence"] or "",
        "VERSION": str(constant(ROOT / "src/embed_job/__init__.py", "__version__")),
        "PROTOCOL": str(constant(ROOT / "src/embed_job/fleet/__init__.py", "PROTOCOL")),
    }


def constant(path: Path, name: str) -> Any:
    """A module's constant, read without importing the module."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return ast.literal_eval(node.value)
    raise KeyError(f"{path} sets no {name}")


def command(
    options: argparse.Namespace, arguments: Mapping[str, str], environment: Mapping[str, str]
) -> list[str]:
    """The ``docker build`` to run. environment: this machine's, for what is passed on."""
    words = ["docker", "build", "--target", options.target, "--tag", options.tag]
    for name, value in arguments.items():
        words += ["--build-arg", f"{name}={value}"]
    for name in PASSED_ON:
        if environment.get(name):
            words += ["--build-arg", name]
    if options.network:
        words += ["--network", options.network]
    return [*words, *options.rest, "."]


@contextmanager
def authorities() -> Iterator[None]:
    """Inside, the certificate authorities that pip trusts on this machine lie where the build
    stage looks for them; none where it trusts its own."""
    own = os.environ.get("PIP_CERT") or os.environ.get("SSL_CERT_FILE")
    place = ROOT / "image" / "ca.crt"
    if own and Path(own).is_file():
        shutil.copyfile(own, place)
    try:
        yield
    finally:
        place.unlink(missing_ok=True)


def environment() -> dict[str, str]:
    """BuildKit where the client has it; else the classic builder, which newer clients hide.

    No attestations, whatever the environment says: with them the image would be pushed as an
    index, and SageMaker takes images.
    """
    found = subprocess.run(["docker", "buildx", "version"], capture_output=True, check=False)
    builder = {} if found.returncode == 0 else {"DOCKER_BUILDKIT": "0"}
    return builder | dict(os.environ) | {"BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}


def weigh(tag: str, *, level: int = 6) -> Iterator[tuple[int, int]]:
    """Bytes of each layer, plain and gzipped as a push sends it; takes a minute."""
    save = subprocess.Popen(["docker", "save", tag], stdout=subprocess.PIPE)
    with tarfile.open(fileobj=save.stdout, mode="r|") as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isfile() else None
            if content is None or not is_layer(member):
                continue
            counter = Counter()
            with gzip.GzipFile(fileobj=counter, mode="wb", compresslevel=level) as packed:
                shutil.copyfileobj(content, packed, 1 << 20)
            yield member.size, counter.total
    if save.wait():
        raise subprocess.CalledProcessError(save.returncode, "docker save")


def is_layer(member: tarfile.TarInfo) -> bool:
    """Whether a file of ``docker save`` is a layer: layer.tar, or a large blob by its digest."""
    return member.name.endswith("/layer.tar") or (
        member.name.startswith("blobs/") and member.size > 64 << 10
    )


class Counter:
    """A file that only counts what is written to it."""

    total = 0

    def write(self, data: bytes) -> int:
        self.total += len(data)
        return len(data)

    def flush(self) -> None:
        """Nothing to do."""


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--target", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--tag", help="default: embed-job:TARGET")
    parser.add_argument("--base", default="python:3.12-slim", help="an image with python3")
    parser.add_argument("--bundle", default="models/default", help="a folder of this checkout")
    parser.add_argument("--network", help="of the build, as in docker build")
    parser.add_argument("--weigh", action="store_true", help="also gzip each layer and add up")
    parser.add_argument("rest", nargs="*")
    options = parser.parse_args(arguments)
    options.tag = options.tag or f"embed-job:{options.target}"
    return options


def main(words: list[str]) -> int:
    options = parse(words)
    bundle = (ROOT / options.bundle).resolve()
    if not bundle.is_relative_to(ROOT) or not (bundle / "bundle.json").is_file():
        print(
            f"BUNDLE={options.bundle}: is not a model bundle in this checkout. "
            f"Make one: embed-job bundle SOURCE --out models/NAME",
            file=sys.stderr,
        )
        return 5
    if shutil.which("docker") is None:
        print("docker: is not installed. The image is built by it.", file=sys.stderr)
        return 2
    arguments = labels(bundle) | {
        "BASE": options.base,
        "BUNDLE": bundle.relative_to(ROOT).as_posix(),
    }
    call = command(options, arguments, os.environ)
    with authorities():
        built = subprocess.run(call, cwd=ROOT, env=environment(), check=False)
    if built.returncode:
        return built.returncode
    inspect = ["docker", "image", "inspect", "--format", "{{.Id}} {{.Size}}", options.tag]
    identity, size = subprocess.check_output(inspect, text=True).split()
    print(f"{options.tag} {identity[:19]} {int(size) / 1e6:.0f} MB")
    if options.weigh:
        layers = list(weigh(options.tag))
        for plain, packed in layers:
            print(f"  layer {plain / 1e6:8.1f} MB, {packed / 1e6:7.1f} MB as pushed")
        total = sum(packed for _, packed in layers)
        print(f"  all   {sum(plain for plain, _ in layers) / 1e6:8.1f} MB, {total / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
