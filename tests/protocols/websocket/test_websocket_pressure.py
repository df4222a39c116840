"""Who does not read, and what observers learn."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import SocketAttribute, SocketStream

import daemun_websocket.tunnel
from daemun import (
    Reason,
)
from daemun.testing import (
    CutOff,
    StreamReset,
    eventually,
)

from .stage import (
    AHEAD,
    AWAY,
    BINARY,
    CLOSE,
    KERNEL_BYTES,
    NORMAL,
    PIECE,
    PIECES,
    PING,
    End,
    End2,
    Version,
    draining,
    every_client,
    every_way,
    frame,
    staged,
)

if TYPE_CHECKING:
    from tests.conftest import Clock

pytestmark = pytest.mark.anyio


def fixed(sock: socket.socket) -> None:
    """The kernel holds so much for this connection, or for those that are accepted here, and no more."""
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, KERNEL_BYTES)


def fix(end: End) -> None:
    """The same for the test's end of a connection."""
    inner: Any = end.connection if isinstance(end, End2) else end.stream  # type: ignore[attr-defined]
    stream: SocketStream = inner.stream
    fixed(stream.extra(SocketAttribute.raw_socket))


@pytest.fixture
def listener() -> Iterator[dict[str, str]]:
    """Where the gateway listens."""
    with socket.socket() as sock:
        fixed(sock)
        sock.bind(("127.0.0.1", 0))
        yield {"bind": f"fd:{sock.fileno()}"}


async def stalled(count: Callable[[], int], turns: int = 15) -> int:
    """`count()`, once it has begun and has not changed for so many turns of all tasks."""
    last = same = 0
    while same < turns:
        await anyio.sleep(0.01)
        now = count()
        same = same + 1 if now == last and now else 0
        last = now
    return last


@every_client
@every_way
async def test_a_client_that_does_not_read_stops_the_upstream_and_gets_everything_later(
    down: Version, up: Version, listener: dict[str, str]
) -> None:
    sent = 0

    async def talk(far: End) -> None:
        nonlocal sent
        fix(far)
        for _ in range(PIECES):
            await far.send(frame(PIECE))
            sent += len(PIECE)
        await far.finish()

    async with staged(talk, up, listener=listener) as stage:
        client = await stage.opened(down)
        fix(client)
        assert 0 < await stalled(lambda: sent) < AHEAD
        for _ in range(PIECES):
            assert await client.frame() == (BINARY, PIECE)
        assert await client.rest() == b""


@every_client
@every_way
async def test_an_upstream_that_does_not_read_stops_the_client_and_gets_everything_later(
    down: Version, up: Version, listener: dict[str, str]
) -> None:
    may_read = anyio.Event()
    sent = 0

    async def listen(far: End) -> None:
        fix(far)
        await may_read.wait()
        for _ in range(PIECES):
            assert await far.frame() == (BINARY, PIECE)
        await far.send(frame(NORMAL, CLOSE))
        await far.finish()

    async def talk() -> None:
        nonlocal sent
        for _ in range(PIECES):
            await client.send(frame(PIECE, masked=True))
            sent += len(PIECE)

    async with staged(listen, up, listener=listener) as stage, anyio.create_task_group() as tasks:
        client = await stage.opened(down)
        fix(client)
        tasks.start_soon(talk)
        assert 0 < await stalled(lambda: sent) < AHEAD
        may_read.set()
        assert await client.closed() == NORMAL


@every_client
@every_way
async def test_a_client_that_does_not_read_is_pinged_and_drained_between_frames(
    down: Version, up: Version, listener: dict[str, str]
) -> None:
    sent = 0

    async def talk(far: End) -> None:
        nonlocal sent
        fix(far)
        for number in range(PIECES):
            await far.send(frame(b"%09d" % number + PIECE))
            sent += len(PIECE)
        assert await far.closed() == AWAY
        await far.finish()

    async with staged(talk, up, rules={"ping_interval_seconds": 0.1}, listener=listener) as stage:
        client = await stage.opened(down)
        fix(client)
        assert 0 < await stalled(lambda: sent, turns=100) < AHEAD
        async with draining(stage):
            assert 0 < await stalled(lambda: sent) < AHEAD
            number = 0
            while (got := await client.frame())[0] != CLOSE:
                if got != (PING, b""):
                    assert got == (BINARY, b"%09d" % number + PIECE)
                    number += 1
            assert got[1][:2] == AWAY
            await client.send(frame(AWAY, CLOSE, masked=True))
            assert await client.rest() == b""


@every_client
@every_way
async def test_a_client_that_does_not_read_is_cut_off_when_its_time_is_over(
    down: Version, up: Version, listener: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemun_websocket.tunnel, "_CLOSE_SECONDS", 0.2)
    ended = anyio.Event()

    async def talk(far: End) -> None:
        fix(far)
        try:
            while True:
                await far.send(frame(PIECE))
        except (anyio.BrokenResourceError, StreamReset, CutOff):
            ended.set()

    async with staged(talk, up, rules={"idle_timeout_seconds": 0.3}, listener=listener) as stage:
        client = await stage.opened(down)
        fix(client)
        await ended.wait()
        await eventually(lambda: len(stage.journal.exchanges) == 1, "the end of the exchange")
        assert stage.journal.exchanges[0].reason is Reason.IDLE_TIMEOUT


async def test_the_time_of_a_route_counts_for_its_websockets(clock: Clock) -> None:
    async with staged(timeout_seconds=10) as stage:
        client = await stage.opened("http1")
        async with clock.running():
            with pytest.raises(CutOff):
                await client.rest()
        await eventually(lambda: len(stage.journal.exchanges) == 1, "the end of the exchange")
        assert stage.journal.exchanges[0].reason is Reason.ROUTE_TIMEOUT


# --- what observers learn ---


@every_client
@every_way
async def test_observers_learn_of_the_switch_and_of_all_bytes(down: Version, up: Version) -> None:
    async with staged(up=up) as stage:
        client = await stage.opened(down)
        data = [frame(bytes(size), masked=True) for size in (5, 300, 100_000)]
        for one in data:
            await client.send(one)
            assert await client.exactly(len(one)) == one
        await client.finish()
        assert await client.rest() == b""
        await eventually(lambda: len(stage.journal.exchanges) == 1, "the end of the exchange")
        (exchange,) = stage.journal.exchanges
        total = sum(map(len, data))
        assert (exchange.status, exchange.reason, exchange.route) == (101, None, "chat")
        assert (exchange.received_bytes, exchange.sent_bytes) == (total, total)
        assert exchange.version == ("HTTP/1.1" if down == "http1" else "HTTP/2")
