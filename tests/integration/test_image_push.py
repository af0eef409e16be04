"""Pushing: the account's registry against a moto server, docker's part against a registry here."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import tarfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import pytest

from embed_job.errors import UserError
from launcher.push import (
    Registry,
    check_manifest,
    ensure_repository,
    local_image,
    log_in,
    permitted,
    push,
    push_to_ecr,
)

ROOT = Path(__file__).resolve().parent.parent.parent
LABELS = {"version": "0.1.0", "target": "cpu"}


def docker(*words: str, stdin: bytes = b"") -> str:
    done = subprocess.run(["docker", *words], input=stdin, capture_output=True, check=True)
    return done.stdout.decode().strip()


def import_image(name: str, labels: dict[str, str]) -> str:
    """An image of one small file."""
    if subprocess.run(["docker", "info"], check=False, capture_output=True).returncode:
        reason = "docker does not answer: pushing an image is NOT tested"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        member = tarfile.TarInfo("content")
        member.size = 36
        tar.addfile(member, io.BytesIO(uuid.uuid4().hex.encode().ljust(36)))
    changes = [f"LABEL embed-job.{key}={value}" for key, value in labels.items()]
    options = [word for change in changes for word in ("--change", change)]
    docker("import", *options, "-", name, stdin=archive.getvalue())
    return name


@pytest.fixture
def small_image() -> Iterator[str]:
    name = import_image(f"embed-job-test:{uuid.uuid4().hex[:12]}", LABELS)
    yield name
    identity = docker("image", "inspect", "--format", "{{.Id}}", name)
    docker("image", "rm", "--force", identity)


def test_the_repository_is_made_once_and_then_found(s3_bucket: str) -> None:
    ecr = boto3.Session().client("ecr", region_name="us-east-1")
    made = ensure_repository(ecr, "embed-job")
    assert ensure_repository(ecr, "embed-job") == made
    assert made.endswith(".dkr.ecr.us-east-1.amazonaws.com/embed-job")
    described = ecr.describe_repositories(repositoryNames=["embed-job"])["repositories"]
    assert [item["imageScanningConfiguration"]["scanOnPush"] for item in described] == [True]


def test_a_repository_that_is_there_is_not_made(aws: Any) -> None:
    ecr = boto3.Session().client("ecr", region_name="us-east-1")
    ensure_repository(ecr, f"embed-job-{uuid.uuid4().hex[:8]}")
    name = str(aws.calls[-1].request["repositoryName"])
    assert aws.made("ecr") == ["DescribeRepositories", "CreateRepository"]
    ensure_repository(ecr, name)
    assert aws.made("ecr")[2:] == ["DescribeRepositories"]


def test_a_refusal_of_ecr_names_the_action_and_where_all_are_listed(aws: Any) -> None:
    aws.refusals["DescribeRepositories"] = [(400, "AccessDeniedException", "no")]
    ecr = boto3.Session().client("ecr", region_name="us-east-1")
    with pytest.raises(UserError, match=r"docs/launcher\.md") as caught, permitted("us-east-1"):
        ensure_repository(ecr, "embed-job")
    assert caught.value.where == "ecr:DescribeRepositories"
    assert "embed-job iam" not in str(caught.value)
    assert caught.value.where in (ROOT / "docs" / "launcher.md").read_text()


@pytest.mark.parametrize(
    ("kind", "refused"),
    [
        ("application/vnd.docker.distribution.manifest.v2+json", False),
        ("application/vnd.oci.image.manifest.v1+json", True),
    ],
)
def test_a_manifest_that_sagemaker_refuses_is_refused_after_the_push(
    s3_bucket: str, kind: str, refused: bool
) -> None:
    ecr = boto3.Session().client("ecr", region_name="us-east-1")
    name = f"embed-job-{uuid.uuid4().hex[:8]}"
    place = ensure_repository(ecr, name)
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": kind,
            "config": {"mediaType": "c", "size": 1, "digest": "sha256:" + "1" * 64},
            "layers": [],
        }
    )
    put = ecr.put_image(
        repositoryName=name, imageManifest=manifest, imageManifestMediaType=kind, imageTag="a"
    )
    uri = f"{place}@{put['image']['imageId']['imageDigest']}"
    if not refused:
        check_manifest(ecr, uri, repository=name)
        return
    with pytest.raises(UserError, match="DOCKER_BUILDKIT=0"):
        check_manifest(ecr, uri, repository=name)


def test_the_login_is_the_account_s_and_hides_its_password(s3_bucket: str) -> None:
    ecr = boto3.Session().client("ecr", region_name="us-east-1")
    registry = log_in(ecr)
    assert registry.host.endswith(".dkr.ecr.us-east-1.amazonaws.com")
    assert registry.user == "AWS"
    assert registry.password
    assert registry.password not in repr(registry)


def test_a_pushed_image_is_named_by_the_digest_of_its_manifest(
    registry_module: ModuleType, small_image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration = tmp_path / "docker"
    monkeypatch.setenv("DOCKER_CONFIG", str(configuration))
    image = local_image(small_image)
    assert image.labels == LABELS
    with registry_module.image_registry("AWS", "secret") as (host, store):
        uri = push(image, Registry(host, "AWS", "secret"), repository="embed-job")
    manifest = store.manifests[f"embed-job:{image.tag}"]
    assert uri == f"{host}/embed-job@sha256:{hashlib.sha256(manifest).hexdigest()}"
    assert image.tag.startswith("0.1.0-cpu-")
    named = json.loads(manifest)
    assert {named["config"]["digest"], *(layer["digest"] for layer in named["layers"])} == set(
        store.blobs
    )
    assert not (configuration / "config.json").exists(), "the login was left behind"


def test_a_wrong_password_is_told_without_it(registry_module: ModuleType, small_image: str) -> None:
    with (
        registry_module.image_registry("AWS", "secret") as (host, store),
        pytest.raises(UserError) as caught,
    ):
        push(local_image(small_image), Registry(host, "AWS", "wrong-one"), repository="embed-job")
    assert caught.value.where == host
    assert "wrong-one" not in str(caught.value)
    assert store.manifests == {}


def test_a_refused_push_names_what_it_needs(registry_module: ModuleType, small_image: str) -> None:
    with registry_module.image_registry("AWS", "secret") as (host, store):
        store.refuse_manifests = True
        with pytest.raises(UserError, match="ecr:InitiateLayerUpload"):
            push(local_image(small_image), Registry(host, "AWS", "secret"), repository="embed-job")


def test_an_image_that_is_not_there_or_not_ours_is_refused_before_aws_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    name = import_image(f"embed-job-test:{uuid.uuid4().hex[:12]}", {})
    try:
        for image in (name, "embed-job-test:none"):
            with pytest.raises(UserError, match="make image"):
                push_to_ecr(image, repository="embed-job", region="eu-west-1")
    finally:
        docker("image", "rm", "--force", name)
