"""The small origin of ours: reads every body to its end and answers by path. No CPU time of it is counted.

python plain_origin.py PORT
"""

from __future__ import annotations

import asyncio
import re
import sys
from itertools import repeat
from typing import cast

_SIZES = {b"/64k": 64 * 1024, b"/1m": 1024**2, b"/1g": 1024**3, b"/stream/64k": 64 * 1024}
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_FIELD = rb"\r\n%s: *([^\r]*)"
_PIECE = b"x" * 65536


class _Origin(asyncio.Protocol):
    def __init__(self) -> None:
        self._head = b""
        self._tail = b""
        self._left = 0
        self._last = False
        self._chunked = False
        self._writable = asyncio.Event()
        self._writable.set()
        self._sending: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are none, but alike

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, error: Exception | None) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        if self._chunked:
            self._tail = (self._tail + data)[-5:]
            if self._tail == b"0\r\n\r\n":
                self._chunked = False
                self._answer()
            return
        if self._left:
            self._left -= len(data)
            if self._left == 0:
                self._answer()
            return
        self._head += data
        end = self._head.find(b"\r\n\r\n")
        if end < 0:
            return
        rest, self._head = self._head[end + 4 :], self._head[: end + 2]
        self._tail = b""
        length = _LENGTH.search(self._head)
        self._left = int(length[1]) if length else 0
        self._chunked = b"\r\ntransfer-encoding: chunked" in self._head.lower()
        if rest:
            self.data_received(rest)
        elif not self._left and not self._chunked:
            self._answer()

    def _answer(self) -> None:
        head, self._head = self._head, b""
        path = head.split(b" ", 2)[1].partition(b"?")[0]
        size = _SIZES.get(path)
        if size is None:
            body = _forwarded(head) if path == b"/forwarded" else b"ok"
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        elif path.startswith(b"/stream/"):
            chunk = b"4000\r\n%b\r\n" % _PIECE[:0x4000]
            chunks = chunk * (size // 0x4000)
            self._transport.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")
        elif size <= 1024**2:
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
        else:
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            self._sending = asyncio.get_running_loop().create_task(self._send(size // len(_PIECE)))

    async def _send(self, pieces: int) -> None:
        for piece in repeat(_PIECE, pieces):
            await self._writable.wait()
            if self._transport.is_closing():
                return
            self._transport.write(piece)


def _forwarded(head: bytes) -> bytes:
    names = (b"X-Forwarded-For", b"X-Forwarded-Proto", b"Via")
    found = ((name, re.search(_FIELD % name, head, re.IGNORECASE)) for name in names)
    return b";".join(b"%b=%b" % (name, field[1] if field else b"") for name, field in found)


async def _main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Origin, "127.0.0.1", int(sys.argv[1]), backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    try:
        import uvloop
    except ImportError:
        asyncio.run(_main())
    else:
        uvloop.run(_main())
