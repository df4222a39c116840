"""A connection of memory behaves as one of TCP: what comes, what waits, and how it ends."""

from __future__ import annotations

import anyio
import pytest
from anyio.abc import SocketAttribute
from anyio.lowlevel import checkpoint

from daemun.testing.pair import BUFFER_BYTES, memory_pair
from daemun.testing.wire import reset
from daemun.transport.watched import WatchedStream

pytestmark = pytest.mark.anyio


async def test_bytes_come_in_order_and_in_pieces_as_large_as_asked_for() -> None:
    near, far = memory_pair()
    await near.send(b"hello ")
    await near.send(b"world")
    assert await far.receive(3) == b"hel"
    assert await far.receive() == b"lo world"
    await far.send(b"back")
    assert await near.receive() == b"back"


async def test_who_sends_more_than_the_buffer_holds_waits_until_it_is_taken() -> None:
    near, far = memory_pair()
    sent = anyio.Event()

    async def send() -> None:
        await near.send(bytes(2 * BUFFER_BYTES + 1))
        sent.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send)
        count = len(await far.receive())
        for _ in range(10):
            await checkpoint()
        assert not sent.is_set()
        while count < 2 * BUFFER_BYTES + 1:
            count += len(await far.receive(1000))
    assert sent.is_set()
    assert count == 2 * BUFFER_BYTES + 1


async def test_its_end_is_told_after_what_was_sent_and_the_other_side_may_go_on() -> None:
    near, far = memory_pair()
    await near.send(b"last")
    await near.send_eof()
    assert await far.receive() == b"last"
    with pytest.raises(anyio.EndOfStream):
        await far.receive()
    await far.send(b"heard")
    assert await near.receive() == b"heard"
    with pytest.raises(anyio.ClosedResourceError):
        await near.send(b"more")


async def test_a_closed_end_takes_nothing_and_gives_what_it_had_sent() -> None:
    near, far = memory_pair()
    await near.send(b"last")
    await near.aclose()
    await near.aclose()
    with pytest.raises(anyio.BrokenResourceError):
        await far.send(b"x")
    assert await far.receive() == b"last"
    with pytest.raises(anyio.EndOfStream):
        await far.receive()
    for use in (near.receive, lambda: near.send(b"x")):
        with pytest.raises(anyio.ClosedResourceError):
            await use()


async def test_a_reset_breaks_both_directions_and_wakes_who_waits() -> None:
    near, far = memory_pair()
    broken = anyio.Event()

    async def receive() -> None:
        with pytest.raises(anyio.BrokenResourceError):
            await far.receive()
        broken.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(receive)
        await checkpoint()
        await reset(near)
    assert broken.is_set()
    with pytest.raises(anyio.BrokenResourceError):
        await far.send(b"x")


async def test_a_wait_that_is_cancelled_loses_nothing() -> None:
    near, far = memory_pair()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await far.receive()
    await near.send(b"kept")
    with anyio.CancelScope() as scope:
        scope.cancel()
        await far.receive()
    assert await far.receive() == b"kept"


async def test_an_abort_of_the_stream_on_it_ends_it() -> None:
    near, far = memory_pair()
    async with anyio.create_task_group() as tasks:
        stream = WatchedStream(near, tasks)
        await stream.send(b"said")
        stream.abort()
    assert await far.receive() == b"said"
    with pytest.raises(anyio.EndOfStream):
        await far.receive()


async def test_there_is_no_descriptor() -> None:
    near, _ = memory_pair()
    with pytest.raises(OSError, match="has no descriptor"):
        near.extra(SocketAttribute.raw_socket).fileno()
