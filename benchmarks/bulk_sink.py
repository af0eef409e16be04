"""A server that reads bulk requests and answers at once, in a process of its own.

It keeps nothing but counts, which GET answers. Its replies are as OpenSearch's: one item for each
that came, with its ``_id``, cut down where filter_path asks for that. With throttle_every, each
so-manieth item is answered 429.
"""

from __future__ import annotations

import argparse
import itertools
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.results import ROOT

_BUFFER_BYTES = 4 << 20
_SHORT = b'{"index":{"_id":"%b","status":201}}'
_LONG = (
    b'{"index":{"_index":"sink","_id":"%b","_version":1,"result":"created","_shards":{"total":2,'
    b'"successful":1,"failed":0},"_seq_no":0,"_primary_term":1,"status":201}}'
)
_THROTTLED = (
    b'{"index":{"_index":"sink","_id":"%b","status":429,"error":{"type":"rejected_execution_'
    b'exception","reason":"rejected execution of coordinating operation"}}}'
)


@dataclass(slots=True)
class _Sink:
    throttle_every: int
    counted: itertools.count[int]
    items: int = 0
    bytes: int = 0

    def serve(self, connection: socket.socket) -> None:
        """Requests of one connection until it is closed."""
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        buffer = bytearray(_BUFFER_BYTES)
        with connection:
            while head := _head(connection):
                start, _, lines = head.partition(b"\r\n")
                if start.startswith(b"GET"):
                    _answer(connection, b'{"items":%d,"bytes":%d}' % (self.items, self.bytes))
                    continue
                length = _length(lines)
                if length > len(buffer):
                    buffer = bytearray(length)
                early = head[head.index(b"\r\n\r\n") + 4 :]
                buffer[: len(early)] = early
                _fill(connection, memoryview(buffer)[len(early) : length])
                self.bytes += len(head) - len(early) + length
                _answer(connection, self.reply(buffer, length, short=b"filter_path=" in start))

    def reply(self, buffer: bytearray, length: int, *, short: bool) -> bytes:
        """The answer to a bulk of `index` operations."""
        form = _SHORT if short else _LONG
        items, at, throttled = [], 0, False
        find, every, counted = buffer.find, self.throttle_every, self.counted
        while at < length:
            begin = find(b'"_id":"', at, length) + 7
            end = find(b'"', begin, length)
            row_id = buffer[begin:end]
            if every and next(counted) % every == 0:
                throttled = True
                items.append(_THROTTLED % row_id)
            else:
                items.append(form % row_id)
            # The document is the line after the action's.
            at = find(b"\n", find(b"\n", end, length) + 1, length) + 1
        self.items += len(items)
        errors = b"true" if throttled else b"false"
        return b'{"took":1,"errors":%b,"items":[%b]}' % (errors, b",".join(items))


def _answer(connection: socket.socket, body: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json; charset=UTF-8\r\n"
    connection.sendall(head + b"content-length: %d\r\n\r\n" % len(body) + body)


def _head(connection: socket.socket) -> bytes:
    """Of a request, and what of its body came with it; b"" where there is none."""
    head = b""
    while b"\r\n\r\n" not in head:
        more = connection.recv(16 << 10)
        if not more:
            return b""
        head += more
    return head


def _length(lines: bytes) -> int:
    for line in lines.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
        if not line:
            break
    return 0


def _fill(connection: socket.socket, view: memoryview) -> None:
    while view:
        got = connection.recv_into(view)
        if not got:
            raise ConnectionError("the request ends in its body")
        view = view[got:]


@contextmanager
def running_sink(*, throttle_every: int = 0) -> Iterator[str]:
    """The url of a sink of its own process."""
    command = [sys.executable, "-m", "benchmarks.bulk_sink", "--every", str(throttle_every)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=0)
    sink = _Sink(parser.parse_args().every, itertools.count(1))
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        print(f"http://127.0.0.1:{server.getsockname()[1]}", flush=True)
        while True:
            connection, _ = server.accept()
            threading.Thread(target=sink.serve, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    _main()
