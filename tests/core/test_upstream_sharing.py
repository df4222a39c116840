"""Connections that take several exchanges at once: filled, shared, opened once for many, kept and let go."""

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
from daemun.testing import ScriptedUpstream, eventually, make_request, scripted
from daemun.upstream.dialling import Dialler
from daemun.upstream.sharing import SharedPool

pytestmark = pytest.mark.anyio

ROOM = 3


class Trunk:
    """A connection that takes three exchanges at once."""

    def __init__(self, stream: Stream) -> None:
        self.room = ROOM
        self.running = 0
        self.closed = False
        self.released: Callable[[UpstreamConnection], None]
        self._stream = stream

    @property
    def capacity(self) -> int:
        return 0 if self.closed else max(0, self.room - self.running)

    async def send(self, request: Request) -> Response:
        assert self.capacity
        self.running += 1
        return Response(200)

    def over(self) -> None:
        self.running -= 1
        self.released(self)

    def close(self) -> None:
        self.closed = True
        self._stream.abort()


async def serve(stream: Stream, connection: object, settings: object) -> None:
    raise AssertionError("this half is not used")


class Shared:
    """A shared pool of trunks to an upstream."""

    def __init__(self, pool: SharedPool, left: list[Endpoint], upstream: ScriptedUpstream) -> None:
        self.pool = pool
        self.left = left
        self.upstream = upstream
        self.may_open = anyio.Event()
        """What the opening of a connection waits for."""
        self.may_open.set()

    async def trunk(self) -> Trunk:
        """A connection with one more exchange on it."""
        connection = self.pool.take() or await self.pool.connect()
        assert isinstance(connection, Trunk)
        await connection.send(make_request())
        return connection


@asynccontextmanager
async def sharing(port: int | None = None, **changes: Any) -> AsyncIterator[Shared]:
    left: list[Endpoint] = []
    opened: list[Trunk] = []
    how = {"connect_timeout_seconds": 5.0, "max_idle": 2, "idle_timeout_seconds": 10.0, **changes}
    async with scripted(lambda scene: scene.gone()) as upstream, anyio.create_task_group() as tasks:
        endpoint = Endpoint(EndpointSpec(f"127.0.0.1:{port or upstream.port}"))

        async def connect(stream: Stream, endpoint: Endpoint, settings: object) -> Trunk:
            await shared.may_open.wait()
            opened.append(Trunk(stream))
            return opened[-1]

        trunks = WireProtocol("trunks", NoSettings, (), lambda start: Sniff.NO, serve, connect, multiplexed=True)
        limit = how.pop("connect_timeout_seconds")
        dialler = Dialler(endpoint, trunks, NoSettings(), tasks=tasks, context=None, connect_timeout_seconds=limit)
        pool = SharedPool(dialler, leave=left.append, **how)
        endpoint.pool = pool
        shared = Shared(pool, left, upstream)
        yield shared
        for trunk in opened:
            trunk.close()
        await anyio.wait_all_tasks_blocked()  # aborted transports close their sockets
        tasks.cancel_scope.cancel()


async def test_a_connection_is_filled_before_another_is_opened() -> None:
    async with sharing() as shared:
        trunks = [await shared.trunk() for _ in range(2 * ROOM + 1)]
        assert trunks[0] is trunks[1] is trunks[2]
        assert trunks[3] is trunks[4] is trunks[5]
        assert len(set(trunks)) == 3
        assert shared.pool.take() is not None
        trunks[0].over()
        assert await shared.trunk() is trunks[0]  # the first that has room, again
        assert shared.left == [shared.pool.endpoint]


async def test_many_that_find_no_connection_wait_for_one_dial() -> None:
    found: list[Trunk] = []
    async with sharing() as shared:
        shared.may_open = anyio.Event()

        async def take() -> None:
            found.append(await shared.trunk())

        async with anyio.create_task_group() as tasks:
            for _ in range(ROOM):
                tasks.start_soon(take)
            await eventually(lambda: shared.upstream.connections == 1, "a dial")
            await anyio.wait_all_tasks_blocked()
            shared.may_open.set()
        assert len(found) == ROOM
        assert (len(set(found)), shared.upstream.connections) == (1, 1)


async def test_those_for_whom_the_dialled_connection_has_no_room_dial_again() -> None:
    found: list[Trunk] = []
    async with sharing() as shared:
        shared.may_open = anyio.Event()

        async def take() -> None:
            found.append(await shared.trunk())

        async with anyio.create_task_group() as tasks:
            for _ in range(2 * ROOM + 1):
                tasks.start_soon(take)
            await eventually(lambda: shared.upstream.connections == 1, "a dial")
            await anyio.wait_all_tasks_blocked()
            shared.may_open.set()
        assert len(found) == 2 * ROOM + 1
        assert sorted(found.count(trunk) for trunk in set(found)) == [1, ROOM, ROOM]
        await eventually(lambda: shared.upstream.connections == 3, "three dials")


async def test_a_dial_is_for_all_who_wait_whoever_asked_for_it() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        async with sharing(port=held.getsockname()[1]) as shared:
            errors: list[ExchangeError] = []

            async def take() -> None:
                try:
                    await shared.trunk()
                except ExchangeError as error:
                    errors.append(error)

            async with anyio.create_task_group() as tasks:
                for _ in range(4):
                    tasks.start_soon(take)
            assert [(error.reason, error.retry) for error in errors] == [(Reason.CONNECT_FAILED, Retry.UNSENT)] * 4
            assert shared.left == []
    async with sharing() as shared:
        shared.may_open = anyio.Event()
        scope = anyio.CancelScope()
        found: list[Trunk] = []

        async def dial() -> None:
            with scope:
                await shared.trunk()

        async def wait() -> None:
            found.append(await shared.trunk())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(dial)
            await eventually(lambda: shared.upstream.connections == 1, "a dial")
            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
            await anyio.wait_all_tasks_blocked()
            shared.may_open.set()
        assert [trunk.running for trunk in found] == [1]
        assert shared.upstream.connections == 1


async def test_a_connection_without_exchanges_is_kept_and_taken_again() -> None:
    async with sharing() as shared:
        trunk = await shared.trunk()
        assert shared.pool.idle_connections == 0
        trunk.over()
        assert shared.pool.idle_connections == 1
        assert await shared.trunk() is trunk
        assert shared.pool.idle_connections == 0
        assert not trunk.closed


async def test_no_more_than_the_allowed_number_is_kept_idle() -> None:
    async with sharing(max_idle=2) as shared:
        trunks = [await shared.trunk() for _ in range(4 * ROOM)]
        for trunk in trunks:
            trunk.over()
        assert [trunk.closed for trunk in trunks[::ROOM]] == [False, False, True, True]
        assert shared.pool.idle_connections == 2
        assert len(shared.left) == 4 * ROOM


async def test_a_connection_that_takes_nothing_more_ends_with_its_last_exchange() -> None:
    async with sharing() as shared:
        first, second = await shared.trunk(), await shared.trunk()
        assert first is second
        first.room = 0
        other = await shared.trunk()
        assert other is not first
        first.over()
        assert not first.closed
        first.over()
        assert (first.closed, shared.pool.idle_connections) == (True, 0)
        assert await shared.trunk() is other


async def test_what_was_idle_for_too_long_is_swept_and_what_is_in_use_stays() -> None:
    async with sharing(idle_timeout_seconds=10.0, max_idle=5) as shared:
        trunks = [await shared.trunk() for _ in range(2 * ROOM + 1)]
        old, busy, new = trunks[0], trunks[ROOM], trunks[2 * ROOM]
        for _ in range(ROOM):
            old.over()
        between = monotonic()
        new.over()
        shared.pool.sweep(between)
        assert not old.closed
        shared.pool.sweep(between + 10.0)
        assert (old.closed, busy.closed, new.closed) == (True, False, False)
        shared.pool.sweep(math.inf)
        assert (busy.closed, new.closed) == (False, True)
        busy.over()
        assert await shared.trunk() is busy


async def test_an_idle_connection_that_the_peer_closed_is_swept_and_never_taken() -> None:
    async with sharing() as shared:
        trunk = await shared.trunk()
        trunk.over()
        trunk.room = 0
        assert shared.pool.take() is None
        shared.pool.sweep(0.0)
        assert (trunk.closed, shared.pool.idle_connections) == (True, 0)


async def test_connections_to_a_retired_endpoint_end_with_their_last_exchange() -> None:
    async with sharing() as shared:
        trunks = [await shared.trunk() for _ in range(ROOM + 1)]
        busy, idle = trunks[0], trunks[ROOM]
        idle.over()
        shared.pool.endpoint.retired = True
        shared.pool.close_idle()
        assert (idle.closed, busy.closed) == (True, False)
        for _ in range(ROOM):
            busy.over()
        assert busy.closed
        assert shared.pool.take() is None
