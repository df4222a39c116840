"""A reload under running exchanges: the old ones finish on what they began with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from msgspec import Struct

from daemun import (
    BackendSpec,
    BackendType,
    Buffered,
    FilterSpec,
    FilterType,
    Forward,
    Handler,
    Layer,
    Request,
    Response,
    RouteSpec,
    Split,
)
from daemun.testing import HandSource, Wire, eventually, make_plugin, running

pytestmark = pytest.mark.anyio

GET = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"


class Versioned(Struct, frozen=True, forbid_unknown_fields=True):
    """Settings with a version."""

    version: str


class Stage:
    """A filter and a back end that say which version of them ran, and wait for a cue."""

    def __init__(self) -> None:
        self.source = HandSource()
        self.cue = anyio.Event()
        self.running = 0
        self.open: set[str] = set()
        self.plugin = make_plugin(
            "stage",
            daemun_filters=lambda: [FilterType("stamp", Versioned, self._filter)],
            daemun_backends=lambda: [BackendType("wait", Versioned, self._backend)],
        )

    @asynccontextmanager
    async def _filter(self, settings: Versioned, context: object) -> AsyncIterator[Layer]:
        def layer(handler: Handler) -> Handler:
            async def handle(request: Request) -> Response:
                response = await handler(request)
                assert f"filter {settings.version}" in self.open
                return response.with_header(b"x-filter", settings.version.encode())

            return handle

        self.open.add(f"filter {settings.version}")
        yield layer
        self.open.remove(f"filter {settings.version}")

    @asynccontextmanager
    async def _backend(self, settings: Versioned, context: object) -> AsyncIterator[Handler]:
        async def handle(request: Request) -> Response:
            self.running += 1
            if request.path == b"/":
                await self.cue.wait()
            return Response(200, (), Buffered(settings.version.encode()))

        self.open.add(f"back end {settings.version}")
        yield handle
        self.open.remove(f"back end {settings.version}")

    async def publish(self, version: str) -> None:
        await self.source.publish(
            RouteSpec("r", Forward((Split("b"),)), filters=(FilterSpec("stamp", {"version": version}),)),
            backends=[BackendSpec("b", "wait", {"version": version})],
        )


async def test_a_running_exchange_finishes_on_the_old_code_which_is_closed_afterwards() -> None:
    stage = Stage()
    async with running(stage.source.settings, only=["http1"], extra=[stage.source.plugin, stage.plugin]) as gateway:
        await stage.publish("1")
        old, new = Wire(await gateway.connect()), Wire(await gateway.connect())
        await old.send(GET)
        await eventually(lambda: stage.running == 1)
        await stage.publish("2")
        table = gateway.gateway.table
        assert stage.open == {"filter 1", "back end 1", "filter 2", "back end 2"}
        assert len(table.draining) == 1

        await new.send(b"GET /at-once HTTP/1.1\r\nHost: a.test\r\n\r\n")
        answer = await new.answer()
        assert (answer.body, answer.field(b"x-filter")) == (b"2", b"2")

        stage.cue.set()
        answer = await old.answer()
        assert (answer.body, answer.field(b"x-filter")) == (b"1", b"1")
        await eventually(lambda: stage.open == {"filter 2", "back end 2"}, "the old version's end")
        assert not table.draining

        await old.send(GET)
        assert (await old.answer()).body == b"2"
        await old.aclose()
        await new.aclose()
    assert not stage.open


async def test_many_reloads_under_load_fail_no_request() -> None:
    stage = Stage()
    stage.cue.set()
    answers: list[int] = []
    over = False

    async with running(stage.source.settings, only=["http1"], extra=[stage.source.plugin, stage.plugin]) as gateway:
        await stage.publish("0")

        async def ask() -> None:
            wire = Wire(await gateway.connect())
            while not over:
                await wire.send(GET)
                answer = await wire.answer()
                assert answer.body == answer.field(b"x-filter")
                answers.append(answer.status)
            await wire.aclose()

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(ask)
            for version in range(1, 30):
                count = len(answers)
                await stage.publish(str(version))
                await eventually(lambda count=count: len(answers) > count, "answers")  # type: ignore[misc]
            over = True
        assert set(answers) == {200}
        await eventually(lambda: stage.open == {"filter 29", "back end 29"})
        assert not gateway.gateway.table.draining
