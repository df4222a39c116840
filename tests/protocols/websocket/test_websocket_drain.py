"""The gateway is about to stop: a Close between two frames, and patience."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import cast

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import SocketStream

from daemun.testing import (
    Wire,
    eventually,
)

from .stage import (
    ASKS,
    AWAY,
    BINARY,
    CLOSE,
    NORMAL,
    PIECE,
    TEXT,
    End,
    End1,
    Version,
    draining,
    every_client,
    every_way,
    frame,
    staged,
    stay,
    switched,
    upgrade,
)

pytestmark = pytest.mark.anyio


@every_client
@every_way
async def test_a_drain_closes_and_waits_for_the_answer(down: Version, up: Version) -> None:
    heard: list[tuple[int, bytes]] = []

    async def talk(far: End) -> None:
        while (got := await far.frame())[0] != CLOSE:
            heard.append(got)
            await far.send(frame(b"echo", TEXT))
        heard.append(got)
        await far.send(frame(b"too late") + frame(NORMAL, CLOSE))
        await far.finish()

    over = anyio.Event()
    async with staged(talk, up) as stage:
        client = await stage.opened(down)
        await client.send(frame(b"one", masked=True))
        assert await client.frame() == (TEXT, b"echo")
        async with draining(stage, over):
            close = await client.closed()
            assert close[:2] == AWAY
            assert b"stop" in close
            await client.send(frame(b"two", masked=True))
            await eventually(lambda: (BINARY, b"two") in heard, "what the client says meanwhile")
            assert not over.is_set()
            await client.send(frame(AWAY, CLOSE, masked=True))
            assert await client.rest() == b""
            if isinstance(client, End1):
                await client.finish()
            await over.wait()
        assert heard == [(BINARY, b"one"), (BINARY, b"two"), (CLOSE, AWAY)]


@every_client
@every_way
async def test_a_drain_closes_where_nobody_ever_said_anything(down: Version, up: Version) -> None:
    async with staged(stay, up) as stage:
        client = await stage.opened(down)
        async with draining(stage):
            assert (await client.closed())[:2] == AWAY


@every_client
@every_way
async def test_a_drain_in_the_middle_of_a_frame_closes_behind_it(down: Version, up: Version) -> None:
    may_go_on = anyio.Event()
    data = frame(bytes(range(256)) * 4)

    async def slow(far: End) -> None:
        await far.send(frame(b"whole") + data[:300])
        await may_go_on.wait()
        await far.send(data[300:400])
        await far.send(data[400:] + frame(b"more"))
        await stay(far)

    async with staged(slow, up) as stage:
        client = await stage.opened(down)
        assert await client.frame() == (BINARY, b"whole")
        assert await client.exactly(300) == data[:300]
        async with draining(stage):
            await eventually(lambda: stage.gateway.gateway.connections.draining, "the drain")
            may_go_on.set()
            assert await client.exactly(len(data) - 300) == data[300:]
            assert (await client.closed())[:2] == AWAY
            await client.finish()
            assert await client.rest() == b""


@every_client
@every_way
async def test_a_drain_between_the_bytes_of_a_head_closes_behind_its_frame(down: Version, up: Version) -> None:
    may_go_on = anyio.Event()
    data = frame(b"x" * 70_000)

    async def slow(far: End) -> None:
        await far.send(data[:1])
        await may_go_on.wait()
        await far.send(data[1:3])
        await far.send(data[3:] + frame(b"more"))
        await stay(far)

    async with staged(slow, up) as stage:
        client = await stage.opened(down)
        assert await client.exactly(1) == data[:1]
        async with draining(stage):
            await eventually(lambda: stage.gateway.gateway.connections.draining, "the drain")
            may_go_on.set()
            assert await client.exactly(len(data) - 1) == data[1:]
            assert (await client.closed())[:2] == AWAY


@every_client
@every_way
async def test_a_drain_while_much_goes_through_closes_between_two_frames(down: Version, up: Version) -> None:
    async def endless(far: End) -> None:
        number = 0
        async with anyio.create_task_group() as tasks:

            async def listen() -> None:
                assert await far.frame() == (CLOSE, AWAY)
                tasks.cancel_scope.cancel()

            tasks.start_soon(listen)
            while True:
                await far.send(frame(b"%09d" % number + bytes(number * 37 % 3000)))
                number += 1
                await anyio.lowlevel.checkpoint()
        await far.finish()

    async with staged(endless, up) as stage:
        client = await stage.opened(down)
        for number in range(20):
            assert (await client.frame())[1][:9] == b"%09d" % number
        async with draining(stage):
            number = 20
            while (got := await client.frame())[0] == BINARY:
                assert got[1] == b"%09d" % number + bytes(number * 37 % 3000)
                number += 1
            assert got[0] == CLOSE
            assert got[1][:2] == AWAY
            await client.send(frame(AWAY, CLOSE, masked=True))
            assert await client.rest() == b""


@every_client
@every_way
async def test_a_websocket_that_is_opened_during_a_drain_is_closed_at_once(down: Version, up: Version) -> None:
    asked, may_answer = anyio.Event(), anyio.Event()

    async def hesitate() -> None:
        asked.set()
        await may_answer.wait()

    async with staged(stay, up, before=hesitate) as stage:
        clients: list[End] = []

        async def open_one() -> None:
            clients.append(await stage.opened(down))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(open_one)
            await asked.wait()
            async with draining(stage):
                await eventually(lambda: stage.gateway.gateway.connections.draining, "the drain")
                may_answer.set()
                await eventually(lambda: bool(clients), "the opening")
                assert (await clients[0].closed())[:2] == AWAY
                await clients[0].reset()


async def test_over_tls_bytes_pass_and_a_drain_closes_between_two_frames(certificate: Path) -> None:
    may_go_on = anyio.Event()
    data = frame(bytes(range(256)) * 400)

    async def talk(far: End) -> None:
        assert await far.frame() == (BINARY, PIECE * 16)
        await far.send(frame(PIECE * 16) + data[:300])
        await may_go_on.wait()
        await far.send(data[300:] + frame(b"more"))
        assert await far.closed() == AWAY
        await far.finish()

    tls = {"certificate": str(certificate / "cert.pem"), "key": str(certificate / "key.pem")}
    context = ssl.create_default_context(cafile=certificate / "cert.pem")
    async with (
        staged(talk, listener={"tls": tls}) as stage,
        await anyio.connect_tcp(
            "127.0.0.1", stage.gateway.port, ssl_context=context, tls_hostname="a.test", tls_standard_compatible=False
        ) as stream,
    ):
        wire = Wire(cast("SocketStream", stream))
        await wire.send(upgrade(ASKS, b"a.test"))
        client = await switched(wire)
        await client.send(frame(PIECE * 16, masked=True))
        assert await client.frame() == (BINARY, PIECE * 16)
        assert await client.exactly(300) == data[:300]
        async with draining(stage):
            await eventually(lambda: stage.gateway.gateway.connections.draining, "the drain")
            may_go_on.set()
            assert await client.exactly(len(data) - 300) == data[300:]
            assert (await client.closed())[:2] == AWAY
            await client.send(frame(AWAY, CLOSE, masked=True))
            assert await client.rest() == b""
