"""What a peer can make the gateway do for nothing is bounded: its connection ends, and another client is served."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import anyio
import pytest
from hyperframe.frame import ContinuationFrame, DataFrame, HeadersFrame, RstStreamFrame

from daemun.testing import CutOff, Http2Proxy, Http2Scene, Http2Wire, Scene, eventually, proxying2

pytestmark = pytest.mark.anyio

ENHANCE_YOUR_CALM = 11
HEAD = ((b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"a.test"))


def raw(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame as it stands."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def head(wire: Http2Wire, *, ended: bool) -> tuple[int, bytes]:
    """A new stream, and its head."""
    stream = wire.next_stream
    wire.next_stream += 2
    return stream, wire.head_frames(stream, HEAD, ended=ended)


def resets(wire: Http2Wire) -> bytes:
    """CVE-2023-44487: requests that are cancelled at once."""
    stream, said = head(wire, ended=True)
    return said + RstStreamFrame(stream, 8).serialize()


def made_resets(wire: Http2Wire) -> bytes:
    """CVE-2025-8671: requests that the gateway has to reset."""
    stream, said = head(wire, ended=False)
    return said + raw(8, 0, stream, b"\0\0\0\0")


def malformed(wire: Http2Wire) -> bytes:
    """Requests that are reset for their fields."""
    stream = wire.next_stream
    wire.next_stream += 2
    return wire.head_frames(stream, (*HEAD, (b"X-A", b"1")), ended=True)


def empty_content(wire: Http2Wire) -> bytes:
    """DATA with nothing in it (CVE-2019-9518)."""
    said = b""
    if wire.next_stream == 1:
        said = head(wire, ended=False)[1]
    return said + DataFrame(1, b"").serialize() * 20


def empty_padded(wire: Http2Wire) -> bytes:
    """DATA with nothing but padding."""
    said = b""
    if wire.next_stream == 1:
        said = head(wire, ended=False)[1]
    return said + DataFrame(1, b"", pad_length=1, flags=("PADDED",)).serialize() * 20


FLOODS: dict[str, Callable[[Http2Wire], bytes]] = {
    "resets": resets,
    "made resets": made_resets,
    "malformed": malformed,
    "pings": lambda wire: raw(6, 0, 0, b"x" * 8) * 5,
    "ping answers": lambda wire: raw(6, 1, 0, b"x" * 8) * 20,
    "settings": lambda wire: raw(4, 0, 0) * 5,
    "settings with values": lambda wire: raw(4, 0, 0, b"\0\4\0\1\0\0") * 5,
    "settings acknowledged": lambda wire: raw(4, 1, 0) * 20,
    "priorities": lambda wire: raw(2, 0, 1, b"\0\0\0\0\1") * 20,
    "window updates": lambda wire: raw(8, 0, 0, b"\0\0\0\1") * 20,
    "empty content": empty_content,
    "empty padded content": empty_padded,
    "unknown frames": lambda wire: raw(0xBB, 0, 0, b"x") * 20,
    "goaways": lambda wire: raw(7, 0, 0, b"\0" * 8) * 20,
}


async def silent(scene: Scene) -> None:
    """Answers `/ok`, and nothing else."""
    while request := await scene.request():
        if not request.startswith(b"GET /ok "):
            await scene.gone()
            return
        await scene.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


@asynccontextmanager
async def attacked() -> AsyncIterator[tuple[Http2Proxy, Http2Wire]]:
    """A gateway and a client of it; afterwards somebody else is still served."""
    async with proxying2(silent) as proxy:
        neighbour = await proxy.connect2()
        assert (await neighbour.exchange(target=b"/ok")).body == b"ok"
        yield proxy, await proxy.connect2()
        assert (await neighbour.exchange(target=b"/ok")).body == b"ok"
        await eventually(lambda: proxy.connections == 1, "the end of the attacker's connection")
        await eventually(lambda: proxy.in_flight == 0, "the end of its exchanges")


@pytest.mark.parametrize("what", FLOODS)
async def test_a_flood_ends_its_connection_and_nobody_elses(what: str) -> None:
    async with attacked() as (_, wire):

        async def flood() -> None:
            with suppress(CutOff):
                for _ in range(1000):
                    await wire.send(FLOODS[what](wire))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(flood)
            await wire.until(lambda: bool(wire.goaways), "a GOAWAY")
            tasks.cancel_scope.cancel()
        assert await wire.leaving() == ENHANCE_YOUR_CALM


@pytest.mark.parametrize("content", [b"", b"\x00\x01a\x01b" * 2000], ids=["empty", "full"])
async def test_a_head_of_many_continuations_is_cut_off(content: bytes) -> None:
    async with attacked() as (_, wire):
        frames = [HeadersFrame(1, b"\x82").serialize()]
        frames += [ContinuationFrame(1, content).serialize()] * 40
        await wire.send(*frames)
        assert await wire.leaving() == ENHANCE_YOUR_CALM


async def test_a_small_block_that_means_much_is_cut_off() -> None:
    async with attacked() as (_, wire):
        block = b"\x40\x01a\x7f\xa1\x1e" + b"x" * 4000 + b"\xbe" * 12_000
        await wire.send(HeadersFrame(1, block, flags=("END_HEADERS", "END_STREAM")))
        assert await wire.leaving() == ENHANCE_YOUR_CALM


async def test_many_refused_requests_end_the_connection() -> None:
    async with attacked() as (_, wire):
        with pytest.raises(CutOff):
            for _ in range(1000):
                stream = await wire.open((*HEAD, *(((b"x-a", b"1"),) * 101)))
                assert (await wire.answer(stream)).status == 431
        assert await wire.leaving() == ENHANCE_YOUR_CALM


async def test_an_honest_client_may_ping_set_and_cancel_now_and_then() -> None:
    async with proxying2(silent) as proxy:
        wire = await proxy.connect2()
        for number in range(300):
            assert (await wire.exchange(target=b"/ok")).body == b"ok"
            if number % 5 == 0:
                await wire.round_trip()
                await wire.set({4: 65_535 + number})
            if number % 10 == 0:
                stream = await wire.ask(target=b"/cancelled")
                await wire.cancel(stream)
        assert not wire.goaways


async def test_a_client_that_takes_much_in_small_windows_is_honest() -> None:
    async def much(scene: Scene) -> None:
        await scene.request()
        await scene.send(b"HTTP/1.1 200 OK\r\nContent-Length: 150000\r\n\r\n" + b"x" * 150_000)
        await scene.gone()

    async with proxying2(much) as proxy:
        wire = await proxy.connect2({4: 100}, crediting=False)
        stream = await wire.ask()
        heard = wire.hear(stream)
        while not heard.ended:
            await wire.until(lambda: heard.ended or heard.window == 0, "a full window")
            if not heard.ended:
                await wire.credit(stream, 100)
                if wire.may_come < 100:
                    await wire.credit(0, 65_535 - wire.may_come)
        assert len(heard.body) == 150_000


@pytest.mark.parametrize("what", ["pings", "settings", "priorities", "window updates", "unknown frames"])
async def test_an_upstream_that_floods_loses_its_connection_and_the_next_request_has_another(what: str) -> None:
    async def flood(scene: Http2Scene) -> None:
        if proxy.upstream.connections > 1:
            while stream := await scene.request():
                await scene.respond(stream, 200, (), b"ok")
            return
        await scene.request()
        said = FLOODS[what](Http2Wire(scene.stream)) * 50
        for _ in range(1000):
            await scene.send(said)

    async with proxying2(None, flood) as proxy:
        wire = await proxy.connect2()
        answer = await wire.exchange(b"POST")
        assert (answer.status, answer.field(b"x-daemun-reason")) == (502, b"upstream_protocol")
        assert (await wire.exchange(b"POST")).body == b"ok"
        assert proxy.upstream.connections == 2
