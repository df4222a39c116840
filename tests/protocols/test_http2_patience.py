"""How long things may take, and how a connection ends in peace: drain, deadlines, silence, slow content, slow readers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest
from hyperframe.frame import Frame, PingFrame, SettingsFrame

from daemun.testing import Http2Scene, Http2Wire, Scene, eventually, proxying2

if TYPE_CHECKING:
    from tests.conftest import Clock

pytestmark = pytest.mark.anyio

MAX_STREAM = 2**31 - 1
REFUSED_STREAM, CANCEL, SETTINGS_TIMEOUT, ENHANCE_YOUR_CALM = 7, 8, 4, 11
HEAD = ((b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"a.test"))
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Slow:
    """An upstream that answers `/ok` at once, and anything else when it is told to."""

    def __init__(self) -> None:
        self.may_answer = anyio.Event()
        self.begun = 0

    async def script1(self, scene: Scene) -> None:
        while message := await scene.request():
            if b" /ok " not in message:
                self.begun += 1
                await self.may_answer.wait()
            await scene.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


async def deaf(scene: Scene) -> None:
    """An upstream that never answers."""
    await scene.gone()


# --- drain ---


class Silent(Http2Wire):
    """A client that does not answer pings."""

    def _take(self, frame: Frame) -> None:
        if not isinstance(frame, PingFrame):
            super()._take(frame)


async def test_a_drain_says_goodbye_twice_and_lets_what_runs_end() -> None:
    slow = Slow()
    async with proxying2(slow.script1) as proxy, anyio.create_task_group() as tasks:
        wire = await proxy.connect2()
        streams = [await wire.ask(target=b"/slow") for _ in range(3)]
        await eventually(lambda: slow.begun == 3, "the exchanges")
        tasks.start_soon(proxy.gateway.gateway.connections.drain, 10.0)
        await wire.until(lambda: len(wire.goaways) == 2, "two GOAWAYs")
        assert wire.goaways == [(MAX_STREAM, 0), (streams[-1], 0)]
        late = await wire.ask(target=b"/ok")
        assert await wire.code_of(late) == REFUSED_STREAM
        slow.may_answer.set()
        assert [(await wire.answer(stream)).body for stream in streams] == [b"ok"] * 3
        assert await wire.leaving() == 0
        assert not wire.was_reset


async def test_a_request_that_crosses_the_first_goodbye_is_served() -> None:
    slow = Slow()
    async with proxying2(slow.script1) as proxy, anyio.create_task_group() as tasks:
        wire = Silent(await anyio.connect_tcp("127.0.0.1", proxy.gateway.port))
        async with wire.stream:
            await wire.start()
            first = await wire.ask(target=b"/slow")
            await eventually(lambda: slow.begun == 1, "the exchange")
            tasks.start_soon(proxy.gateway.gateway.connections.drain, 10.0)
            await wire.until(lambda: len(wire.goaways) == 1, "a GOAWAY")
            second = await wire.ask(target=b"/ok")
            assert (await wire.answer(second)).body == b"ok"
            await wire.until(lambda: len(wire.goaways) == 2, "the second GOAWAY, without an answer to the ping")
            assert wire.goaways[-1] == (second, 0)
            slow.may_answer.set()
            assert (await wire.answer(first)).body == b"ok"
            assert await wire.leaving() == 0


async def test_a_drain_ends_an_idle_connection_at_once() -> None:
    async with proxying2() as proxy:
        used, unused = await proxy.connect2(), await proxy.connect2()
        assert (await used.exchange()).status == 200
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(proxy.gateway.gateway.connections.drain, 10.0)
            assert [await used.leaving(), await unused.leaving()] == [0, 0]
        assert [used.goaways[-1], unused.goaways[-1]] == [(1, 0), (0, 0)]


# --- deadlines ---


@pytest.mark.parametrize("method", [b"GET", b"POST"])
async def test_a_route_that_takes_too_long_is_a_504_and_its_neighbours_go_on(method: bytes, clock: Clock) -> None:
    async with proxying2(deaf, route={"timeout_seconds": 10}) as proxy:
        wire = await proxy.connect2()
        for _ in range(2):
            stream = await wire.ask(method, content=b"abc" if method == b"POST" else b"", ended=method == b"GET")
            async with clock.running():
                answer = await wire.answer(stream)
            assert (answer.status, answer.field(b"x-daemun-reason")) == (504, b"route_timeout")
        await wire.round_trip()


async def test_a_route_that_takes_too_long_after_its_head_is_reset(clock: Clock) -> None:
    async def half(scene: Scene) -> None:
        await scene.head()
        await scene.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
        await scene.gone()

    async with proxying2(half, route={"timeout_seconds": 10}) as proxy:
        wire = await proxy.connect2()
        stream = await wire.ask()
        await wire.until(lambda: wire.hear(stream).body == b"half", "the first half")
        async with clock.running():
            assert await wire.code_of(stream) == CANCEL
        await wire.round_trip()
        await eventually(lambda: proxy.upstream.open == 0, "the end of the upstream's connection")


# --- silence ---


async def test_a_connection_without_exchanges_is_ended_after_a_while(clock: Clock) -> None:
    async with proxying2(http2={"keep_alive_seconds": 10}) as proxy:
        wire = await proxy.connect2()
        for _ in range(3):
            assert (await wire.exchange()).status == 200
        await wire.round_trip()
        async with clock.running():
            assert await wire.leaving() == 0
        assert wire.goaways == [(5, 0)]


async def test_a_connection_with_an_exchange_is_not_idle(clock: Clock) -> None:
    slow = Slow()
    async with proxying2(slow.script1, http2={"keep_alive_seconds": 10, "head_timeout_seconds": 10}) as proxy:
        wire = await proxy.connect2()
        stream = await wire.ask(target=b"/slow")
        await eventually(lambda: slow.begun == 1, "the exchange")
        async with clock.running():
            await anyio.sleep(0.2)
        slow.may_answer.set()
        assert (await wire.answer(stream)).body == b"ok"
        async with clock.running():
            assert await wire.leaving() == 0


async def test_a_connection_that_has_said_its_settings_may_wait_for_its_first_request(clock: Clock) -> None:
    async with proxying2(http2={"keep_alive_seconds": 1000, "head_timeout_seconds": 10}) as proxy:
        wire = await proxy.connect2()
        await wire.round_trip()
        async with clock.running():
            await anyio.sleep(0.2)
        assert (await wire.exchange()).status == 200


class Mute(Http2Wire):
    """A client that says nothing by itself."""

    def _take(self, frame: Frame) -> None:
        super()._take(frame)
        self._say.clear()


@pytest.mark.parametrize("said", [PREFACE, PREFACE + b"\0\0\0"])
async def test_a_client_that_does_not_say_its_settings_is_ended(said: bytes, clock: Clock) -> None:
    async with proxying2(http2={"head_timeout_seconds": 10}) as proxy:
        wire = Mute(await anyio.connect_tcp("127.0.0.1", proxy.gateway.port))
        async with wire.stream:
            await wire.send(said)
            async with clock.running():
                assert await wire.leaving() == SETTINGS_TIMEOUT


@pytest.mark.parametrize("busy", [False, True])
async def test_a_head_that_comes_slowly_ends_the_connection(busy: bool, clock: Clock) -> None:
    async with proxying2(deaf, http2={"head_timeout_seconds": 10, "keep_alive_seconds": 10_000}) as proxy:
        wire = await proxy.connect2()
        if busy:
            await wire.ask()
        frames = wire.head_frames(wire.next_stream, (*HEAD, (b"x-long", b"x" * 20_000)), ended=True)
        await wire.send(frames[: 9 + 16_384])
        async with clock.running(), anyio.create_task_group() as tasks:

            async def drip() -> None:
                for position in range(9 + 16_384, len(frames) - 1):
                    await anyio.sleep(0.02)
                    await wire.send(frames[position : position + 1])

            tasks.start_soon(drip)
            await wire.until(lambda: bool(wire.goaways), "a GOAWAY")
            tasks.cancel_scope.cancel()
        assert wire.goaways[-1][1] in (0, ENHANCE_YOUR_CALM)


# --- slow content ---


SLOW = {"body_grace_seconds": 10, "body_min_bytes_per_second": 1000_000, "content_timeout_seconds": 10}


@pytest.mark.parametrize("announced", [True, False], ids=["length", "no-length"])
async def test_content_that_comes_too_slowly_is_a_408_and_its_neighbours_go_on(announced: bool, clock: Clock) -> None:
    slow = Slow()
    async with proxying2(slow.script1, http2=SLOW) as proxy:
        wire = await proxy.connect2()
        fields = ((b"content-length", b"100"),) if announced else ()
        stream = await wire.ask(b"POST", headers=fields, content=b"abc", ended=False)
        async with clock.running():
            answer = await wire.answer(stream)
        assert (answer.status, answer.field(b"x-daemun-reason")) == (408, b"request_timeout")
        assert (await wire.exchange(target=b"/ok")).body == b"ok"


async def test_content_that_waits_for_the_upstream_is_not_slow(clock: Clock) -> None:
    full, may_read = anyio.Event(), anyio.Event()

    async def late(scene: Http2Scene) -> None:
        stream = await scene.begun()
        await scene.until(lambda: len(scene.hear(stream).body) == 65_535, "what there is room for")
        full.set()
        await may_read.wait()
        await scene.credit(0, 1_000_000)
        await scene.credit(stream, 1_000_000)
        heard = await scene.end_of(stream)
        await scene.respond(stream, 200, (), b"%d" % len(heard.body))
        await scene.gone()

    async with proxying2(None, late, upstream_crediting=False, http2=SLOW) as proxy:
        wire = await proxy.connect2()
        stream = await wire.ask(b"POST", headers=((b"content-length", b"300000"),), ended=False)
        async with anyio.create_task_group() as tasks:

            async def upload() -> None:
                await wire.content(stream, b"x" * 300_000, ended=True)

            tasks.start_soon(upload)
            await full.wait()
            async with clock.running():
                await anyio.sleep(0.3)
            assert wire.hear(stream).code is None
            may_read.set()
        assert (await wire.answer(stream)).body == b"300000"


# --- slow readers ---


@pytest.mark.parametrize("window", ["stream", "connection"])
async def test_a_client_that_takes_nothing_of_a_stream_loses_it_and_nothing_else(window: str, clock: Clock) -> None:
    async def much(scene: Scene) -> None:
        while message := await scene.request():
            size = 2 if b" /ok " in message else 200_000
            await scene.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            await scene.send(b"x" * size)

    async with proxying2(much, http2={"send_timeout_seconds": 10}) as proxy:
        settings = {SettingsFrame.INITIAL_WINDOW_SIZE: 1000 if window == "stream" else 1_000_000}
        wire = await proxy.connect2(settings, crediting=False)
        stream = await wire.ask(target=b"/much")
        room = 1000 if window == "stream" else 65_535
        await wire.until(lambda: len(wire.hear(stream).body) == room, "what there is room for")
        async with clock.running():
            assert await wire.code_of(stream) == CANCEL
        assert len(wire.hear(stream).body) == room
        await wire.credit(0, 100_000)
        assert (await wire.exchange(target=b"/ok")).body == b"xx"


async def test_a_client_that_takes_a_little_now_and_then_keeps_its_stream(clock: Clock) -> None:
    async def some(scene: Scene) -> None:
        await scene.request()
        await scene.send(b"HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n" + b"x" * 70_000)
        await scene.gone()

    async with proxying2(some, http2={"send_timeout_seconds": 10}) as proxy:
        wire = await proxy.connect2({SettingsFrame.INITIAL_WINDOW_SIZE: 1000}, crediting=False)
        await wire.credit(0, 100_000)
        stream = await wire.ask()
        for count in range(1, 8):
            await wire.until(lambda count=count: len(wire.hear(stream).body) == 1000 * count, "more")  # type: ignore[misc]
            clock.advance(4)
            await anyio.sleep(0.06)  # the timers look each 0.05 s
            await wire.credit(stream, 1000)
        await wire.credit(stream, 70_000)
        assert len((await wire.answer(stream)).body) == 70_000


NO_LIMITS = {"body_min_bytes_per_second": 0, "content_timeout_seconds": 0, "send_timeout_seconds": 0}


async def passes(clock: Clock, seconds: int) -> None:
    """So much time passes, and every timer looks at it again and again."""
    for _ in range(5):
        clock.advance(seconds / 5)
        await anyio.sleep(0.12)  # the timers look each 0.05 s


@pytest.mark.parametrize("announced", [True, False], ids=["length", "no-length"])
async def test_without_limits_content_may_pause_for_ever(announced: bool, clock: Clock) -> None:
    slow = Slow()
    slow.may_answer.set()
    async with proxying2(slow.script1, http2=NO_LIMITS) as proxy:
        wire = await proxy.connect2()
        fields = ((b"content-length", b"6"),) if announced else ()
        stream = await wire.ask(b"POST", headers=fields, content=b"abc", ended=False)
        await passes(clock, 1000)
        await wire.content(stream, b"def", ended=True)
        assert (await wire.answer(stream)).body == b"ok"


@pytest.mark.parametrize("window", ["stream", "connection", "transport"])
async def test_without_limits_an_answer_may_be_read_at_any_time(window: str, clock: Clock) -> None:
    size = 8_000_000 if window == "transport" else 200_000

    async def much(scene: Scene) -> None:
        await scene.request()
        await scene.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
        await scene.gone()

    async with proxying2(much, http2=NO_LIMITS) as proxy:
        rooms = {"stream": 1000, "connection": 1_000_000, "transport": 16_000_000}
        wire = await proxy.connect2({SettingsFrame.INITIAL_WINDOW_SIZE: rooms[window]}, crediting=False)
        if window != "connection":
            await wire.credit(0, 16_000_000)
        stream = await wire.ask()
        await wire.until(lambda: bool(wire.hear(stream).body), "the beginning of the answer")
        await passes(clock, 1000)
        assert proxy.connections == 1
        await wire.credit(0, 1_000_000)
        await wire.credit(stream, 1_000_000)
        assert len((await wire.answer(stream)).body) == size
