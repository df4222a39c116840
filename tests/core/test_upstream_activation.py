"""The waiting room: one start for all who wait, bounded, and freed whatever happens to them."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from daemun import (
    EndpointSpec,
    ExchangeError,
    Reason,
)
from daemun.testing import (
    Answer,
    CutOff,
    RunningGateway,
    Scene,
    ScriptedUpstream,
    Starter,
    Wire,
    eventually,
    running,
    scripted,
)

pytestmark = pytest.mark.anyio

GET = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Cold:
    """A gateway whose only back end has no endpoint until it is started."""

    def __init__(self, gateway: RunningGateway, upstream: ScriptedUpstream, starter: Starter) -> None:
        self.gateway = gateway
        self.upstream = upstream
        self.starter = starter

    @property
    def waiting(self) -> int:
        return self.starter.endpoints.waiting

    async def connect(self, request: bytes = GET) -> Wire:
        wire = Wire(await self.gateway.connect())
        await wire.send(request)
        return wire

    async def waiter(self, request: bytes = GET) -> Wire:
        """A client whose request waits."""
        before = self.waiting
        wire = await self.connect(request)
        await eventually(lambda: self.waiting == before + 1, "a waiting request")
        return wire

    async def ask(self, request: bytes = GET) -> Answer:
        wire = await self.connect(request)
        answer = await wire.answer()
        await wire.aclose()
        return answer

    async def nothing_left(self) -> None:
        endpoints = self.starter.endpoints
        await eventually(lambda: (endpoints.waiting, endpoints.in_flight) == (0, 0), "an empty back end")


async def answer_ok(scene: Scene) -> None:
    while await scene.request():
        await scene.send(OK)


@asynccontextmanager
async def cold(
    script: Any = answer_ok,
    *,
    capacity: int = 0,
    room: dict[str, Any] | None = None,
    grace_seconds: float = 5,
    timeout_seconds: float = 0,
    **settings: Any,
) -> AsyncIterator[Cold]:
    starter = Starter()
    source = {
        "type": "inline",
        "backends": {"up": {"activator": "starter", "settings": {"waiting_room": room or {}, **settings}}},
        "routes": [{"name": "all", "to": "up", "timeout_seconds": timeout_seconds}],
    }
    raw = {"sources": [source], "drain": {"grace_seconds": grace_seconds}}
    async with scripted(script) as upstream, running(raw, only=["http1", "file"], extra=[starter.plugin]) as gateway:
        starter.specs = (EndpointSpec(f"127.0.0.1:{upstream.port}", capacity=capacity),)
        yield Cold(gateway, upstream, starter)


async def test_a_hundred_requests_start_it_once_and_all_are_answered() -> None:
    answers: list[Answer] = []
    async with cold() as service:

        async def ask() -> None:
            answers.append(await service.ask())

        async with anyio.create_task_group() as tasks:
            for _ in range(100):
                tasks.start_soon(ask)
            await eventually(lambda: service.waiting == 100, "a hundred who wait")
            assert not answers
            service.starter.cue.set()
        assert [answer.status for answer in answers] == [200] * 100
        assert {answer.field(b"x-daemun-cold-start") for answer in answers} == {b"true"}
        assert (service.starter.calls, len(service.upstream.requests)) == (1, 100)
        await service.nothing_left()
        assert (await service.ask()).field(b"x-daemun-cold-start") is None
        assert service.starter.calls == 1


async def test_waiters_that_take_over_a_connection_are_marked_too() -> None:
    async with cold(capacity=1) as service:
        wires = [await service.waiter() for _ in range(3)]
        service.starter.cue.set()
        for wire in wires:
            assert (await wire.answer()).field(b"x-daemun-cold-start") == b"true"
            await wire.aclose()
        assert service.upstream.connections == 1


async def test_the_mark_of_a_cold_start_can_be_left_out() -> None:
    async with cold(cold_start_header=False) as service:
        service.starter.cue.set()
        answer = await service.ask()
        assert (answer.status, answer.field(b"x-daemun-cold-start")) == (200, None)


async def test_a_full_room_sends_away_at_once() -> None:
    async with cold(room={"max_requests": 2, "retry_after_seconds": 7}) as service:
        wires = [await service.waiter(), await service.waiter()]
        answer = await service.ask()
        assert (answer.status, answer.field(b"retry-after")) == (503, b"7")
        assert answer.field(b"x-daemun-reason") == b"waiting_room_full"
        service.starter.cue.set()
        for wire in wires:
            assert (await wire.answer()).status == 200
            await wire.aclose()


async def test_a_room_without_places_sends_everyone_away() -> None:
    async with cold(room={"max_requests": 0}) as service:
        assert (await service.ask()).status == 503
        assert service.starter.calls == 0


async def test_the_room_is_bounded_in_bytes_too() -> None:
    big = b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 600\r\n\r\n" + b"x" * 600
    async with cold(room={"max_bytes": 1200}) as service:
        leaving = await service.waiter(big)
        await leaving.reset()
        await service.nothing_left()
        wires = [await service.waiter(big), await service.waiter(GET)]
        assert (await service.ask(big)).status == 503
        service.starter.cue.set()
        for wire in wires:
            assert (await wire.answer()).status == 200
            await wire.aclose()
        assert (await service.ask(big)).status == 200


async def test_a_start_that_fails_gives_one_answer_with_the_reason_and_frees_everything() -> None:
    async with cold() as service:
        starter = service.starter
        starter.error = ExchangeError(Reason.ACTIVATION_FAILED, "the last probe said: connection refused")
        wires = [await service.waiter() for _ in range(3)]
        starter.cue.set()
        for wire in wires:
            answer = await wire.answer()
            assert (answer.status, answer.field(b"x-daemun-reason")) == (504, b"activation_failed")
            assert re.search(rb"queued for \d+\.\d s", answer.body)
            assert b"the last probe said: connection refused" in answer.body
            await wire.aclose()
        assert starter.calls == 1
        await service.nothing_left()

        starter.error = None
        answer = await service.ask()
        assert (answer.status, answer.field(b"x-daemun-cold-start")) == (200, b"true")
        assert starter.calls == 2


async def test_an_activator_that_breaks_is_a_504_and_a_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with cold() as service:
        service.starter.error = RuntimeError("secret inside")
        service.starter.cue.set()
        answer = await service.ask()
        assert (answer.status, answer.field(b"x-daemun-reason")) == (504, b"activation_failed")
        assert b"secret" not in answer.body
        await service.nothing_left()
    assert any("its activator failed: " in record.message for record in caplog.records if record.exc_info)


async def test_a_start_that_gives_no_endpoint_is_a_failed_one() -> None:
    async with cold() as service:
        service.starter.specs = ()
        service.starter.cue.set()
        answer = await service.ask()
        assert answer.status == 504
        assert b"gave no endpoint" in answer.body
        await service.nothing_left()


async def test_who_waits_for_too_long_is_told_how_long() -> None:
    async with cold(room={"max_wait_seconds": 0.05}) as service:
        answer = await service.ask()
        assert (answer.status, answer.field(b"x-daemun-reason")) == (504, b"activation_failed")
        assert b"queued for 0.05 s" in answer.body
        await service.nothing_left()
        service.starter.cue.set()
        await eventually(lambda: len(service.starter.endpoints.ready) == 1, "the late start")
        assert (await service.ask()).status == 200
        assert service.starter.calls == 1


async def test_the_timeout_of_a_route_holds_in_the_room() -> None:
    async with cold(timeout_seconds=0.05) as service:
        answer = await service.ask()
        assert (answer.status, answer.field(b"x-daemun-reason")) == (504, b"route_timeout")
        await service.nothing_left()


@pytest.mark.parametrize("how", ["reset", "finish"])
async def test_a_client_that_leaves_frees_its_place_and_does_not_stop_the_start(how: str) -> None:
    async with cold(room={"max_requests": 2}) as service:
        leaving, staying = await service.waiter(), await service.waiter()
        await getattr(leaving, how)()
        await eventually(lambda: service.waiting == 1, "the place")
        third = await service.waiter()
        service.starter.cue.set()
        for wire in (staying, third):
            assert (await wire.answer()).status == 200
            await wire.aclose()
        await leaving.aclose()
        assert (service.starter.calls, len(service.upstream.requests)) == (1, 2)
        await service.nothing_left()


async def test_when_all_have_left_the_start_still_serves_the_next() -> None:
    async with cold() as service:
        wire = await service.waiter()
        await wire.reset()
        await service.nothing_left()
        service.starter.cue.set()
        await eventually(lambda: len(service.starter.endpoints.ready) == 1, "the start")
        answer = await service.ask()
        assert (answer.status, answer.field(b"x-daemun-cold-start")) == (200, None)
        assert service.starter.calls == 1


class Counting:
    """An upstream that knows how many requests it has at once, and answers on its cue."""

    def __init__(self) -> None:
        self.now = 0
        self.most = 0
        self.order: list[bytes] = []
        self.cue = anyio.Event()

    async def __call__(self, scene: Scene) -> None:
        while message := await scene.request():
            self.order.append(message.split(b" ")[1])
            self.now += 1
            self.most = max(self.most, self.now)
            await self.cue.wait()
            self.now -= 1
            await scene.send(OK)


async def test_capacity_one_takes_one_at_a_time_in_the_order_of_arrival() -> None:
    upstream = Counting()
    async with cold(upstream, capacity=1) as service:
        service.starter.cue.set()
        wires = [await service.connect(GET.replace(b"/ ", b"/0 "))]
        await eventually(lambda: upstream.now == 1)
        wires += [await service.waiter(GET.replace(b"/ ", b"/%d " % number)) for number in range(1, 6)]
        upstream.cue.set()
        answers = []
        for wire in wires:
            answers.append(await wire.answer())
            await wire.aclose()
        assert [answer.status for answer in answers] == [200] * 6
        assert [answer.field(b"x-daemun-cold-start") for answer in answers] == [b"true"] + [None] * 5
        assert upstream.most == 1
        assert upstream.order == [b"/%d" % number for number in range(6)]
        await service.nothing_left()


async def test_more_endpoints_let_in_more_who_wait() -> None:
    upstream = Counting()
    async with cold(upstream, capacity=1) as service, scripted(upstream) as other:
        service.starter.cue.set()
        first = await service.connect()
        await eventually(lambda: upstream.now == 1)
        second = await service.waiter()
        service.starter.endpoints.update([*service.starter.specs, EndpointSpec(f"127.0.0.1:{other.port}", capacity=1)])
        await eventually(lambda: upstream.now == 2)
        upstream.cue.set()
        for wire in (first, second):
            assert (await wire.answer()).status == 200
            await wire.aclose()


async def test_when_every_endpoint_goes_away_those_who_wait_start_it_again() -> None:
    upstream = Counting()
    async with cold(upstream, capacity=1) as service:
        service.starter.cue.set()
        running_one = await service.connect()
        await eventually(lambda: upstream.now == 1)
        waiting_one = await service.waiter()
        service.starter.endpoints.update([])
        await eventually(lambda: upstream.now == 2)
        assert service.starter.calls == 2
        upstream.cue.set()
        for wire in (running_one, waiting_one):
            assert (await wire.answer()).status == 200
            await wire.aclose()
        await service.nothing_left()


async def test_a_gateway_that_stops_does_not_wait_for_those_who_wait_longer_than_its_grace() -> None:
    with anyio.fail_after(5):
        async with cold(grace_seconds=0.05) as service:
            wire = await service.waiter()
    with pytest.raises(CutOff):
        await wire.answer()
    await wire.aclose()


async def test_a_start_is_told_in_the_log_with_its_milliseconds(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "daemun.activation")
    async with cold() as service:
        service.starter.cue.set()
        await service.ask()
    started = [record for record in caplog.records if record.name == "daemun.activation"]
    assert len(started) == 1
    assert "started in" in started[0].message
    assert started[0].message.endswith(" ms")
