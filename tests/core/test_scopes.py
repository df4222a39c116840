"""What plugins open once: for the process, a route, a connection, an exchange."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import anyio
import pytest
from msgspec import Struct

from daemun import (
    EMPTY,
    FilterContext,
    FilterSpec,
    FilterType,
    Handler,
    Layer,
    NoSettings,
    PathKind,
    PathMatch,
    Request,
    Respond,
    Response,
    RouteSpec,
    StashKey,
    scopes,
)
from daemun.testing import HandSource, RunningGateway, eventually, make_plugin, make_request, running
from daemun.testing.wire import Wire

pytestmark = pytest.mark.anyio

NUMBER: StashKey[int] = StashKey("number")
GET = b"GET /%b HTTP/1.1\r\nHost: a.test\r\n\r\n"


class Door:
    """Counts what went in and what came out."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.entered = 0
        self.fail = False

    @asynccontextmanager
    async def open(self) -> AsyncIterator[int]:
        self.entered += 1
        number = self.entered
        self.log.append(f"in {number}")
        if self.fail:
            raise OSError("shut")
        async with anyio.create_task_group():
            try:
                yield number
            finally:
                self.log.append(f"out {number}")


def numbering(door: Door, owner: str) -> FilterType:
    """A filter whose answers say which number the scope of `owner` holds."""

    @asynccontextmanager
    async def build(settings: NoSettings, context: FilterContext) -> AsyncIterator[Layer]:
        def layer(handler: Handler) -> Handler:
            async def handle(request: Request) -> Response:
                scopes = {
                    "process": context.process,
                    "connection": request.exchange.peer.scope,
                    "exchange": request.exchange.scope,
                }
                numbers = [await scopes[owner].open(NUMBER, door.open) for _ in range(2)]
                response = await handler(request)
                return response.with_header(b"x-numbers", b"%d %d" % tuple(numbers))

            return handle

        yield layer

    return FilterType("numbering", NoSettings, build)


async def numbers(wire: Wire, path: bytes = b"") -> bytes | None:
    await wire.send(GET % path)
    return (await wire.answer()).field(b"x-numbers")


def gateway_with(one: FilterType) -> AbstractAsyncContextManager[RunningGateway]:
    route = {"name": "all", "respond": {"body": "x"}, "filters": [{"type": one.name}]}
    plugin = make_plugin("scoped", daemun_filters=lambda: [one])
    return running({"sources": [{"type": "inline", "routes": [route]}]}, extra=[plugin])


async def test_the_scope_of_an_exchange_ends_with_it() -> None:
    door = Door()
    async with gateway_with(numbering(door, "exchange")) as gateway:
        wire = Wire(await gateway.connect())
        assert await numbers(wire) == b"1 1"
        await eventually(lambda: door.log == ["in 1", "out 1"], "the exit")
        assert await numbers(wire) == b"2 2"
        await wire.aclose()
    assert door.log == ["in 1", "out 1", "in 2", "out 2"]


async def test_the_scope_of_a_connection_ends_with_it() -> None:
    door = Door()
    async with gateway_with(numbering(door, "connection")) as gateway:
        first, second = Wire(await gateway.connect()), Wire(await gateway.connect())
        assert [await numbers(first), await numbers(second), await numbers(first)] == [b"1 1", b"2 2", b"1 1"]
        assert door.log == ["in 1", "in 2"]
        await first.aclose()
        await eventually(lambda: "out 1" in door.log, "the exit")
        assert await numbers(second) == b"2 2"
        await second.aclose()
    assert sorted(door.log) == ["in 1", "in 2", "out 1", "out 2"]


async def test_the_scope_of_the_process_outlives_reloads() -> None:
    door, source = Door(), HandSource()
    plugin = make_plugin("scoped", daemun_filters=lambda: [numbering(door, "process")])
    async with running(source.settings, extra=[source.plugin, plugin]) as gateway:
        for status in (200, 201):
            await source.publish(RouteSpec("all", Respond(status=status), filters=(FilterSpec("numbering"),)))
            wire = Wire(await gateway.connect())
            assert await numbers(wire) == b"1 1"
            await wire.aclose()
        await source.publish()
        assert door.log == ["in 1"]
    assert door.log == ["in 1", "out 1"]


@pytest.mark.parametrize("owner", ["process", "connection", "exchange"])
async def test_what_cannot_be_opened_is_tried_again(owner: str) -> None:
    door = Door()
    door.fail = True
    async with gateway_with(numbering(door, owner)) as gateway:
        wire = Wire(await gateway.connect())
        await wire.send(GET % b"")
        answer = await wire.answer()
        assert (answer.status, answer.field(b"x-daemun-reason")) == (500, b"plugin_fault")
        door.fail = False
        assert await numbers(wire) == b"2 2"
        await wire.aclose()
    assert door.log == ["in 1", "in 2", "out 2"]


async def test_who_opens_the_same_at_once_gets_the_same() -> None:
    door, together = Door(), anyio.Event()

    @asynccontextmanager
    async def slowly() -> AsyncIterator[int]:
        await together.wait()
        async with door.open() as number:
            yield number

    got: list[int] = []

    def layer(handler: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            async def ask() -> None:
                got.append(await request.exchange.scope.open(NUMBER, slowly))

            async with anyio.create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(ask)
                await anyio.wait_all_tasks_blocked()
                together.set()
            return await handler(request)

        return handle

    @asynccontextmanager
    async def build(settings: NoSettings, context: FilterContext) -> AsyncIterator[Layer]:
        yield layer

    async with gateway_with(FilterType("at_once", NoSettings, build)) as gateway:
        wire = Wire(await gateway.connect())
        await wire.send(GET % b"")
        assert (await wire.answer()).status == 200
        await wire.aclose()
    assert got == [1, 1, 1]
    assert door.log == ["in 1", "out 1"]


async def test_without_a_gateway_nothing_is_opened() -> None:
    with pytest.raises(
        RuntimeError, match="StashKey\\('number'\\) cannot be opened: its exchange belongs to no gateway"
    ):
        await make_request().exchange.scope.open(NUMBER, Door().open)


class Labelled(Struct, frozen=True, forbid_unknown_fields=True):
    label: str = ""


async def test_a_filter_may_have_an_instance_for_each_route() -> None:
    """It outlives changes of its route that are not its own."""
    log: list[str] = []

    @asynccontextmanager
    async def build(settings: Labelled, context: FilterContext) -> AsyncIterator[Layer]:
        log.append(f"in {context.route}{settings.label}")
        count = 0

        def layer(handler: Handler) -> Handler:
            async def handle(request: Request) -> Response:
                nonlocal count
                count += 1
                return Response(200, ((b"x-numbers", b"%d" % count),), EMPTY)

            return handle

        yield layer
        log.append(f"out {context.route}{settings.label}")

    per_route = FilterType("counting", Labelled, build, per_route=True)
    plugin, source = make_plugin("counting", daemun_filters=lambda: [per_route]), HandSource()

    def routes(label: str, timeout_seconds: float) -> list[RouteSpec]:
        return [
            RouteSpec(
                name,
                Respond(),
                path=PathMatch(PathKind.EXACT, f"/{name}"),
                filters=(FilterSpec("counting", {"label": label}),),
                timeout_seconds=timeout_seconds,
            )
            for name in ("a", "b")
        ]

    async with running(source.settings, extra=[source.plugin, plugin]) as gateway:
        await source.publish(*routes("", 100))
        wire = Wire(await gateway.connect())
        assert [await numbers(wire, b"a"), await numbers(wire, b"b"), await numbers(wire, b"a")] == [b"1", b"1", b"2"]
        await source.publish(*routes("", 200))
        assert [await numbers(wire, b"a"), await numbers(wire, b"b")] == [b"3", b"2"]
        assert log == ["in a", "in b"]
        await source.publish(*routes("!", 200))
        assert await numbers(wire, b"a") == b"1"
        await wire.aclose()
    assert sorted(log) == ["in a", "in a!", "in b", "in b!", "out a", "out a!", "out b", "out b!"]


async def test_an_exit_that_takes_too_long_is_cut_off(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(scopes, "_EXIT_SECONDS", 0.01)
    log: list[str] = []

    class Hanging(Door):
        @asynccontextmanager
        async def open(self) -> AsyncIterator[int]:
            try:
                yield 1
                await anyio.sleep_forever()
            finally:
                log.append("cut off")

    async with gateway_with(numbering(Hanging(), "exchange")) as gateway:
        wire = Wire(await gateway.connect())
        assert await numbers(wire) == b"1 1"
        await eventually(lambda: log == ["cut off"], "the end of the exit")
        await wire.aclose()
    assert "exchange scope StashKey('number') did not close in time and was cut off" in caplog.messages


async def test_what_ends_by_itself_is_opened_anew(caplog: pytest.LogCaptureFixture) -> None:
    class Fleeting(Door):
        @asynccontextmanager
        async def open(self) -> AsyncIterator[int]:
            self.entered += 1
            async with anyio.create_task_group() as tasks:
                if self.entered == 1:
                    tasks.start_soon(self.leave, tasks.cancel_scope)
                yield self.entered

        async def leave(self, scope: anyio.CancelScope) -> None:
            scope.cancel()

    async with gateway_with(numbering(Fleeting(), "connection")) as gateway:
        wire = Wire(await gateway.connect())
        await numbers(wire)
        await eventually(lambda: any("broke" in one for one in caplog.messages), "the end")
        assert await numbers(wire) == b"2 2"
        await wire.aclose()
