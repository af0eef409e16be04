"""Bring an image to ECR and say its URI by digest: ``python -m launcher.push``, for ``make push``.

Needs ecr:GetAuthorizationToken, and on the repository ecr:DescribeRepositories,
InitiateLayerUpload, UploadLayerPart, CompleteLayerUpload, BatchCheckLayerAvailability, PutImage
and BatchGetImage; ecr:CreateRepository where it is missing.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

from embed_job.cli.program import print_error
from embed_job.errors import UserError
from launcher.aws.clients import make_clients
from launcher.aws.errors import explained, is_denied

_PLATFORM = "linux/amd64"
_DOCKER_IMAGE = "application/vnd.docker.distribution.manifest.v2+json"
_REFUSED = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
"""What Docker's containerd image store, or a build with attestations, pushes."""


@dataclass(frozen=True, slots=True)
class Registry:
    """Where images go. host: name[:port], without a scheme. The password is good for hours."""

    host: str
    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class LocalImage:
    """An image of the Docker engine here. labels: without their prefix ``embed-job.``."""

    name: str
    identity: str
    labels: dict[str, str]

    @property
    def tag(self) -> str:
        """The tag in the registry: the same for the same content, another for another."""
        labels = self.labels
        return (
            f"{labels['version']}-{labels['target']}-{self.identity.removeprefix('sha256:')[:12]}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="Push an image to ECR; print its URI by digest.")
    parser.add_argument("--image", default="embed-job:cpu", help="the image to push")
    parser.add_argument("--repository", default="embed-job", help="made where it is missing")
    parser.add_argument("--region", help="default: AWS_REGION, or the profile's")
    options = parser.parse_args()
    try:
        uri = push_to_ecr(options.image, repository=options.repository, region=options.region)
    except UserError as error:
        print_error(error)
        sys.exit(error.exit_code)
    sys.stdout.write(f"{uri}\n")


def push_to_ecr(name: str, *, repository: str, region: str | None) -> str:
    """The pushed image's URI by digest, as compute.image_uri takes it. Raises UserError."""
    image = local_image(name)
    clients = make_clients(region, environment=os.environ)
    with permitted(clients.region):
        uri = ensure_repository(clients.ecr, repository)
        registry = log_in(clients.ecr)
    pushed = push(image, registry, repository=uri.partition("/")[2])
    with permitted(clients.region):
        check_manifest(clients.ecr, pushed, repository=repository)
    return pushed


@contextmanager
def permitted(region: str) -> Iterator[None]:
    """Turns what ECR refuses into a UserError; no spec's policies hold what pushing needs."""
    with explained(region=region):
        try:
            yield
        except ClientError as error:
            if not is_denied(error):
                raise
            action = f"ecr:{error.operation_name}"
            raise UserError(
                action,
                f"AWS does not allow it ({error.response['Error'].get('Message', '')})",
                f"Ask for {action}; docs/launcher.md lists all that `make push` needs.",
            ) from error


def ensure_repository(ecr: Any, name: str) -> str:
    """The repository's URI, without a tag; made where it is missing, with scans on push."""
    try:
        found = ecr.describe_repositories(repositoryNames=[name])["repositories"][0]
    except ecr.exceptions.RepositoryNotFoundException:
        found = ecr.create_repository(
            repositoryName=name, imageScanningConfiguration={"scanOnPush": True}
        )["repository"]
    return str(found["repositoryUri"])


def check_manifest(ecr: Any, pushed: str, *, repository: str) -> None:
    """Raises UserError where the image lies in ECR in a form that SageMaker has refused."""
    answer = ecr.batch_get_image(
        repositoryName=repository,
        imageIds=[{"imageDigest": pushed.rpartition("@")[2]}],
        # All, for ECR may translate what the caller does not accept.
        acceptedMediaTypes=[_DOCKER_IMAGE, *_REFUSED],
    )
    found = answer["images"][0].get("imageManifestMediaType") if answer["images"] else None
    if found in _REFUSED:
        raise UserError(
            pushed,
            f"was pushed as {found}, and SageMaker takes Docker's manifest of one image alone",
            "Build it again with DOCKER_BUILDKIT=0, or turn off Docker's containerd image store, "
            "and push again.",
        )


def log_in(ecr: Any) -> Registry:
    """The account's registry with a password for it."""
    token = ecr.get_authorization_token()["authorizationData"][0]
    user, _, password = base64.b64decode(token["authorizationToken"]).decode().partition(":")
    return Registry(urlsplit(token["proxyEndpoint"]).netloc, user, password)


def local_image(name: str) -> LocalImage:
    """The image of that name. Raises UserError where there is none that SageMaker could run."""
    if shutil.which("docker") is None:
        raise UserError("docker", "is not installed", "Images are pushed by the docker command.")
    found = _docker(["image", "inspect", name], dict(os.environ), silent=True)
    if found.returncode:
        raise UserError(f"image {name}", _reason(found), "Build it: make image.")
    facts = json.loads(found.stdout)[0]
    platform = f"{facts['Os']}/{facts['Architecture']}"
    if platform != _PLATFORM:
        raise UserError(
            f"image {name}",
            f"is built for {platform}, and the job's machines are {_PLATFORM}",
            f"Build it for them: DOCKER_DEFAULT_PLATFORM={_PLATFORM} make image.",
        )
    prefix = "embed-job."
    labels = {
        key.removeprefix(prefix): value
        for key, value in (facts["Config"].get("Labels") or {}).items()
        if key.startswith(prefix)
    }
    if not {"version", "target"} <= set(labels):
        raise UserError(f"image {name}", "was not built by make image", "Build it: make image.")
    return LocalImage(name, facts["Id"], labels)


def push(image: LocalImage, registry: Registry, *, repository: str) -> str:
    """Push, and return ``host/repository@sha256:…``. Docker's progress goes to standard error.

    The password is on standard input only, and in a configuration that is gone afterwards.
    """
    place = f"{registry.host}/{repository}"
    with _own_configuration() as environment:
        login = ["login", "--username", registry.user, "--password-stdin", registry.host]
        logged_in = _docker(login, environment, stdin=registry.password, silent=True)
        if logged_in.returncode:
            raise UserError(
                registry.host, _reason(logged_in), "Check the network between here and ECR."
            )
        _docker(["tag", image.name, f"{place}:{image.tag}"], environment)
        if _docker(["push", f"{place}:{image.tag}"], environment).returncode:
            raise UserError(
                place,
                "the image was not pushed, as told above",
                "The identity needs ecr:InitiateLayerUpload, UploadLayerPart, CompleteLayerUpload, "
                "BatchCheckLayerAvailability, BatchGetImage and PutImage on the repository.",
            )
    return _digest(image, place)


def _digest(image: LocalImage, place: str) -> str:
    listed = _docker(
        ["image", "inspect", "--format", "{{json .RepoDigests}}", f"{place}:{image.tag}"],
        dict(os.environ),
        silent=True,
    )
    for name in json.loads(listed.stdout or "[]"):
        if name.startswith(f"{place}@"):
            return str(name)
    raise UserError(place, "docker names no digest of what it pushed", "Push it again.")


@contextmanager
def _own_configuration() -> Iterator[dict[str, str]]:
    """An environment in which docker keeps a login to itself, for the same engine as before."""
    environment = dict(os.environ)
    if "DOCKER_HOST" not in environment:
        found = _docker(
            ["context", "inspect", "--format", "{{.Endpoints.docker.Host}}"],
            environment,
            silent=True,
        )
        if found.returncode == 0 and found.stdout.strip():
            environment["DOCKER_HOST"] = found.stdout.strip()
    with tempfile.TemporaryDirectory(prefix="embed-job-docker-") as folder:
        yield environment | {"DOCKER_CONFIG": folder}


def _docker(
    words: Sequence[str],
    environment: dict[str, str],
    *,
    stdin: str | None = None,
    silent: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run docker; silent: keep what it says, else it goes to standard error."""
    return subprocess.run(  # noqa: S603
        ["docker", *words],  # noqa: S607
        input=stdin,
        stdout=subprocess.PIPE if silent else sys.stderr,
        stderr=subprocess.PIPE if silent else None,
        env=environment,
        text=True,
        check=False,
    )


def _reason(ended: subprocess.CompletedProcess[str]) -> str:
    """The last line of what docker said, which is the one that says why."""
    lines = [line for line in (ended.stderr or "").splitlines() if line.strip()]
    return lines[-1].strip() if lines else f"docker ended with {ended.returncode}"


if __name__ == "__main__":
    main()
