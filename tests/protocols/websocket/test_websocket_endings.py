"""What `ws_log` says of how a WebSocket ended, whoever ended it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from daemun import Reason
from daemun.testing import CutOff, eventually

from .stage import (
    AWAY,
    CLOSE,
    MIB,
    NORMAL,
    TEXT,
    End,
    Play,
    Stage,
    Version,
    draining,
    every_client,
    every_way,
    frame,
    staged,
    stay,
)

pytestmark = pytest.mark.anyio


class Logged:
    """The lines of `ws_log` about ends."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO, "daemun.websocket")
        self._caplog = caplog

    @property
    def ends(self) -> list[str]:
        lines = [record.getMessage() for record in self._caplog.records]
        return [line.partition(", end: ")[2] for line in lines if ", end: " in line]

    async def one(self) -> str:
        await eventually(lambda: bool(self.ends), "the end in the log")
        (line,) = self.ends
        return line


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Logged:
    return Logged(caplog)


@asynccontextmanager
async def looking(play: Play, up: Version, rules: dict[str, Any] | None = None, **route: Any) -> AsyncIterator[Stage]:
    filters = [{"type": "websocket", "settings": rules or {}}, {"type": "ws_log"}]
    async with staged(play, up, filters=filters, **route) as stage:
        yield stage


@every_client
@every_way
async def test_a_close_of_the_client(down: Version, up: Version, logged: Logged) -> None:
    async def answer(far: End) -> None:
        assert (await far.exactly(8))[:1] == b"\x88"
        await far.send(frame(NORMAL, CLOSE))
        await stay(far)

    async with looking(answer, up) as stage:
        client = await stage.opened(down)
        await client.send(frame(NORMAL, CLOSE, masked=True))
        assert await client.closed() == NORMAL
        await client.finish()
        assert await logged.one() == "closed by the client, 1000"


async def bye(far: End) -> None:
    await far.send(frame(NORMAL, CLOSE))
    await stay(far)


@every_client
@every_way
async def test_a_close_of_the_upstream(down: Version, up: Version, logged: Logged) -> None:
    async with looking(bye, up) as stage:
        client = await stage.opened(down)
        assert await client.closed() == NORMAL
        await client.finish()
        assert await logged.one() == "closed by the upstream, 1000"


@every_client
@every_way
async def test_a_drain(down: Version, up: Version, logged: Logged) -> None:
    async with looking(stay, up) as stage:
        client = await stage.opened(down)
        async with draining(stage):
            assert (await client.closed())[:2] == AWAY
            await client.send(frame(AWAY, CLOSE, masked=True))
            await client.finish()
            assert await logged.one() == "closed by the gateway, 1001: the gateway is about to stop"


@every_client
@every_way
async def test_a_silence(down: Version, up: Version, logged: Logged) -> None:
    async with looking(stay, up, {"idle_timeout_seconds": 0.2}) as stage:
        client = await stage.opened(down)
        assert (await client.closed())[:2] == AWAY
        await client.finish()
        assert await logged.one() == "closed by the gateway, 1001: nobody said anything"


async def reset(far: End) -> None:
    assert await far.more()
    await far.reset()


async def finish(far: End) -> None:
    assert await far.more()
    await far.finish()


@every_client
@every_way
@pytest.mark.parametrize("play", [reset, finish])
async def test_an_upstream_that_left(down: Version, up: Version, play: Play, logged: Logged) -> None:
    async with looking(play, up) as stage:
        client = await stage.opened(down)
        await client.send(frame(b"hello", TEXT, masked=True))
        try:
            assert await client.rest() == b""
            await client.finish()
        except CutOff:
            assert play is reset
        if play is finish:
            words = "left without a close"
        elif up == "http1":
            words = "was lost: the upstream closed the connection"
        else:
            words = "was lost: the upstream ended the exchange (CANCEL)"
        assert await logged.one() == f"the upstream {words}"


async def hear(far: End) -> None:
    """Waits until it is cut off, or nothing more comes."""
    try:
        await far.rest()
    except CutOff:
        pass


@every_client
@every_way
async def test_a_client_that_left(down: Version, up: Version, logged: Logged) -> None:
    async with looking(stay, up) as stage:
        client = await stage.opened(down)
        await client.finish()
        assert await logged.one() == "the client left without a close"


@every_client
@every_way
async def test_a_client_that_reset(down: Version, up: Version, logged: Logged) -> None:
    async with looking(hear, up) as stage:
        client = await stage.opened(down)
        await client.reset()
        ends = {"cut off, client_left"}
        if down == "http1":
            ends.add("the client left without a close")  # who reads first sees an end
        assert await logged.one() in ends


@every_client
@every_way
async def test_a_timeout_of_the_route(down: Version, up: Version, logged: Logged) -> None:
    async with looking(hear, up, timeout_seconds=0.5) as stage:
        client = await stage.opened(down)
        with pytest.raises(CutOff):
            await client.rest()
        assert await logged.one() == "cut off, route_timeout"


@every_client
async def test_a_message_above_a_limit(down: Version, logged: Logged) -> None:
    """`ws_log` alone brings the limits of `websocket-messages`."""
    limit = "messages of at most 1048576 bytes are taken"

    async def talk(far: End) -> None:
        await far.send(frame(bytes(2 * MIB))[:100])
        await hear(far)

    async with looking(talk, "http1") as stage:
        client = await stage.opened(down)
        assert await client.closed() == b"\x03\xf1the upstream broke a limit: " + limit.encode()
        await client.finish()
        assert await logged.one() == (
            f"closed by the gateway, 1009: the upstream sent a binary message of 2097152 bytes or more; {limit}"
        )
        await eventually(lambda: len(stage.journal.exchanges) == 1, "the end of the exchange")
        assert stage.journal.exchanges[0].reason is Reason.UPSTREAM_PROTOCOL
