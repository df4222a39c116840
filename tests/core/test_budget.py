"""The budget of the request path: Python calls of one plain request, exact on any machine. What the gateway does by the
clock is no part of a request, however long that takes."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections import Counter
from types import FrameType
from typing import Any

import pytest

from daemun.testing import running
from daemun.transport.timers import Timers

_REQUEST = b"GET /hello HTTP/1.1\r\nHost: x.test\r\nUser-Agent: budget\r\nAccept: */*\r\n\r\n"
_RESPONSE = b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
_ROUNDS = 50
_BUDGET = {"plain": 45, "h11": 45}


def _of_a_tick(frame: FrameType | None) -> bool:
    """Whether the gateway's timers called it, or are it."""
    while frame is not None:
        if frame.f_code is Timers.run.__code__:
            return True
        frame = frame.f_back
    return False


class _Upstream(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(_RESPONSE)


class _Client(asyncio.Protocol):
    answered: asyncio.Future[None]

    def data_received(self, data: bytes) -> None:
        self.answered.set_result(None)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": False})], ids=["asyncio"])
async def test_a_plain_request_stays_within_its_calls(codec: str) -> None:
    loop = asyncio.get_running_loop()
    calls: Counter[str] = Counter()

    def count(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and str(frame.f_globals.get("__name__")).startswith("daemun") and not _of_a_tick(frame):
            calls[frame.f_code.co_qualname] += 1

    server = await loop.create_server(_Upstream, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    source = {
        "type": "inline",
        "backends": {"up": {"endpoints": [f"http://127.0.0.1:{port}"]}},
        "routes": [{"name": "all", "to": "up"}],
    }
    async with running({"sources": [source], "protocols": {"http1": {"codec": codec}}}) as gateway:
        transport, client = await loop.create_connection(_Client, "127.0.0.1", gateway.port)

        async def exchange() -> None:
            client.answered = loop.create_future()
            transport.write(_REQUEST)
            await client.answered

        for _ in range(3):
            await exchange()
        gc.disable()  # what other tests left behind is closed by whom it finds
        sys.setprofile(count)
        try:
            for _ in range(_ROUNDS):
                await exchange()
        finally:
            sys.setprofile(None)
            gc.enable()
        transport.close()
    server.close()
    await server.wait_closed()
    assert sum(calls.values()) / _ROUNDS <= _BUDGET[codec], calls.most_common(20)
