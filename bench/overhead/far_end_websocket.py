"""WebSockets of a gateway on loopback, clients and origin, in a process of their own so that their cost is not counted.

It is told and it tells what `far_end.py` is told and tells; a message of 1 KiB and back is a request. All messages are
the same, so nobody here takes frames apart: they are counted.
"""

from __future__ import annotations

import asyncio
import sys

_CONNECTIONS = 32
_GET = (
    b"GET / HTTP/1.1\r\nHost: measured.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
_CONTENT = bytes(range(256)) * 4
_MASK = b"\x37\xfa\x21\x3d"
_MASKED = b"\x82\xfe\x04\x00" + _MASK + bytes(byte ^ _MASK[at % 4] for at, byte in enumerate(_CONTENT))
_PLAIN = b"\x82\x7e\x04\x00" + _CONTENT


class _End(asyncio.Protocol):
    """One end of a connection: `head` ends with what this end has to hear first."""

    def __init__(self) -> None:
        self._head: bytes | None = b""
        self._had = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def messages(self, data: bytes, length: int) -> int:
        """How many messages of so many bytes have ended with these."""
        if self._head is not None:
            head, blank, data = (self._head + data).partition(b"\r\n\r\n")
            self._head = None if blank else head
            if blank:
                self.opened(head)
        self._had += len(data) if self._head is None else 0
        ended, self._had = divmod(self._had, length)
        return ended

    def opened(self, head: bytes) -> None:
        """The other end has said its head."""


class _Origin(_End):
    """Answers each message with the same, unmasked."""

    def opened(self, head: bytes) -> None:
        self.transport.write(_SWITCHED)

    def data_received(self, data: bytes) -> None:
        self.transport.write(_PLAIN * self.messages(data, len(_MASKED)))


class _Client(_End):
    """Says a message whenever the one before has come back, until `left` is 0."""

    def __init__(self) -> None:
        super().__init__()
        self.left = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Of the opening, then of each `begin`."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.write(_GET)

    def opened(self, head: bytes) -> None:
        if head.startswith(b"HTTP/1.1 101 "):
            self.done.set_result(None)
        else:
            self.done.set_exception(RuntimeError(f"the gateway answered {head[:80]!r}"))

    def begin(self, messages: int) -> asyncio.Future[None]:
        self.left = messages
        self.done = asyncio.get_running_loop().create_future()
        self.transport.write(_MASKED)
        return self.done

    def data_received(self, data: bytes) -> None:
        for _ in range(self.messages(data, len(_PLAIN))):
            self.left -= 1
            if self.left:
                self.transport.write(_MASKED)
            else:
                self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(RuntimeError("the gateway closed a connection"))


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    origin = await loop.create_server(_Origin, "127.0.0.1", 0)
    print(origin.sockets[0].getsockname()[1], flush=True)
    clients: dict[int, list[_Client]] = {}
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        port, messages = map(int, line.split())
        if port not in clients:
            made = [await loop.create_connection(_Client, "127.0.0.1", port) for _ in range(_CONNECTIONS)]
            clients[port] = [client for _, client in made]
            await asyncio.gather(*(client.done for client in clients[port]))
        await asyncio.gather(*(client.begin(messages // _CONNECTIONS) for client in clients[port]))
        print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(_serve())
