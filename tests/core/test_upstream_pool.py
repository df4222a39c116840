"""Connections that are kept, taken again, and let go."""

from __future__ import annotations

import math
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

import anyio
import pytest

from daemun import (
    Endpoint,
    EndpointSpec,
    ExchangeError,
    NoSettings,
    Reason,
    Request,
    Response,
    Retry,
    Sniff,
    Stream,
    UpstreamConnection,
    WireProtocol,
)
from daemun.testing import make_request, scripted
from daemun.upstream.dialling import Dialler
from daemun.upstream.pool import Pool

pytestmark = pytest.mark.anyio


class Line:
    """A connection that answers by itself; `capacity` says what became of it."""

    def __init__(self, stream: Stream) -> None:
        self.capacity = 1
        self.closed = False
        self.released: Callable[[UpstreamConnection], None]
        self._stream = stream

    async def send(self, request: Request) -> Response:
        self.capacity = 0
        return Response(200)

    def over(self, *, reusable: bool = True) -> None:
        self.capacity = 1 if reusable else 0
        self.released(self)

    def close(self) -> None:
        self.capacity = 0
        self.closed = True
        self._stream.abort()


async def connect(stream: Stream, endpoint: Endpoint, settings: object) -> Line:
    return Line(stream)


async def serve(stream: Stream, connection: object, settings: object) -> None:
    raise AssertionError("this half is not used")


LINES = WireProtocol("lines", NoSettings, (), lambda start: Sniff.NO, serve, connect)


class Kept:
    """A pool of lines to an upstream."""

    def __init__(self, pool: Pool, left: list[Endpoint]) -> None:
        self.pool = pool
        self.left = left

    async def line(self) -> Line:
        connection = self.pool.take() or await self.pool.connect()
        assert isinstance(connection, Line)
        await connection.send(make_request())
        return connection


@asynccontextmanager
async def pooling(port: int | None = None, **changes: Any) -> AsyncIterator[Kept]:
    left: list[Endpoint] = []
    how = {"connect_timeout_seconds": 5.0, "max_idle": 2, "idle_timeout_seconds": 10.0, **changes}
    async with scripted(lambda scene: scene.gone()) as upstream, anyio.create_task_group() as tasks:
        endpoint = Endpoint(EndpointSpec(f"127.0.0.1:{port or upstream.port}"))
        limit = how.pop("connect_timeout_seconds")
        dialler = Dialler(endpoint, LINES, NoSettings(), tasks=tasks, context=None, connect_timeout_seconds=limit)
        pool = Pool(dialler, leave=left.append, **how)
        endpoint.pool = pool
        yield Kept(pool, left)
        pool.close_idle()
        tasks.cancel_scope.cancel()


async def test_a_connection_that_comes_back_is_taken_again_last_in_first_out() -> None:
    async with pooling() as kept:
        first, second = await kept.line(), await kept.line()
        first.over()
        second.over()
        assert await kept.line() is second
        assert await kept.line() is first
        assert kept.pool.take() is None
        assert kept.left == [kept.pool.endpoint] * 2
        first.close()
        second.close()


async def test_a_connection_that_closed_meanwhile_is_not_taken() -> None:
    async with pooling() as kept:
        first, second = await kept.line(), await kept.line()
        first.over()
        second.over()
        second.close()
        assert await kept.line() is first
        first.close()


async def test_a_connection_that_is_of_no_more_use_is_counted_off_and_not_kept() -> None:
    async with pooling() as kept:
        line = await kept.line()
        line.over(reusable=False)
        assert kept.left == [kept.pool.endpoint]
        assert kept.pool.take() is None
        line.close()


async def test_no_more_than_the_allowed_number_is_kept() -> None:
    async with pooling(max_idle=2) as kept:
        lines = [await kept.line() for _ in range(4)]
        for line in lines:
            line.over()
        assert [line.closed for line in lines] == [False, False, True, True]


async def test_connections_to_a_retired_endpoint_are_closed_when_they_come_back() -> None:
    async with pooling() as kept:
        idle, busy = await kept.line(), await kept.line()
        idle.over()
        kept.pool.endpoint.retired = True
        kept.pool.close_idle()
        assert (idle.closed, busy.closed) == (True, False)
        busy.over()
        assert busy.closed
        assert kept.pool.take() is None


async def test_what_was_idle_for_too_long_is_swept() -> None:
    async with pooling(idle_timeout_seconds=10.0) as kept:
        old, new = await kept.line(), await kept.line()
        old.over()
        between = monotonic()
        new.over()
        kept.pool.sweep(between)
        assert not old.closed
        kept.pool.sweep(between + 10.0)
        assert (old.closed, new.closed) == (True, False)
        assert kept.pool.take() is new
        new.over()
        kept.pool.sweep(math.inf)
        assert new.closed
        assert kept.pool.take() is None


async def test_what_the_peer_closed_is_swept_early() -> None:
    async with pooling() as kept:
        gone, alive = await kept.line(), await kept.line()
        gone.over()
        alive.over()
        gone.capacity = 0
        kept.pool.sweep(0.0)
        assert (gone.closed, alive.closed) == (True, False)


async def test_a_refused_connection_may_be_tried_elsewhere() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        async with pooling(port=held.getsockname()[1]) as kept:
            with pytest.raises(ExchangeError, match="cannot connect to the upstream") as raised:
                await kept.pool.connect()
    assert (raised.value.reason, raised.value.retry) == (Reason.CONNECT_FAILED, Retry.UNSENT)
    assert kept.left == []


async def test_a_connection_that_takes_too_long_may_be_tried_elsewhere() -> None:
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for other in (first, second):
            other.setblocking(False)
            other.connect_ex(full.getsockname())
        async with pooling(port=full.getsockname()[1], connect_timeout_seconds=0.05) as kept:
            with pytest.raises(ExchangeError, match=r"within 0\.05 s") as raised:
                await kept.pool.connect()
    assert (raised.value.reason, raised.value.retry) == (Reason.CONNECT_TIMEOUT, Retry.UNSENT)
