"""Who is quiet for too long, and pings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest

import daemun_websocket.tunnel
from daemun import (
    Reason,
)
from daemun.testing import (
    CutOff,
    eventually,
)

from .stage import AWAY, CLOSE, NORMAL, PING, PONG, End, Version, echo, every_client, every_way, frame, staged, stay

if TYPE_CHECKING:
    from tests.conftest import Clock

pytestmark = pytest.mark.anyio


@every_client
@every_way
async def test_a_websocket_that_is_quiet_for_too_long_is_closed(down: Version, up: Version) -> None:
    async def talk(far: End) -> None:
        assert await far.frame() == (CLOSE, AWAY)
        await far.send(frame(AWAY, CLOSE))
        await far.finish()

    async with staged(talk, up, rules={"idle_timeout_seconds": 0.2}) as stage:
        client = await stage.opened(down)
        close = await client.closed()
        assert close[:2] == AWAY
        assert b"nobody said anything" in close
        await client.send(frame(AWAY, CLOSE, masked=True))
        assert await client.rest() == b""


@every_client
@every_way
async def test_a_client_that_does_not_answer_that_close_is_cut_off(
    down: Version, up: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemun_websocket.tunnel, "_CLOSE_SECONDS", 0.2)
    ended = anyio.Event()

    async def watch(far: End) -> None:
        try:
            assert await far.rest() == b""
        except CutOff:
            pass
        ended.set()

    async with staged(watch, up, rules={"idle_timeout_seconds": 0.2}) as stage:
        client = await stage.opened(down)
        await client.closed()
        with pytest.raises(CutOff):
            await client.rest()
        await ended.wait()
        await eventually(lambda: len(stage.journal.exchanges) == 1, "the end of the exchange")
        assert stage.journal.exchanges[0].reason is Reason.IDLE_TIMEOUT
        assert stage.journal.exchanges[0].status == 101


@every_client
@every_way
async def test_a_websocket_that_lasted_as_long_as_it_may_is_closed_however_busy_it_is(
    down: Version, up: Version, clock: Clock
) -> None:
    async with staged(up=up, rules={"max_lifetime_seconds": 10}) as stage:
        client = await stage.opened(down)
        opcode, count = PING, 0
        while opcode != CLOSE:
            await client.send(frame(b"%d" % count, PING, masked=True))
            opcode, data = await client.frame()
            assert opcode == CLOSE or data == b"%d" % count
            count += 1
            clock.advance(0.1)
            await anyio.sleep(0.001)
        assert data[:2] == AWAY
        assert count > 1
        await client.finish()
        assert await client.rest() == b""


@pytest.mark.parametrize("side", ["client", "upstream"])
async def test_pings_of_either_side_keep_it_open(side: str) -> None:
    async def ping(end: End) -> None:
        with anyio.move_on_after(0.8):
            while True:
                await end.send(frame(b"", PING, masked=side == "client"))
                await anyio.sleep(0.05)
        await end.send(frame(NORMAL, CLOSE, masked=side == "client"))

    async def talk(far: End) -> None:
        if side == "client":
            await echo(far)
        else:
            await ping(far)
            await stay(far)

    async with staged(talk, rules={"idle_timeout_seconds": 0.4}) as stage, anyio.create_task_group() as tasks:
        client = await stage.opened("http1")
        if side == "client":
            tasks.start_soon(ping, client)
        while (got := await client.frame())[0] == PING:
            pass
        assert got == (CLOSE, NORMAL)


@every_client
@every_way
async def test_a_client_that_nothing_is_said_to_is_pinged(down: Version, up: Version) -> None:
    heard: list[bytes] = []
    may_go_on = anyio.Event()

    async def listen(far: End) -> None:
        heard.append(await far.exactly(6))
        await far.send(b"\x82\x7e")  # the first half of a head
        await may_go_on.wait()
        await far.send(frame(bytes(300))[2:])
        heard.append(await far.exactly(6))
        await far.send(frame(NORMAL, CLOSE))
        await stay(far)

    async with staged(listen, up, rules={"ping_interval_seconds": 0.1}) as stage:
        client = await stage.opened(down)
        assert await client.frame() == (PING, b"")
        await client.send(frame(b"", PONG, masked=True))
        while (part := await client.exactly(2)) == frame(b"", PING):
            pass
        assert part == b"\x82\x7e"
        with anyio.move_on_after(0.3):  # no ping in the middle of a head
            assert not await client.exactly(1)
        may_go_on.set()
        assert await client.exactly(302) == frame(bytes(300))[2:]
        assert await client.frame() == (PING, b"")
        await client.send(frame(b"", PONG, masked=True))
        while (got := await client.frame())[0] == PING:
            pass
        assert got == (CLOSE, NORMAL)
        assert heard == [frame(b"", PONG, masked=True)] * 2
        await client.finish()
        assert await client.rest() == b""  # nothing is said behind a Close
