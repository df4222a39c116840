"""Upstream connections that many exchanges share: as few as the peer's limit allows, and none that is over."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import pytest
from hyperframe.frame import SettingsFrame

from daemun.testing import Http2Proxy, Http2Scene, Http2Wire, eventually, proxying2

if TYPE_CHECKING:
    from tests.conftest import Clock

pytestmark = pytest.mark.anyio

MAX_CONCURRENT_STREAMS = SettingsFrame.MAX_CONCURRENT_STREAMS


class Hold:
    """An upstream that answers when it is told to, and counts what runs on each connection."""

    def __init__(self) -> None:
        self.may_answer = anyio.Event()
        self.running: dict[Http2Scene, int] = {}
        self.most = 0

    async def script(self, scene: Http2Scene) -> None:
        async def serve(stream: int) -> None:
            self.running[scene] = self.running.get(scene, 0) + 1
            self.most = max(self.most, self.running[scene])
            await self.may_answer.wait()
            self.running[scene] -= 1
            if scene.hear(stream).code is None:
                await scene.respond(stream, 200, (), b"ok")

        async with anyio.create_task_group() as tasks:
            while stream := await scene.request():
                tasks.start_soon(serve, stream)

    @property
    def waiting(self) -> int:
        """Requests that wait for their answer."""
        return sum(self.running.values())


@asynccontextmanager
async def asking(proxy: Http2Proxy, hold: Hold, count: int) -> AsyncIterator[Http2Wire]:
    """A client with `count` requests that wait; afterwards they are answered."""
    wire = await proxy.connect2()
    streams = [await wire.ask() for _ in range(count)]
    await eventually(lambda: hold.waiting == count, "all requests")
    yield wire
    hold.may_answer.set()
    assert [(await wire.answer(stream)).body for stream in streams] == [b"ok"] * count


async def test_exchanges_share_one_connection_that_is_opened_once() -> None:
    hold = Hold()
    async with proxying2(None, hold.script) as proxy:
        async with asking(proxy, hold, 50):
            assert proxy.upstream.connections == 1
        assert (await (await proxy.connect2()).exchange()).body == b"ok"
        assert (await proxy.ask(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")).body == b"ok"
        assert proxy.upstream.connections == 1
        assert hold.most == 50


@pytest.mark.parametrize(("limit", "connections"), [(1, 7), (2, 4), (3, 3), (7, 1)])
async def test_more_connections_are_opened_where_the_peers_limit_asks_for_it(limit: int, connections: int) -> None:
    hold = Hold()
    async with proxying2(None, hold.script, upstream_settings={MAX_CONCURRENT_STREAMS: limit}) as proxy:
        async with asking(proxy, hold, 7):
            assert (proxy.upstream.connections, hold.most) == (connections, limit)
        assert (await (await proxy.connect2()).exchange()).body == b"ok"
        assert proxy.upstream.connections == connections


async def test_a_limit_that_changes_counts_from_then_on() -> None:
    hold = Hold()
    async with proxying2(None, hold.script, upstream_settings={MAX_CONCURRENT_STREAMS: 1}) as proxy:
        wire = await proxy.connect2()
        first = await wire.ask()
        await eventually(lambda: hold.waiting == 1, "the first request")
        (scene,) = proxy.upstream.scenes
        await scene.set({MAX_CONCURRENT_STREAMS: 3})
        await scene.round_trip()
        more = [await wire.ask() for _ in range(2)]
        await eventually(lambda: hold.waiting == 3, "three requests")
        assert proxy.upstream.connections == 1
        await scene.set({MAX_CONCURRENT_STREAMS: 2})
        await scene.round_trip()
        more.append(await wire.ask())
        await eventually(lambda: hold.waiting == 4, "four requests")
        assert proxy.upstream.connections == 2
        hold.may_answer.set()
        for stream in (first, *more):
            assert (await wire.answer(stream)).body == b"ok"


async def test_an_upstream_that_takes_nothing_is_a_502() -> None:
    async with proxying2(upstream_settings={MAX_CONCURRENT_STREAMS: 0}) as proxy:
        answer = await (await proxy.connect2()).exchange()
        assert (answer.status, answer.field(b"x-daemun-reason")) == (502, b"upstream_closed")
        assert proxy.upstream.asked == []


async def test_a_connection_that_the_upstream_ends_while_it_is_idle_is_not_used_again() -> None:
    async def once(scene: Http2Scene) -> None:
        stream = await scene.request()
        await scene.respond(stream, 200, (), b"ok")
        if proxy.upstream.connections % 2:
            await scene.goaway(stream)
            await scene.gone()

    async with proxying2(None, once) as proxy:
        wire = await proxy.connect2()
        for count in range(1, 5):
            assert (await wire.exchange()).body == b"ok"
            await eventually(lambda: proxy.upstream.open == 0, "the end of the connection")
            await wire.round_trip()
            assert proxy.upstream.connections == count


async def test_pings_and_settings_of_an_upstream_are_answered_while_nothing_runs() -> None:
    async def lively(scene: Http2Scene) -> None:
        await scene.respond(await scene.request(), 200, (), b"ok")
        for number in range(5):
            await scene.round_trip()
            await scene.set({SettingsFrame.INITIAL_WINDOW_SIZE: 1000 + number})
        await scene.until(lambda: scene.acknowledged, "acknowledgements")
        done.set()
        await scene.respond(await scene.request(), 200, (), b"ok")
        await scene.gone()

    done = anyio.Event()
    async with proxying2(None, lively) as proxy:
        wire = await proxy.connect2()
        assert (await wire.exchange()).body == b"ok"
        await done.wait()
        assert (await wire.exchange()).body == b"ok"
        assert proxy.upstream.connections == 1


async def test_an_upstream_may_not_push() -> None:
    async def push(scene: Http2Scene) -> None:
        assert scene.settings.get(SettingsFrame.ENABLE_PUSH, 0) == 0
        stream = await scene.request()
        await scene.send(b"\0\0\5\5\4\0\0\0\1\0\0\0\2\x82")
        await scene.respond(stream, 200, (), b"ok")
        await scene.gone()

    async with proxying2(None, push) as proxy:
        answer = await (await proxy.connect2()).exchange(b"POST")
        assert (answer.status, answer.field(b"x-daemun-reason")) == (502, b"upstream_protocol")


async def test_an_upstream_that_is_silent_is_given_up_and_its_connection_stays(clock: Clock) -> None:
    hold = Hold()
    async with proxying2(None, hold.script, backend={"response_timeout_seconds": 10}) as proxy:
        wire = await proxy.connect2()
        async with clock.running():
            answer = await wire.exchange(b"POST")
        assert (answer.status, answer.field(b"x-daemun-reason")) == (504, b"upstream_timeout")
        (scene,) = proxy.upstream.scenes
        await eventually(lambda: scene.hear(1).code == 8, "a reset")
        hold.may_answer.set()
        assert (await wire.exchange(b"POST")).status == 200
        assert proxy.upstream.connections == 1
