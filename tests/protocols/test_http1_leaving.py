"""Clients that leave: the upstream's exchange ends with them, and nothing stays behind."""

from __future__ import annotations

import anyio
import pytest

from daemun.testing import CutOff, Proxy, Scene, Wire, proxying

pytestmark = pytest.mark.anyio

GET = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"


async def begin(proxy: Proxy, request: bytes) -> Wire:
    """A connection on which a request has begun."""
    wire = await proxy.connect()
    await wire.send(request)
    return wire


async def test_a_client_that_leaves_while_it_waits_ends_the_upstreams_exchange() -> None:
    asked, gone = anyio.Event(), anyio.Event()

    async def silent(scene: Scene) -> None:
        await scene.request()
        asked.set()
        await scene.gone()
        gone.set()

    async with proxying(silent) as proxy:
        wire = await begin(proxy, GET)
        await asked.wait()
        await wire.reset()
        await gone.wait()
        await proxy.settled()


@pytest.mark.faults  # the client's kernel answers for it for a minute
@pytest.mark.timeout(120)
@pytest.mark.parametrize("anyio_backend", [("asyncio", {})])
async def test_a_client_that_closes_while_it_waits_is_noticed_by_keep_alive_probes() -> None:
    asked, gone = anyio.Event(), anyio.Event()

    async def silent(scene: Scene) -> None:
        await scene.request()
        asked.set()
        await scene.gone()
        gone.set()

    async with proxying(silent) as proxy:
        wire = await begin(proxy, GET)
        await asked.wait()
        await wire.aclose()
        with anyio.fail_after(100):
            await gone.wait()
        await proxy.settled()


@pytest.mark.parametrize("way", ["close", "reset"])
@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_a_client_that_leaves_in_the_middle_of_an_answer_ends_the_upstreams_exchange(
    way: str, framing: str
) -> None:
    gone = anyio.Event()

    async def endless(scene: Scene) -> None:
        await scene.request()
        head = {"length": b"Content-Length: 1000000000\r\n", "chunked": b"Transfer-Encoding: chunked\r\n", "close": b""}
        await scene.send(b"HTTP/1.1 200 OK\r\n" + head[framing] + b"\r\n")
        piece = b"x" * 10_000
        try:
            while True:
                await scene.send(b"2710\r\n" + piece + b"\r\n" if framing == "chunked" else piece)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            gone.set()

    async with proxying(endless) as proxy:
        wire = await begin(proxy, GET)
        await wire.until(b"xxxx")
        await (wire.aclose() if way == "close" else wire.reset())
        await gone.wait()
        await proxy.settled()


@pytest.mark.parametrize("way", ["close", "reset"])
@pytest.mark.parametrize("framing", [b"Content-Length: 1000", b"Transfer-Encoding: chunked"])
async def test_a_client_that_leaves_in_the_middle_of_its_content_ends_the_upstreams_exchange(
    way: str, framing: bytes
) -> None:
    got, gone = anyio.Event(), anyio.Event()
    received: list[bytes] = []

    async def see(scene: Scene) -> None:
        await scene.head()
        while b"abc" not in scene.received:
            await scene.more()
        got.set()
        await scene.gone()
        received.append(scene.received)
        gone.set()

    async with proxying(see) as proxy:
        wire = await begin(proxy, b"POST / HTTP/1.1\r\nHost: a.test\r\n%b\r\n\r\n" % framing)
        await wire.send(b"3\r\nabc\r\n" if b"chunked" in framing else b"abc")
        await got.wait()
        await (wire.aclose() if way == "close" else wire.reset())
        await gone.wait()
        await proxy.settled()
        assert received == [b"3\r\nabc\r\n" if b"chunked" in framing else b"abc"]


async def test_a_client_that_leaves_with_pipelined_requests_ends_them_all() -> None:
    asked = anyio.Event()

    async def silent(scene: Scene) -> None:
        await scene.request()
        asked.set()
        await scene.gone()

    async with proxying(silent) as proxy:
        wire = await begin(proxy, GET * 20)
        await asked.wait()
        await wire.reset()
        await proxy.settled()
        assert len(proxy.upstream.requests) == 1


async def test_many_clients_that_leave_leave_nothing() -> None:
    async def slow(scene: Scene) -> None:
        while await scene.request():
            await scene.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
            await scene.gone()

    async with proxying(slow) as proxy:
        upload = b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100\r\n\r\nx"
        wires = [await begin(proxy, GET) for _ in range(20)]
        uploads = [await begin(proxy, upload) for _ in range(20)]
        for wire in wires:
            await wire.until(b"x\r\n")
            await wire.reset()
        for number, wire in enumerate(uploads):
            await (wire.reset() if number % 2 else wire.aclose())
        await proxy.settled()


async def test_a_gateway_that_is_stopped_cuts_an_answer_so_that_it_does_not_look_complete() -> None:
    async def stall(scene: Scene) -> None:
        await scene.request()
        await scene.send(b"HTTP/1.1 200 OK\r\n\r\nsome")
        await scene.gone()

    async with anyio.create_task_group() as tasks:
        wires: list[Wire] = []
        begun, ended = anyio.Event(), anyio.Event()

        async def run() -> None:
            async with proxying(stall) as proxy:
                wires.append(Wire(await anyio.connect_tcp("127.0.0.1", proxy.gateway.port)))
                await wires[0].send(b"GET / HTTP/1.0\r\n\r\n")
                await wires[0].until(b"some")
                proxy.gateway.gateway.cut_off()
                begun.set()
                await ended.wait()

        tasks.start_soon(run)
        await begun.wait()
        tasks.cancel_scope.cancel()
    with pytest.raises(CutOff):
        await wires[0].rest()
    await wires[0].aclose()
