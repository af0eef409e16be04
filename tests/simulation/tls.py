"""A TLS door before a plain server, at an address that a schedule takes for another machine's."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

HOST = "127.0.0.2"
_BLOCK_BYTES = 1 << 16


@contextmanager
def tls_door(url: str, context: ssl.SSLContext) -> Iterator[str]:
    """The https:// URL of HOST behind which the server of url answers."""
    address = urlsplit(url)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def let_in(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(address.hostname, address.port)
        await asyncio.gather(_pump(reader, back), _pump(there, writer))

    async def opened() -> asyncio.Server:
        return await asyncio.start_server(let_in, HOST, 0, ssl=context)

    server = asyncio.run_coroutine_threadsafe(opened(), loop).result()
    try:
        yield f"https://{HOST}:{server.sockets[0].getsockname()[1]}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Bytes from one to the other until either ends."""
    try:
        while block := await source.read(_BLOCK_BYTES):
            target.write(block)
            await target.drain()
    except ConnectionError:
        return
    finally:
        target.close()
