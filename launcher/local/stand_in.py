"""An S3 of this machine around one command, so that a job can be tried without an AWS account.

``python -m launcher.local.stand_in SPEC [--documents DIR] -- COMMAND …`` starts the server, puts
documents where the spec's input is, runs the command with AWS_ENDPOINT_URL set, and brings what it
made to out/<name>/ before the server ends: its data is in memory. Where AWS_ENDPOINT_URL is set
already, that S3 is meant, and the command alone is run.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embed_job.cli.program import print_line, run_program
from embed_job.errors import SpecError, UserError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from embed_job.spec import JobSpec
    from launcher.local.results import Results

START_S = 60.0
DEFAULT_REGION = "us-east-1"
ENDPOINT = "AWS_ENDPOINT_URL"

_REAL = ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3")
"""Variables that would lead the command away from the stand-in."""


def stand_in_command(
    spec: Annotated[Path, typer.Argument(help="The job's spec, in YAML.")],
    command: Annotated[list[str], typer.Argument(help="What to run, after --.")],
    documents: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Your files for the spec's input; without, Python's documentation.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
) -> None:
    """Run a command beside an S3 of this machine that holds documents for the spec."""
    from embed_job.spec.file import load_spec

    if os.environ.get(ENDPOINT):
        print_line("dim", f"S3 is {os.environ[ENDPOINT]}, as {ENDPOINT} says.")
        raise typer.Exit(_run(command, os.environ))
    job = load_spec(spec, _overrides(command))
    raise typer.Exit(_with_stand_in(job, command, documents=documents))


def _overrides(command: Sequence[str]) -> list[str]:
    """What the command itself will change of the spec by --set."""
    after = [value for name, value in pairwise(command) if name == "--set"]
    return after + [word.removeprefix("--set=") for word in command if word.startswith("--set=")]


def _with_stand_in(job: JobSpec, command: Sequence[str], *, documents: Path | None) -> int:
    from launcher.local.corpus import put_documents
    from launcher.local.results import bring_results, check_place

    folder = Path("out") / job.name
    check_place(folder)
    output = f"{job.parquet_key}.uri"
    for name, uri in (("input.uri", job.input.uri), (output, job.parquet.uri)):
        if not uri.startswith("s3://"):
            raise SpecError(name, f"{uri} is not in S3", "A job's input and output are s3:// URIs.")
    region = (job.compute.region if job.compute else None) or DEFAULT_REGION
    with s3_server() as endpoint:
        environment = stand_in_environment(os.environ, endpoint, region)
        s3 = _client(environment)
        _make_buckets(s3, [job.input.uri, job.parquet.uri], region)
        objects = put_documents(s3, job.input.uri, job.input.fields, folder=documents)
        print_line("dim", f"S3 of this machine at {endpoint}: {objects} objects in {job.input.uri}")
        code = _run(command, environment)
        if code == 0:
            results = bring_results(s3, job.parquet.uri, folder)
            if results is not None:
                _tell(results)
    return code


def _tell(results: Results) -> None:
    """What came of the job, and what may be done with it: in files of this machine."""
    from embed_job.cli.run_summary import print_summary

    if results.report is not None:
        print_summary(results.report, folder=results.folder, named=None)
    program = Path(sys.executable).with_name("embed-job")
    program = program.relative_to(Path.cwd()) if program.is_relative_to(Path.cwd()) else program
    print_line("bold", f"\nThe stand-in's S3 is gone; its output is in {results.vectors}")
    print_line("cyan", f'  {program} search "how do I read a zip file" --in {results.vectors}')
    print_line("cyan", f"  {program} verify {results.vectors}")


@contextmanager
def s3_server() -> Iterator[str]:
    """The URL of a moto server that ends with the context. Raises UserError without moto."""
    if importlib.util.find_spec("moto") is None or importlib.util.find_spec("flask") is None:
        raise UserError(
            "The S3 stand-in",
            "needs moto, which is not installed",
            "`make submit-job ON=local` installs it; or set AWS_ENDPOINT_URL to an S3 you have.",
        )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for the command; its last uploads still need S3
    )
    try:
        _wait_for(server, port)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def _wait_for(server: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and server.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise UserError(
        "The S3 stand-in", "did not start", f"Try it: {sys.executable} -m moto.server -p {port}"
    )


def stand_in_environment(base: Mapping[str, str], endpoint: str, region: str) -> dict[str, str]:
    """An environment in which all of AWS is the stand-in, whatever account its user has."""
    kept = {name: value for name, value in base.items() if name not in _REAL}
    return kept | {
        ENDPOINT: endpoint,
        "AWS_ACCESS_KEY_ID": "stand-in",
        "AWS_SECRET_ACCESS_KEY": "stand-in",
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def _client(environment: Mapping[str, str]) -> S3Client:
    import boto3

    session = boto3.Session(
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        region_name=environment["AWS_REGION"],
    )
    return session.client("s3", endpoint_url=environment[ENDPOINT])


def _make_buckets(s3: S3Client, uris: Sequence[str], region: str) -> None:
    from launcher.local.objects import split_uri

    for bucket in dict.fromkeys(split_uri(uri)[0] for uri in uris):
        if region == DEFAULT_REGION:  # the one that may not be named
            s3.create_bucket(Bucket=bucket)
        else:
            where = {"LocationConstraint": region}
            s3.create_bucket(Bucket=bucket, CreateBucketConfiguration=where)  # type: ignore[arg-type]


def _run(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run the command, which answers signals; its exit code, 128 + n where signal n ended it."""
    child = subprocess.Popen(command, env=dict(environment))  # noqa: S603
    # The terminal gives Ctrl-C to both; SIGTERM comes to us alone.
    former = {
        signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN),
        signal.SIGTERM: signal.signal(signal.SIGTERM, lambda *_: child.terminate()),
    }
    try:
        code = child.wait()
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
    return code if code >= 0 else 128 - code


def main() -> None:
    """Run the command line of this process and exit with its code."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(stand_in_command)
    sys.exit(run_program(app, sys.argv[1:], name="launcher.local.stand_in"))


if __name__ == "__main__":
    main()
