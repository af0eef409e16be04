"""A processing job carried out as SageMaker does: data in, a host an instance, data out."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from embed_job.errors import UserError
from launcher.local.config_files import write_config
from launcher.local.described import Described, Status
from launcher.local.fleet import Fleet
from launcher.local.objects import (
    InputObject,
    TransferFailedError,
    download,
    list_objects,
    share_out,
    split_uri,
)
from launcher.local.order import LocalOrder, read_request
from launcher.local.runner import HostTask, Runner
from launcher.local.tail import Tail
from launcher.local.uploads import ContinuousUpload, OutputFolder, upload_all

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MAX_MESSAGE_BYTES = 1024
"""Of an ExitMessage: what the hosts said, one after the other, cut here."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds. grace_s: between SIGTERM and SIGKILL. upload_s: between two looks for new files."""

    poll_s: float = 0.1
    upload_s: float = 1.0
    grace_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended. reason None: nothing to say; started_at None: no host was started."""

    status: Status
    reason: str | None = None
    started_at: float | None = None


@dataclass(frozen=True, slots=True)
class LocalService:
    """Carries out CreateProcessingJob requests, one at a time, and returns when each has ended.

    access: environment variables by which hosts reach the S3 of `s3`; see
    :func:`launcher.local.access.access_of`. folder: gets one folder a job. stopping: whether
    somebody wants the running job stopped. seed: of all that the service leaves open, which is
    the order of objects and of uploads.
    """

    runner: Runner
    s3: S3Client
    access: Mapping[str, str]
    folder: Path
    tail: Tail
    stopping: Callable[[], bool]
    pace: Pace = Pace()
    seed: int = 0

    def carry_out(self, request: Mapping[str, Any]) -> Described:
        """The job as it ended, also kept in describe.json of its folder.

        Whatever happens, no host is left when this returns or raises. Raises UserError where
        nothing was started: a job of this name exists, or the request asks for what is not done
        here.
        """
        order = read_request(request)
        folder = self._claim(order.job)
        (folder / "request.json").write_bytes(orjson.dumps(request, option=orjson.OPT_INDENT_2))
        now = time.time()
        described = Described(order.job, order.arn, "InProgress", request, now, now)
        described.write(folder)
        outcome, message = Outcome("Failed", "InternalServerError: the launcher broke off"), None
        try:
            roots = [folder / "hosts" / host for host in order.hosts]
            outcome = self._run(order, request, roots)
            message = exit_message(roots)
        except KeyboardInterrupt:
            outcome = Outcome("Stopped")
        finally:
            shutil.rmtree(folder / "hosts", ignore_errors=True)
            now = time.time()
            described = replace(
                described,
                status=outcome.status,
                failure_reason=outcome.reason,
                exit_message=message,
                started_at=outcome.started_at,
                changed_at=now,
                ended_at=now,
            )
            described.write(folder)
            if (folder / "logs").is_dir():
                self.tail.note(f"Logs of the hosts: {_from_here(folder / 'logs')}")
        return described

    def _claim(self, job: str) -> Path:
        folder = self.folder.resolve() / job
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            raise UserError(
                job,
                f"is the name of a job that has run; {folder} tells of it",
                "A name is used once: submit again for a new one, or remove that folder.",
            ) from None
        return folder

    def _run(self, order: LocalOrder, request: Mapping[str, Any], roots: Sequence[Path]) -> Outcome:
        rng = random.Random(self.seed)  # noqa: S311 - an order, no secret
        started_at = None
        try:
            self._bring_in(order, request, roots, rng)
            with self._uploads(order, roots, rng) as (watch, at_end):
                started_at = time.time()
                with Fleet(self._tasks(order, roots), self.runner, self.tail) as fleet:
                    outcome = self._attend(order, fleet, watch)
                if outcome.status == "Completed":
                    watch.finish()
                    upload_all(self.s3, at_end)
        except TransferFailedError as error:
            outcome = Outcome("Failed", str(error))
        return replace(outcome, started_at=started_at)

    def _bring_in(
        self,
        order: LocalOrder,
        request: Mapping[str, Any],
        roots: Sequence[Path],
        rng: random.Random,
    ) -> None:
        """Make each host's folders: its config, its share of each input, its empty outputs."""
        for host, root in zip(order.hosts, roots, strict=True):
            write_config(root, host=host, order=order, request=request)
            (root / "opt/ml/output").mkdir()
            for output in order.outputs:
                _below(root, output.local_path).mkdir(parents=True, exist_ok=True)
        for channel in order.inputs:
            objects = list_objects(self.s3, channel)
            shares = share_out(objects, hosts=len(roots), sharded=channel.sharded, rng=rng)
            how = _shares_in_words(shares) if channel.sharded else f"{len(objects)} to each host"
            self.tail.note(f"Input {channel.name}: {how}")
            for root, share in zip(roots, shares, strict=True):
                folder = _below(root, channel.local_path)
                download(self.s3, split_uri(channel.s3_uri)[0], share, folder)

    @contextmanager
    def _uploads(
        self, order: LocalOrder, roots: Sequence[Path], rng: random.Random
    ) -> Iterator[tuple[ContinuousUpload, list[OutputFolder]]]:
        """The watch over what is uploaded as it appears, and what is uploaded at the end."""

        watched: list[OutputFolder] = []
        at_end: list[OutputFolder] = []
        for output in order.outputs:
            (watched if output.continuous else at_end).extend(
                OutputFolder(_below(root, output.local_path), output.s3_uri, order.output_kms_key)
                for root in roots
            )
        with ContinuousUpload(self.s3, watched, rng=rng, interval_s=self.pace.upload_s) as watch:
            yield watch, at_end

    def _tasks(self, order: LocalOrder, roots: Sequence[Path]) -> list[HostTask]:
        return [
            HostTask(
                job=order.job,
                host=host,
                rank=rank,
                hosts=len(order.hosts),
                root=roots[rank],
                entrypoint=order.entrypoint,
                arguments=order.arguments,
                environment=order.environment,
                access={} if order.isolated else self.access,
                isolated=order.isolated,
            )
            for rank, host in enumerate(order.hosts)
        ]

    def _attend(self, order: LocalOrder, fleet: Fleet, watch: ContinuousUpload) -> Outcome:
        """Wait for the hosts. The first that fails, a stop or the time limit ends all of them."""
        deadline = time.monotonic() + order.max_runtime_s
        while True:
            codes = fleet.exit_codes()
            if all(code == 0 for code in codes.values()):
                return Outcome("Completed")
            outcome = self._cause_to_end(codes, deadline, watch)
            if outcome is not None:
                self.tail.note(f"{outcome.reason or 'Stopping'}: SIGTERM to every host")
                fleet.end(grace_s=self.pace.grace_s, poll_s=self.pace.poll_s)
                return outcome
            time.sleep(self.pace.poll_s)

    def _cause_to_end(
        self, codes: Mapping[str, int | None], deadline: float, watch: ContinuousUpload
    ) -> Outcome | None:
        failed = next(((host, code) for host, code in codes.items() if code), None)
        if failed is not None:
            host, code = failed
            why = "AlgorithmError: See job logs for more information"
            return Outcome("Failed", f"{why}, exit code: {code} ({host})")
        if watch.failure is not None:
            return Outcome("Failed", str(watch.failure))
        if self.stopping():
            return Outcome("Stopped")
        if time.monotonic() > deadline:
            self.tail.note("MaxRuntimeInSeconds is over")
            return Outcome("Stopped")
        return None


def exit_message(roots: Sequence[Path]) -> str | None:
    """What the hosts left in /opt/ml/output/message, in their order, 1 KB of UTF-8 in all."""
    said = b"".join(_message(root / "opt/ml/output/message") for root in roots)
    return said[:MAX_MESSAGE_BYTES].decode(errors="ignore") or None


def _message(path: Path) -> bytes:
    try:
        # A link would be the container's way to have any file of this machine read.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return b""
    with open(handle, "rb") as stream:  # noqa: PTH123 - of a handle
        return stream.read(MAX_MESSAGE_BYTES)


def _from_here(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _below(root: Path, path: str) -> Path:
    return root / path.lstrip("/")


def _shares_in_words(shares: Sequence[Sequence[InputObject]]) -> str:
    counts = [len(share) for share in shares]
    shown = ", ".join(map(str, counts[:10])) + (", …" if len(counts) > 10 else "")
    return f"{sum(counts)} objects shared out by their number: {shown}"
