"""Plugins that swallow their cancellation: the client is let go in time, others are served, and the log names them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import process_time
from types import ModuleType
from typing import Any

import anyio
import pytest

import daemun_http1.downstream
import daemun_http1.watch
import daemun_http2.served
from daemun import BackendType, Buffered, FilterContext, FilterType, Handler, Layer, NoSettings, Request, Response
from daemun.testing import Http2Wire, RunningGateway, Wire, built, eventually, in_memory, make_plugin, running

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not end is given up soon."""
    monkeypatch.setattr(daemun_http1.watch, "STUCK_SECONDS", 0.3)
    monkeypatch.setattr(daemun_http1.downstream, "STUCK_SECONDS", 0.3)
    monkeypatch.setattr(daemun_http2.served, "STUCK_SECONDS", 0.3)


GET = b"GET %b HTTP/1.1\r\nHost: a.test\r\n\r\n"


class Sticky:
    """A back end that does not let itself be cancelled until it is told to."""

    def __init__(self, *, shielded: bool = False) -> None:
        self.shielded = shielded
        self.let_go = anyio.Event()
        self.swallowed = 0
        self.running = 0

    async def handle(self, request: Request) -> Response:
        if request.path != b"/sticky":
            return Response(200, (), Buffered(b"fine"))
        self.running += 1
        if self.shielded:
            with anyio.CancelScope(shield=True):
                await self.let_go.wait()
        while not self.let_go.is_set():
            try:
                await self.let_go.wait()
            except BaseException:
                self.swallowed += 1
        self.running -= 1
        return Response(200, (), Buffered(b"too late"))


@asynccontextmanager
async def serving(sticky: Sticky, timeout_seconds: float = 0.05) -> AsyncIterator[RunningGateway]:
    """A gateway before `sticky`, which is let go at the end: nothing else could end it."""
    only = ["http1", "http2", "file"]
    async with running(settings(timeout_seconds), only=only, extra=[plugin(sticky)]) as gateway:
        try:
            yield gateway
        finally:
            sticky.let_go.set()


def settings(timeout_seconds: float = 0.05) -> dict[str, Any]:
    route = {"name": "all", "to": "up", "timeout_seconds": timeout_seconds}
    source = {"type": "inline", "backends": {"up": {"type": "sticky"}}, "routes": [route]}
    return {"sources": [source], "drain": {"grace_seconds": 5}}


def plugin(sticky: Sticky) -> ModuleType:
    kind = BackendType("sticky", NoSettings, built(sticky.handle))
    return make_plugin("clingy", daemun_backends=lambda: [kind])


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one for one in caplog.messages if "does not heed" in one]


@pytest.mark.parametrize("shielded", [False, True])
async def test_a_deadline_is_told_to_the_client_although_the_plugin_does_not_end(
    *, shielded: bool, caplog: pytest.LogCaptureFixture
) -> None:
    sticky = Sticky(shielded=shielded)
    async with serving(sticky) as gateway:
        wire = Wire(await gateway.connect())
        await wire.send(GET % b"/sticky")
        answer = await wire.answer()
        assert (answer.status, answer.field(b"x-daemun-reason")) == (504, b"route_timeout")
        assert sticky.running == 1
        (words,) = complaints(caplog)
        assert words.startswith(f"route all: plugin clingy (back end type sticky) at {__file__}:")
        other = Wire(await gateway.connect())
        await other.send(GET % b"/fine")
        assert (await other.answer()).body == b"fine"
        assert await wire.rest() == b""
        spent = process_time()
        heard = sticky.swallowed
        await anyio.sleep(0.5)
        assert sticky.swallowed <= heard + 2, "it is cancelled again and again"
        assert process_time() - spent < 0.4
        sticky.let_go.set()
        await other.aclose()
        await wire.aclose()
        await eventually(lambda: len(gateway.gateway.connections) == 0 and not sticky.running, "the end of both")


async def test_a_stream_of_http2_is_let_go_and_its_neighbours_are_served(caplog: pytest.LogCaptureFixture) -> None:
    sticky = Sticky()
    async with serving(sticky) as gateway:
        wire = Http2Wire(await gateway.connect())
        await wire.start()
        stream = await wire.ask(target=b"/sticky")
        answer = await wire.answer(stream)
        assert (answer.status, answer.field(b"x-daemun-reason")) == (504, b"route_timeout")
        assert len(complaints(caplog)) == 1
        assert (await wire.exchange(target=b"/fine")).body == b"fine"
        heard = sticky.swallowed
        assert (await wire.exchange(target=b"/fine")).body == b"fine"
        assert sticky.swallowed <= heard + 2
        assert sticky.running == 1
        sticky.let_go.set()
        await eventually(lambda: not sticky.running, "its end")
        assert (await wire.exchange(target=b"/fine")).body == b"fine"
        await wire.aclose()
        await eventually(lambda: len(gateway.gateway.connections) == 0, "the end of the connection")


@pytest.mark.parametrize("protocol", ["http1", "http2"])
async def test_a_client_that_leaves_is_forgotten_although_the_plugin_does_not_end(
    protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    sticky = Sticky()
    async with serving(sticky, 60) as gateway:
        if protocol == "http1":
            wire = Wire(await gateway.connect())
            await wire.send(GET % b"/sticky")
            await eventually(lambda: sticky.running == 1, "the request")
            await wire.reset()
        else:
            wire2 = Http2Wire(await gateway.connect())
            await wire2.start()
            await wire2.cancel(await wire2.ask(target=b"/sticky"))
        await eventually(lambda: len(complaints(caplog)) == 1, "the log")
        heard = sticky.swallowed
        await anyio.sleep(0.1)
        assert sticky.swallowed <= heard + 2
        sticky.let_go.set()
        if protocol == "http2":
            assert (await wire2.exchange(target=b"/fine")).body == b"fine"
            await wire2.aclose()
        await eventually(lambda: len(gateway.gateway.connections) == 0, "the end of the connection")


async def test_a_filter_that_does_not_close_holds_up_no_reload_and_no_stop(caplog: pytest.LogCaptureFixture) -> None:
    closing = anyio.Event()

    @asynccontextmanager
    async def build(settings: NoSettings, context: FilterContext) -> AsyncIterator[Layer]:
        def layer(handler: Handler) -> Handler:
            return handler

        yield layer
        closing.set()
        await anyio.sleep_forever()

    extra = [make_plugin("clingy", daemun_filters=lambda: [FilterType("sticky", NoSettings, build)])]
    route = {"name": "all", "respond": {"body": "fine"}, "filters": [{"type": "sticky"}]}
    raw = {
        "sources": [{"type": "inline", "routes": [route]}],
        "drain": {"grace_seconds": 5, "close_seconds": 0.1},
    }
    async with running(raw, only=["http1", "file"], extra=extra) as gateway:
        assert (await gateway.exchange(GET[:-2] % b"/" + b"Connection: close\r\n\r\n")).endswith(b"fine")
    assert closing.is_set()
    (words,) = [one for one in caplog.messages if "did not close" in one]
    assert words.startswith("filter sticky did not close within 0.1 s and is cut off: plugin clingy at ")
    assert __file__ in words


def cancels_its_tasks(handler: Handler) -> Handler:
    async def handle(request: Request) -> Response:
        if request.exchange.tasks is not None:
            request.exchange.tasks.cancel_scope.cancel()
            await anyio.sleep_forever()
        return await handler(request)

    return handle


@pytest.mark.parametrize("protocol", ["http1", "http2"])
async def test_who_cancels_the_tasks_of_an_exchange_leaves_no_client_without_an_answer(
    protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    filters = [FilterType("hasty", NoSettings, built(cancels_its_tasks))]
    route = {"name": "all", "respond": {"body": "fine"}, "filters": [{"type": "hasty"}]}
    opened = in_memory(
        {"sources": [{"type": "inline", "routes": [route]}]},
        plugins=[make_plugin("clingy", daemun_filters=lambda: filters)],
        only=["http1", "http2", "file"],
    )
    async with opened as gateway:
        if protocol == "http1":
            wire = await gateway.connect()
            await wire.send(b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
            assert (await wire.answer("POST")).status == 500
        else:
            wire2 = await gateway.connect2()
            assert (await wire2.answer(await wire2.ask(b"POST", ended=False))).status == 500
        assert (await gateway.ask()).status == 200
    assert any("a plugin cancelled the tasks of the exchange" in one for one in caplog.messages)
