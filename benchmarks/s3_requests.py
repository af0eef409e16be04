"""What a job asks of S3: counted on a stand-in, and the model that is held against the counts."""

from __future__ import annotations

import json
import os
import re
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embed_job.fleet import Host
from embed_job.fleet.order import JobOrder
from embed_job.fleet.planning import InputSet
from embed_job.fleet.run import run_host
from embed_job.progress import SilentProgress
from embed_job.source.listing import list_input
from embed_job.spec import JobSpec
from embed_job.stop import StopSignals
from embed_job.storage import store_for
from launcher.local.stand_in import stand_in_environment

Requests = Counter[tuple[str, str]]
"""By verb (PUT, GET, HEAD, LIST, DELETE) and by what the key holds."""

A_SPLIT: Mapping[tuple[str, str], int] = {
    ("HEAD", "input"): 3,
    ("GET", "input"): 2,
    ("PUT", "claims"): 1,
    ("PUT", "part"): 1,
    ("HEAD", "part"): 1,
    ("PUT", "ids"): 1,
    ("HEAD", "ids"): 1,
    ("PUT", "ledger"): 1,
    ("HEAD", "ledger"): 1,
    ("PUT", "manifests"): 1,
    ("GET", "manifests"): 1,
    ("GET", "ids"): 1,
}
"""The model: a split is claimed; the object's ETag is looked at, then the range and the end of its
last line are read, each after another look; its part, ids and ledger are sent and looked at; it
is committed. The last two are the end of the job. A split of more than 8 MiB takes a request more
for each 8 MiB, a part of more than 64 MiB one for each 16 MiB."""

AT_THE_END = frozenset([("GET", "manifests"), ("GET", "ids")])
"""What the host that ends the job asks; the rest comes from whoever embeds the split."""

_KINDS = (
    ("manifests", "/_embed_job/manifests"),
    ("ids", "/_embed_job/ids"),
    ("ledger", "/_embed_job/ledger"),
    ("claims", r"/_embed_job/jobs/[^/]+/claims"),
    ("job", "/_embed_job/"),
    ("part", r"/out/part-[^/]*\.parquet"),
    ("input", "/in"),
)


@dataclass(frozen=True, slots=True)
class Counted:
    """A real job of one host. requests: all it made. manifest_bytes: of all splits."""

    splits: int
    documents: int
    requests: Requests
    manifest_bytes: int


def kind_of_request(method: str, path: str, query: str) -> tuple[str, str]:
    """Verb and kind of a request; a listing by the prefix it asks for."""
    if method == "GET" and "list-type=2" in query:
        prefix = re.search(r"(?:^|&)prefix=([^&]*)", query)
        asked = prefix[1].replace("%2F", "/") if prefix else ""
        return "LIST", _kind(f"/{asked}")
    return method, _kind(path)


def _kind(path: str) -> str:
    return next((kind for kind, pattern in _KINDS if re.search(pattern, path)), "output")


@contextmanager
def counting_s3() -> Iterator[Requests]:
    """An S3 stand-in (moto) on a port of this machine with a bucket named bucket; this process and
    those it starts find it by their environment. Gives the counts, which go on growing."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    counts: Requests = Counter()
    inner = DomainDispatcherApplication(create_backend_app)

    def counted(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        asked = environ["REQUEST_METHOD"], environ["PATH_INFO"], environ.get("QUERY_STRING", "")
        counts[kind_of_request(*asked)] += 1
        answer: Iterable[bytes] = inner(environ, start_response)
        return answer

    class Quiet(WSGIRequestHandler):
        def log(self, *_: object, **__: object) -> None:
            """A line a request would drown everything else."""

    server = make_server("127.0.0.1", 0, counted, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    wanted = stand_in_environment({}, endpoint, "us-east-1")
    former = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        store_for("s3://bucket/")._client.create_bucket(Bucket="bucket")  # type: ignore[attr-defined]
        counts.clear()
        yield counts
    finally:
        server.shutdown()
        thread.join()
        for name, value in former.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def count_job(counts: Requests, bundle: Path, *, splits: int) -> Counted:
    """Run one host of a balanced job over so many splits; the null model, for the rest is real."""
    source, target = f"s3://bucket/{splits}/in", f"s3://bucket/{splits}/out"
    store = store_for(source)
    line_bytes, lines = 64, 39
    split_bytes = line_bytes * lines + 19  # a line lies across each bound, as lines do
    store.replace(f"{source}/a.jsonl", _lines(splits * lines, line_bytes))
    spec = JobSpec.model_validate(
        {
            "name": "counted",
            "input": {"uri": source, "split_mib": split_bytes / (1 << 20)},
            "model": {"bundle": str(bundle), "engine": "null"},
            "outputs": [{"parquet": {"uri": target}}],
            "execution": {"workers": 1},
            "compute": {"sharing": "balanced"},
        }
    )
    order = JobOrder(
        program_version="benchmark", spec=spec, columns={}, listed=True, files=1,
        created_at=time.time(),
    )  # fmt: skip
    inputs = InputSet(source, list_input(store, source))
    counts.clear()
    with tempfile.TemporaryDirectory() as spool, StopSignals() as stop:
        result = run_host(
            order, Host("job", "algo-1", 0, 1), inputs, target_uri=target, spool=Path(spool),
            bundle=None, progress=SilentProgress(), stop=stop,
        )  # fmt: skip
    assert result.finalized, result.problems
    made = Counter(counts)
    manifests = list(store.list(f"{target}/_embed_job/manifests"))
    return Counted(
        splits=len(manifests),
        documents=result.counts.documents.written,
        requests=made,
        manifest_bytes=sum(file.size for file in manifests),
    )


def _lines(count: int, line_bytes: int) -> bytes:
    """JSON lines of one length each."""
    made = (json.dumps({"id": f"{n:08}", "text": "a text"}).encode() for n in range(count))
    return b"".join(line.ljust(line_bytes - 1) + b"\n" for line in made)


def a_split(fewer: Counted, more: Counted) -> dict[tuple[str, str], float]:
    """Requests of one split more, by verb and kind; none that are zero."""
    extra = more.splits - fewer.splits
    return {
        key: (more.requests[key] - fewer.requests[key]) / extra
        for key in sorted(more.requests | fewer.requests)
        if more.requests[key] != fewer.requests[key]
    }
