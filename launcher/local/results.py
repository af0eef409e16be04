"""What a job left in S3, brought to this machine: the vectors with their manifests, the report."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from embed_job.commit.commits import PRIVATE
from embed_job.errors import OutputError
from embed_job.report.model import Report
from launcher.local.objects import PARALLEL_COPIES, split_uri

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

REPORTS = ("report.json", "report.html")


@dataclass(frozen=True, slots=True)
class Results:
    """What lies on this machine now. folder: of report.html. report None: the job left none."""

    folder: Path
    vectors: Path
    report: Report | None


def check_place(folder: Path) -> None:
    """Raise OutputError where folder/vectors holds what no job of ours has written."""
    vectors = folder / "vectors"
    if vectors.exists() and not (vectors / PRIVATE / "dataset.json").is_file():
        raise OutputError(
            str(vectors),
            "is in the way of the results, and is no output of embed-job",
            "Move it away, or give the spec another name.",
        )


def bring_results(s3: S3Client, uri: str, folder: Path) -> Results | None:
    """Copy an output to folder/vectors, over an older one, and its newest report to folder.

    None where there is no output.
    """
    bucket, prefix = split_uri(uri.rstrip("/") + "/")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    found = {
        entry["Key"][len(prefix) :]: entry["LastModified"]
        for page in pages
        for entry in page.get("Contents", [])
    }
    if f"{PRIVATE}/dataset.json" not in found:
        return None
    fresh = folder / "vectors.new"
    shutil.rmtree(fresh, ignore_errors=True)

    def copy(name: str) -> None:
        path = fresh / PurePosixPath(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        s3.download_file(bucket, prefix + name, str(path))

    with ThreadPoolExecutor(PARALLEL_COPIES) as pool:
        for _ in pool.map(copy, found):
            pass
    vectors = folder / "vectors"
    check_place(folder)
    shutil.rmtree(vectors, ignore_errors=True)
    fresh.rename(vectors)
    reports = [name for name in found if PurePosixPath(name).name == REPORTS[-1]]
    if not reports:
        return Results(folder, vectors, None)
    newest = vectors / max(reports, key=lambda name: found[name])
    for name in REPORTS:
        shutil.copyfile(newest.with_name(name), folder / name)
    report = Report.model_validate_json((folder / REPORTS[0]).read_bytes())
    return Results(folder, vectors, report)
