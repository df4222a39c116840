"""Limits: how much a client may send, how long it may take, how long it may not read."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

import anyio
import pytest
from anyio.abc import SocketAttribute

from daemun.testing import CutOff, Scene, Wire, eventually, proxying

if TYPE_CHECKING:
    from tests.conftest import Clock

pytestmark = pytest.mark.anyio


async def no_more(count: Callable[[], int]) -> None:
    """Waits until `count()` is something and stays for many turns of the loop."""
    turns, last = 0, 0
    while not last or turns < 30:
        await anyio.sleep(0.005)
        turns, last = (turns + 1, last) if count() == last else (0, count())


START = b"GET / HTTP/1.1\r\nHost: a.test\r\n"


@pytest.mark.parametrize("whole", [True, False])
async def test_a_head_that_is_too_long_is_refused(whole: bool, codec: str) -> None:
    async with proxying(http1={"codec": codec, "max_head_bytes": 2048}) as proxy:
        field = b"X-Long: " + b"x" * 2048
        answer = await proxy.ask(START + field + (b"\r\n\r\n" if whole else b""))
        assert (answer.status, answer.field(b"connection")) == (431, b"close")
        longest = START + b"X-Long: "
        longest += b"x" * (2048 - len(longest) - 4) + b"\r\n\r\n"
        assert (await proxy.ask(longest)).status == 200
        assert (await proxy.ask(longest[:-4] + b"y\r\n\r\n")).status == 431


@pytest.mark.parametrize("whole", [True, False])
async def test_a_request_line_that_is_too_long_is_refused(whole: bool, codec: str) -> None:
    async with proxying(http1={"codec": codec, "max_head_bytes": 2048}) as proxy:
        line = b"GET /" + b"x" * 2048
        answer = await proxy.ask(line + (b" HTTP/1.1\r\nHost: a.test\r\n\r\n" if whole else b""))
        assert answer.status == 414


async def test_a_head_with_too_many_fields_is_refused(codec: str) -> None:
    async with proxying(http1={"codec": codec, "max_fields": 10}) as proxy:
        nine = b"".join(b"X-%d: 1\r\n" % number for number in range(9))
        assert (await proxy.ask(START + nine + b"\r\n")).status == 200
        assert (await proxy.ask(START + nine + b"X-Ten: 1\r\n\r\n")).status == 431


async def test_too_many_trailers_are_refused() -> None:
    async with proxying(http1={"max_fields": 10}) as proxy:
        trailers = b"".join(b"X-%d: 1\r\n" % number for number in range(11))
        answer = await proxy.ask(
            b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n" + trailers + b"\r\n"
        )
        assert answer.status == 400


async def test_an_endless_chunk_extension_is_refused() -> None:
    async with proxying() as proxy:
        wire = await proxy.connect()
        await wire.send(b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"x" * 5000)
        assert (await wire.answer()).status == 400


async def test_a_head_that_comes_too_slowly_is_refused(codec: str, clock: Clock) -> None:
    async with proxying(http1={"codec": codec, "head_timeout_seconds": 10}) as proxy:
        first, second = await proxy.connect(), await proxy.connect()
        await first.send(b"GET / HTT")
        await second.send(START + b"\r\n")
        assert (await second.answer()).status == 200
        await second.send(START)
        for wire in (first, second):
            async with clock.running():
                answer = await wire.answer()
            assert (answer.status, answer.field(b"connection")) == (408, b"close")
            await wire.aclose()


async def test_a_head_may_not_be_stretched_byte_by_byte(clock: Clock) -> None:
    async with (
        proxying(http1={"head_timeout_seconds": 10}) as proxy,
        clock.running(),
        anyio.create_task_group() as tasks,
    ):
        wire = await proxy.connect()

        async def trickle() -> None:
            try:
                while True:
                    await wire.send(b"x")
                    await anyio.sleep(0.01)
            except CutOff:
                pass

        await wire.send(START + b"X-Slow: ")
        tasks.start_soon(trickle)
        assert (await wire.answer()).status == 408
        tasks.cancel_scope.cancel()


async def test_content_that_comes_too_slowly_is_refused(clock: Clock) -> None:
    limits = {"body_grace_seconds": 10, "body_min_bytes_per_second": 1_000_000}
    async with proxying(http1=limits) as proxy:
        wire = await proxy.connect()
        await wire.send(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\nabc")
        async with clock.running():
            answer = await wire.answer()
        assert (answer.status, answer.field(b"connection")) == (408, b"close")
        await wire.aclose()
        await proxy.settled()


async def test_content_may_take_its_time_if_it_keeps_the_least_rate(clock: Clock) -> None:
    async def relay(scene: Scene) -> None:
        await scene.head()
        for count in range(1, 11):
            while len(scene.received) < 100 * count:
                await scene.more()
            came.set()
        await scene.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    limits = {"body_grace_seconds": 3, "body_min_bytes_per_second": 100}
    async with proxying(relay, http1=limits) as proxy:
        wire = await proxy.connect()
        await wire.send(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(10):
            came = anyio.Event()
            await wire.send(b"x" * 100)
            await came.wait()
            clock.advance(1)
            await anyio.sleep(0.06)  # the timers look each 0.05 s
        assert (await wire.answer()).status == 200


async def test_the_gateways_own_slowness_does_not_count_against_the_client(clock: Clock) -> None:
    size, sent = 32 << 20, 0
    may_read = anyio.Event()

    async def slow(scene: Scene) -> None:
        await scene.head()
        await may_read.wait()
        taken = len(scene.received)
        while taken < size:
            taken += len(await scene.stream.receive(1 << 20))
        await scene.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    limits = {"body_grace_seconds": 5, "body_min_bytes_per_second": 1_000_000_000}
    async with proxying(slow, http1=limits) as proxy, anyio.create_task_group() as tasks:
        wire = await proxy.connect()
        await wire.send(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: %d\r\n\r\n" % size)

        async def upload() -> None:
            nonlocal sent
            while sent < size:
                await wire.send(bytes(1 << 16))
                sent += 1 << 16

        tasks.start_soon(upload)
        await no_more(lambda: sent)
        async with clock.running():
            await anyio.sleep(0.2)
        may_read.set()
        assert (await wire.answer()).status == 200


async def test_a_client_that_sends_no_content_after_an_early_answer_gets_no_second_one(clock: Clock) -> None:
    limits = {"body_grace_seconds": 10, "body_min_bytes_per_second": 1_000_000}
    async with proxying(route={"to": None, "respond": {"body": "fixed"}}, http1=limits) as proxy:
        wire = await proxy.connect()
        await wire.send(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\n")
        assert (await wire.answer()).body == b"fixed"
        async with clock.running():
            assert await wire.rest() == b""


def small_window(wire: Wire) -> None:
    """Lets the kernel take little for a client that does not read."""
    wire.stream.extra(SocketAttribute.raw_socket).setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)


@pytest.mark.parametrize("framing", ["length", "chunked", "many"])
async def test_a_client_that_reads_nothing_is_cut_off(framing: str) -> None:
    ended = anyio.Event()
    piece = b"x" * 65536

    async def endless(scene: Scene) -> None:
        try:
            if framing == "many":
                while await scene.head():
                    await scene.send(b"HTTP/1.1 200 OK\r\nContent-Length: 65536\r\n\r\n" + piece)
                return
            await scene.head()
            if framing == "length":
                await scene.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n")
                while True:
                    await scene.send(piece)
            await scene.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            while True:
                await scene.send(b"10000\r\n" + piece + b"\r\n")
        finally:
            ended.set()

    async with proxying(endless, http1={"send_timeout_seconds": 0.4}) as proxy:
        wire = await proxy.connect()
        small_window(wire)
        await wire.send((START + b"\r\n") * (1000 if framing == "many" else 1))
        await eventually(lambda: proxy.connections == 0, "the end of the connection")
        await proxy.settled()
        if framing != "many":
            await ended.wait()


async def test_a_client_that_reads_slowly_is_served_on(clock: Clock) -> None:
    size, sent = 1 << 30, 0

    async def big(scene: Scene) -> None:
        nonlocal sent
        await scene.request()
        await scene.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        while True:
            await scene.send(b"x" * 65536)
            sent += 65536

    async with proxying(big, http1={"send_timeout_seconds": 40}) as proxy:
        wire = await proxy.connect()
        await wire.send(START + b"\r\n")
        await no_more(lambda: sent)
        for _ in range(12):
            taken = 0
            while taken < 1 << 20:  # the kernel tells nobody of less
                taken += len(await wire.stream.receive(1 << 16))
            clock.advance(4)
            await anyio.sleep(0.06)  # the timers look each 0.05 s
        assert (proxy.connections, proxy.in_flight) == (1, 1)
        await wire.reset()


async def test_a_client_that_does_not_read_the_end_of_an_answer_is_cut_off() -> None:
    size = 3 * 1024 * 1024

    async def big(scene: Scene) -> None:
        await scene.request()
        await scene.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
        await scene.gone()

    async with proxying(big, http1={"send_timeout_seconds": 0.4}) as proxy:
        wire = await proxy.connect()
        small_window(wire)
        await wire.send(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
        await eventually(lambda: proxy.connections == 0, "the end of the connection")


NO_LIMITS = {"body_min_bytes_per_second": 0, "send_timeout_seconds": 0}


async def passes(clock: Clock, seconds: int) -> None:
    """So much time passes, and every timer looks at it again and again."""
    for _ in range(5):
        clock.advance(seconds / 5)
        await anyio.sleep(0.12)  # the timers look each 0.05 s


async def test_without_limits_content_may_pause_for_ever(clock: Clock) -> None:
    async with proxying(http1=NO_LIMITS) as proxy:
        wire = await proxy.connect()
        await wire.send(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\nabc")
        await passes(clock, 1000)
        await wire.send(b"defghij")
        assert (await wire.answer()).status == 200


@pytest.mark.parametrize("size", [1 << 20, 1 << 24], ids=["the end", "the middle"])
async def test_without_limits_an_answer_may_be_read_at_any_time(size: int, clock: Clock) -> None:
    """Also its end, which is all that is left when the exchange is over."""
    head, sent = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size, 0

    async def big(scene: Scene) -> None:
        nonlocal sent
        await scene.request()
        await scene.send(head)
        for _ in range(0, size, 1 << 16):
            await scene.send(b"x" * (1 << 16))
            sent += 1 << 16
        await scene.gone()

    async with proxying(big, http1=NO_LIMITS) as proxy:
        wire = await proxy.connect()
        await wire.send(START + b"\r\n")
        await no_more(lambda: sent)
        await passes(clock, 200)
        assert (proxy.connections, proxy.in_flight) == (1, int(sent < size))
        assert len((await wire.answer()).body) == size


async def test_a_route_that_takes_too_long_is_answered_with_504_and_ends_the_upstreams_exchange(clock: Clock) -> None:
    gone = anyio.Event()

    async def hang(scene: Scene) -> None:
        await scene.request()
        await scene.gone()
        gone.set()

    async with proxying(hang, route={"timeout_seconds": 10}) as proxy:
        wire = await proxy.connect()
        await wire.send(START + b"\r\n")
        await eventually(lambda: proxy.upstream.requests != [], "the request")
        async with clock.running():
            answer = await wire.answer()
        assert (answer.status, answer.field(b"x-daemun-reason")) == (504, b"route_timeout")
        await gone.wait()


async def test_a_route_that_takes_too_long_in_the_middle_of_its_answer_is_cut_off(clock: Clock) -> None:
    async def stall(scene: Scene) -> None:
        await scene.request()
        await scene.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        await scene.gone()

    async with proxying(stall, route={"timeout_seconds": 10}) as proxy:
        wire = await proxy.connect()
        await wire.send(START + b"\r\n")
        await wire.until(b"abc")
        async with clock.running():
            with pytest.raises(CutOff):
                await wire.until(b"d")
        await proxy.settled()
