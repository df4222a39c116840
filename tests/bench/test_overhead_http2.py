"""HTTP/2 from memory: what the overhead suite feeds a gateway with is answered, and lanes count it."""

from __future__ import annotations

import pytest
from bench.overhead.http2 import bare_h2, ends, speak_http2

from daemun.testing.measuring import ANSWER, UPSTREAM, Message, Wire, open_lane

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

_MESSAGES = [Message(target=f"/{number}") for number in range(7)]
_WIRES = [
    Wire("http2", {"codec": "plain"}, speak_http2, ends),
    Wire("http2", {"codec": "h2"}, speak_http2, ends),
    Wire("http2", {}, lambda message: speak_http2(*_MESSAGES), ends),
]


@pytest.mark.parametrize("backend", [ANSWER, UPSTREAM], ids=["answer", "upstream"])
@pytest.mark.parametrize("wire", _WIRES, ids=["plain", "h2", "varied"])
async def test_a_request_in_http2_runs_through_protocol_and_route(wire: Wire, backend: object) -> None:
    async with open_lane(backend=backend, wire=wire) as lane:  # type: ignore[arg-type]
        _, data = await lane.answer()
        assert data.endswith(b"hello, world\n")
        assert ends(data)
        assert await lane.run(50) > 0


@pytest.mark.parametrize("content_bytes", [1, 16_384, 40_000])
async def test_content_is_said_in_frames(content_bytes: int) -> None:
    message = Message("POST", content_bytes=content_bytes)
    async with open_lane(message=message, wire=_WIRES[0]) as lane:
        assert (await lane.answer())[1].endswith(b"hello, world\n")


async def test_calls_and_memory_of_http2_are_counted() -> None:
    async with open_lane(wire=_WIRES[0]) as lane:
        calls, memory = await lane.calls(), await lane.memory()
    assert calls > 10
    assert memory.inside.bytes > 0
    assert memory.kept_blocks < 0.5


async def test_nothing_ends_before_the_answer() -> None:
    settings, head = b"\0\0\0\4\0\0\0\0\0", b"\0\0\1\1\4\0\0\0\1\x88"
    assert not ends(settings + head)
    assert ends(settings + head + b"\0\0\2\0\1\0\0\0\1ok")


async def test_the_bare_loop_is_measured() -> None:
    assert bare_h2(Message(), 20) > 0
