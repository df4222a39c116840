"""Clients and origin of a gateway on loopback, in a process of their own so that their cost is not counted.

Prints the origin's port. Then each line of its input, `PORT REQUESTS`, makes it send so many requests to the gateway on
PORT, over connections that it keeps; it prints `done` when all are answered.
"""

from __future__ import annotations

import asyncio
import sys

from daemun.testing.measuring import Message

_CONNECTIONS = 32
_REQUEST = Message().data
_CONTENT = Message().answer
_ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nServer: origin\r\nContent-Length: %d\r\n\r\n" % len(_CONTENT)
    + _CONTENT
)


class _Origin(asyncio.Protocol):
    """Answers whatever comes: a request here comes in one piece."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(_ANSWER)


class _Client(asyncio.Protocol):
    """Sends a request whenever the one before is answered, until `left` is 0."""

    def __init__(self) -> None:
        self.left = 0
        self.done: asyncio.Future[None]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def begin(self, requests: int) -> asyncio.Future[None]:
        self.left = requests
        self.done = asyncio.get_running_loop().create_future()
        self._transport.write(_REQUEST)
        return self.done

    def data_received(self, data: bytes) -> None:
        if not data.startswith(b"HTTP/1.1 200"):
            self.done.set_exception(RuntimeError(f"the gateway answered {data[:80]!r}"))
            return
        self.left -= 1
        if self.left:
            self._transport.write(_REQUEST)
        else:
            self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.left and not self.done.done():
            self.done.set_exception(RuntimeError("the gateway closed a connection"))


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    origin = await loop.create_server(_Origin, "127.0.0.1", 0)
    print(origin.sockets[0].getsockname()[1], flush=True)
    clients: dict[int, list[_Client]] = {}
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        port, requests = map(int, line.split())
        if port not in clients:
            made = [await loop.create_connection(_Client, "127.0.0.1", port) for _ in range(_CONNECTIONS)]
            clients[port] = [client for _, client in made]
        await asyncio.gather(*(client.begin(requests // _CONNECTIONS) for client in clients[port]))
        print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(_serve())
