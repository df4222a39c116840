"""Bytes pass as they are, and ends as they come."""

from __future__ import annotations

import random
from collections.abc import Iterator

import anyio
import anyio.lowlevel
import pytest

from daemun import (
    Reason,
)
from daemun.testing import (
    CutOff,
    Scene,
    eventually,
    proxying,
)

from .stage import (
    BINARY,
    MIB,
    PING,
    TEXT,
    End,
    End1,
    End2,
    Stage,
    Version,
    accepted,
    echo,
    every_client,
    every_way,
    frame,
    staged,
)

pytestmark = pytest.mark.anyio


def cut(data: bytes, chance: random.Random) -> Iterator[bytes]:
    """`data` in pieces of any size."""
    while data:
        size = chance.choice((1, 2, 3, 7, 130, 5000, 70_000, 400_000))
        yield data[:size]
        data = data[size:]


@every_client
@every_way
async def test_bytes_go_both_ways_unchanged_however_they_are_split(down: Version, up: Version) -> None:
    chance = random.Random(f"{down} {up}")
    sizes = (0, 1, 125, 126, 127, 65_535, 65_536, MIB, 3, 0, 17)
    messages = [
        (chance.choice((TEXT, BINARY, PING)) if size < 126 else BINARY, chance.randbytes(size)) for size in sizes
    ]
    data = b"".join(frame(content, opcode, masked=True) for opcode, content in messages)
    async with staged(up=up) as stage, anyio.create_task_group() as tasks:
        client = await stage.opened(down)

        async def talk() -> None:
            for piece in cut(data, chance):
                await client.send(piece)

        tasks.start_soon(talk)
        assert [await client.frame() for _ in messages] == messages
        await client.finish()
        assert await client.rest() == b""


@every_client
@every_way
async def test_what_the_upstream_says_with_its_head_is_not_lost(down: Version, up: Version) -> None:
    async with staged(up=up, first=frame(b"hello") + frame(b"and so on")[:3]) as stage:
        client = await stage.opened(down)
        assert await client.frame() == (BINARY, b"hello")
        await client.send(frame(b"and so on")[3:])
        assert await client.frame() == (BINARY, b"and so on")


async def test_an_opening_on_a_connection_that_the_upstream_has_just_given_up_goes_to_another() -> None:
    heads: list[bytes] = []

    async def give_up(scene: Scene) -> None:
        while head := await scene.head():
            heads.append(head)
            if b"upgrade" not in head.lower():
                await scene.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            elif len(heads) == 2:
                return
            else:
                accept = accepted(End1(scene, head).fields[b"sec-websocket-key"])
                switch = (
                    b"HTTP/1.1 101 Go\r\nConnection: UPGRADE\r\nUpgrade: WebSocket\r\nSec-WebSocket-Accept: %b\r\n\r\n"
                )
                await scene.send(switch % accept)
                await echo(End1(scene, head))

    async with proxying(give_up) as proxy:
        stage = Stage(proxy.gateway, proxy.upstream)
        try:
            assert (await stage.ask_plainly("http1")).body == b"ok"
            client = await stage.opened("http1")
            await client.send(b"x")
            assert await client.exactly(1) == b"x"
            assert len(heads) == 3
        finally:
            await stage.leave()


# --- ends ---


@every_client
@every_way
async def test_the_fin_of_the_upstream_is_passed_on_at_once(down: Version, up: Version) -> None:
    heard: list[bytes] = []

    async def leave(far: End) -> None:
        await far.send(frame(b"bye", TEXT))
        await far.finish()
        if up == "http1":
            heard.append(await far.rest())

    async with staged(leave, up) as stage:
        client = await stage.opened(down)
        assert await client.frame() == (TEXT, b"bye")
        assert await client.rest() == b""
        if down == up == "http1":  # a stream of HTTP/2 ends both ways
            await client.send(b"thanks")
            await client.finish()
            await eventually(lambda: heard == [b"thanks"], "what the client said last")


@every_client
@every_way
async def test_the_fin_of_the_client_is_passed_on_at_once(down: Version, up: Version) -> None:
    async def listen(far: End) -> None:
        said = await far.rest()
        await far.send(b"you said " + said)
        await far.finish()

    async with staged(listen, up) as stage:
        client = await stage.opened(down)
        await client.send(b"this")
        await client.finish()
        assert await client.rest() == b"you said this"


@every_client
@every_way
async def test_a_client_that_resets_ends_it_for_the_upstream(down: Version, up: Version) -> None:
    ended = anyio.Event()

    async def watch(far: End) -> None:
        await far.send(b"x")
        try:
            await far.rest()
        except CutOff:
            pass
        ended.set()

    async with staged(watch, up) as stage:
        client = await stage.opened(down)
        await client.exactly(1)
        await client.reset()
        await ended.wait()
        await eventually(lambda: len(stage.journal.exchanges) == 1, "the end of the exchange")
        assert stage.journal.exchanges[0].reason is Reason.CLIENT_LEFT


@every_client
@every_way
async def test_an_upstream_that_resets_ends_it_for_the_client(down: Version, up: Version) -> None:
    async def cut_off(far: End) -> None:
        await far.more()
        await far.reset()

    async with staged(cut_off, up) as stage:
        client = await stage.opened(down)
        await client.send(b"x")
        with pytest.raises(CutOff):
            await client.rest()


@every_client
@every_way
async def test_an_upstream_that_is_killed_ends_it_for_the_client(down: Version, up: Version) -> None:
    async def die(far: End) -> None:
        await far.more()
        if isinstance(far, End2):
            await far.connection.reset()
        else:
            await far.reset()

    async with staged(die, up) as stage:
        client = await stage.opened(down)
        await client.send(frame(b"x", masked=True))
        with pytest.raises(CutOff):
            await client.rest()
