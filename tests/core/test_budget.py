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
from hpack import Encoder

from daemun.process.memory import give_back_memory
from daemun.testing import running
from daemun.transport.timers import Timers

_REQUEST = b"GET /hello HTTP/1.1\r\nHost: x.test\r\nUser-Agent: budget\r\nAccept: */*\r\n\r\n"
_RESPONSE = b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
_ROUNDS = 50
_BUDGET = {"plain": 45, "h11": 45}
_HTTP2_BUDGET = 68
_BY_THE_CLOCK = (Timers.run.__code__, give_back_memory.__code__)
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
_FIELDS = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"x.test"), (b":path", b"/hello")]
_FIELDS += [(b"user-agent", b"budget"), (b"accept", b"*/*")]


def _of_a_tick(frame: FrameType | None) -> bool:
    """Whether what the gateway does by the clock called it, or is it."""
    while frame is not None:
        if frame.f_code in _BY_THE_CLOCK:
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

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def ask(self) -> None:
        self.transport.write(_REQUEST)

    def data_received(self, data: bytes) -> None:
        self.answered.set_result(None)


class _Http2Client(_Client):
    def __init__(self) -> None:
        self._encoder = Encoder()
        self._stream = -1
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.write(_PREFACE)

    def ask(self) -> None:
        self._stream += 2
        block = self._encoder.encode(_FIELDS)
        head = len(block).to_bytes(3, "big") + b"\1\5" + self._stream.to_bytes(4, "big")
        self.transport.write(head + block)

    def data_received(self, data: bytes) -> None:
        self._data += data
        while len(self._data) >= 9 and len(self._data) >= (end := 9 + int.from_bytes(self._data[:3], "big")):
            frame, self._data = self._data[:end], self._data[end:]
            if frame[3] <= 1 and frame[4] & 1:
                assert int.from_bytes(frame[5:9], "big") == self._stream
                self.answered.set_result(None)


async def _calls(client_class: type[_Client], protocols: dict[str, Any]) -> Counter[str]:
    """The calls of `_ROUNDS` requests, by function."""
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
    async with running({"sources": [source], "protocols": protocols}) as gateway:
        transport, client = await loop.create_connection(client_class, "127.0.0.1", gateway.port)

        async def exchange() -> None:
            client.answered = loop.create_future()
            client.ask()
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
    return calls


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": False})], ids=["asyncio"])
async def test_a_plain_request_stays_within_its_calls(codec: str) -> None:
    calls = await _calls(_Client, {"http1": {"codec": codec}})
    assert sum(calls.values()) / _ROUNDS <= _BUDGET[codec], calls.most_common(20)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": False})], ids=["asyncio"])
async def test_a_plain_request_in_http2_stays_within_its_calls() -> None:
    calls = await _calls(_Http2Client, {"http2": {"codec": "plain"}})
    assert sum(calls.values()) / _ROUNDS <= _HTTP2_BUDGET, calls.most_common(20)
