"""Endpoints that are asked whether they are well, and have traffic only while they are."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import pytest

from daemun import (
    BackendSpec,
    Endpoint,
    Endpoints,
    EndpointSpec,
    ExchangeError,
    Forward,
    Handler,
    HealthCheck,
    HealthCheckType,
    NoSettings,
    Reason,
    RouteSpec,
    Split,
)
from daemun.extend.loading import load_plugins
from daemun.extend.registry import Registry
from daemun.testing import (
    Scene,
    ScriptedUpstream,
    Starter,
    eventually,
    make_plugin,
    make_request,
    routed,
    running,
    scripted,
)
from daemun.transport.timers import Timers
from daemun.upstream.backend import Backend, open_backend

pytestmark = pytest.mark.anyio

QUICK: dict[str, Any] = {"type": "http", "path": "/healthz", "interval_seconds": 0.01}


class Patient:
    """The script of an upstream: it answers checks as it feels, and everything else with `ok`."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        """Of the answer to a check; 0: it says nothing."""
        self.checks = 0

    async def __call__(self, scene: Scene) -> None:
        while request := await scene.request():
            if b" /healthz HTTP/1.1\r\n" not in request:
                await scene.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                continue
            self.checks += 1
            if not self.status:
                await scene.gone()
                return
            await scene.send(b"HTTP/1.1 %d Felt\r\nContent-Length: 0\r\n\r\n" % self.status)

    async def checked(self, times: int = 2) -> None:
        """Waits until it was asked so often from now on: what was asked before the last time is known."""
        wanted = self.checks + times
        await eventually(lambda: self.checks >= wanted, f"{times} checks")


class Told:
    """A kind of health check, `told`, whose outcomes a test gives; after the last it says nothing more."""

    def __init__(self, *outcomes: bool | Exception) -> None:
        self.outcomes = list(outcomes)
        self.seen: list[Endpoint] = []
        self.over = 0
        self.plugin = make_plugin(
            "told", daemun_health_checks=lambda: [HealthCheckType("told", NoSettings, lambda settings: self.check)]
        )

    async def check(self, send: Handler, endpoint: Endpoint) -> None:
        self.seen.append(endpoint)
        if self.over == len(self.outcomes):
            await anyio.sleep_forever()
        outcome = self.outcomes[self.over]
        self.over += 1
        if isinstance(outcome, Exception):
            raise outcome
        if not outcome:
            raise ExchangeError(Reason.UPSTREAM_PROTOCOL, "it has a cold")

    async def said(self) -> None:
        """Waits until all outcomes were taken."""
        await eventually(lambda: len(self.seen) > len(self.outcomes), "the end of all outcomes")


def at(*places: ScriptedUpstream | int, **changes: Any) -> tuple[EndpointSpec, ...]:
    ports = [place if isinstance(place, int) else place.port for place in places]
    return tuple(EndpointSpec(f"127.0.0.1:{port}", **changes) for port in ports)


@asynccontextmanager
async def opened(
    specs: Sequence[EndpointSpec], health: dict[str, Any], *plugins: ModuleType, activator: str = "", **settings: Any
) -> AsyncIterator[Backend]:
    """A back end whose endpoints are checked."""
    registry = Registry(load_plugins(only=["http1", "http2"], extra=plugins))
    protocols = {protocol.name: protocol.settings() for protocol in registry.protocols}
    spec = BackendSpec("b", settings={"health_check": health, **settings}, endpoints=tuple(specs), activator=activator)
    timers = Timers()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(timers.run)
        async with open_backend(spec, registry, protocols, Path.cwd(), timers) as backend:
            yield backend
        tasks.cancel_scope.cancel()


@contextmanager
def held() -> Iterator[int]:
    """A port that nobody else is given, and where nobody answers until somebody is `answering` there."""
    with socket.socket() as place:
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        place.bind(("127.0.0.1", 0))
        yield place.getsockname()[1]


@contextmanager
def answering(port: int, folder: Path) -> Iterator[None]:
    """A process that answers at `port`, and is killed at the end."""
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.kill()


def view(backend: Backend) -> Endpoints:
    assert backend.endpoints is not None
    return backend.endpoints


async def first_checks(endpoints: Endpoints) -> None:
    """Waits until all have been checked."""
    await eventually(lambda: all(one.last_check is not None for one in endpoints.all), "the first checks")


async def status(backend: Backend) -> int | Reason:
    """What a request comes to."""
    try:
        response = await backend.handler(make_request())
    except ExchangeError as error:
        return error.reason
    await response.body.read()
    await response.body.aclose()
    return response.status


def traffic(upstream: ScriptedUpstream) -> int:
    """How many requests were sent to it that are no checks."""
    return sum(b" /healthz HTTP/1.1\r\n" not in request for request in upstream.requests)


async def test_who_is_not_well_has_no_traffic_and_has_it_again_when_it_is() -> None:
    well, ill = Patient(), Patient(503)
    async with scripted(well) as one, scripted(ill) as two, opened(at(one, two), QUICK) as backend:
        endpoints = view(backend)
        await first_checks(endpoints)
        assert endpoints.only is endpoints.all[0]
        assert [endpoint.last_check for endpoint in endpoints.all] == ["", "it answered 503"]
        for _ in range(6):
            assert await status(backend) == 200
        assert (traffic(one), traffic(two)) == (6, 0)
        ill.status = 200
        await eventually(lambda: len(endpoints.ready) == 2, "recovery")
        for _ in range(6):
            assert await status(backend) == 200
        assert (traffic(one), traffic(two)) == (9, 3)
        well.status = 500
        await eventually(lambda: endpoints.only is endpoints.all[1], "the illness of the other")
        for _ in range(6):
            assert await status(backend) == 200
        assert (traffic(one), traffic(two)) == (9, 9)


@pytest.mark.parametrize(
    ("outcomes", "healthy"),
    [
        ([False], False),
        ([True], True),
        ([True, False, False], True),
        ([True, False, False, False], False),
        ([True, False, False, True, False, False], True),
        ([False, True], False),
        ([False, True, True], True),
        ([False, True, False, True], False),
        ([True, False, False, False, True, True, False, False], True),
        ([True, ValueError("a"), False, ValueError("b")], False),
    ],
)
async def test_the_first_check_decides_and_later_ones_in_a_row(
    outcomes: list[bool | Exception], *, healthy: bool
) -> None:
    told = Told(*outcomes)
    health = {"type": "told", "interval_seconds": 0.01, "healthy_threshold": 2, "unhealthy_threshold": 3}
    async with opened(at(1), health, told.plugin) as backend:
        await told.said()
        assert view(backend).all[0].healthy is healthy


@pytest.mark.parametrize(
    ("initially", "reached"), [("healthy", 200), ("unhealthy", Reason.NO_ENDPOINT)], ids=["healthy", "unhealthy"]
)
async def test_until_the_first_check_is_over_a_new_endpoint_counts_as_the_settings_say(
    initially: str, reached: int | Reason
) -> None:
    slow = Patient(0)
    health = {**QUICK, "initially": initially, "timeout_seconds": 60, "healthy_threshold": 5}
    async with scripted(slow) as upstream, opened(at(upstream), health) as backend:
        await slow.checked(1)
        assert view(backend).all[0].last_check is None
        assert await status(backend) == reached


async def test_one_success_is_enough_at_first() -> None:
    health = {**QUICK, "initially": "unhealthy", "healthy_threshold": 1000}
    async with scripted(Patient()) as upstream, opened(at(upstream), health) as backend:
        await eventually(lambda: view(backend).only is not None, "the first check")
        assert await status(backend) == 200


async def test_who_says_nothing_in_time_is_not_well() -> None:
    async with scripted(Patient(0)) as mute, scripted() as other:
        async with opened(at(mute, other), {**QUICK, "timeout_seconds": 0.25}) as backend:
            endpoints = view(backend)
            await eventually(lambda: endpoints.ready == endpoints.all[1:], "the end of its time")
            assert endpoints.all[0].last_check == "no answer within 0.25 s"
        await eventually(lambda: mute.open == 0, "the end of its connection")


async def test_who_is_killed_and_comes_back(tmp_path: Path) -> None:
    health = {**QUICK, "path": "/", "unhealthy_threshold": 1, "healthy_threshold": 1}
    with held() as port:
        async with scripted() as stays, opened(at(port, stays), health) as backend:
            endpoints = view(backend)
            for _ in range(2):
                await eventually(lambda: endpoints.ready == endpoints.all[1:], "the end of who is gone")
                assert endpoints.all[0].last_check
                for _ in range(4):
                    assert await status(backend) == 200
                with answering(port, tmp_path):
                    await eventually(lambda: endpoints.ready == endpoints.all, "who is back")
                    for _ in range(4):
                        assert await status(backend) == 200


async def test_if_none_is_well_all_are_used() -> None:
    async with scripted(Patient(500)) as one, scripted(Patient(500)) as two, opened(at(one, two), QUICK) as backend:
        endpoints = view(backend)
        await first_checks(endpoints)
        assert endpoints.ready == endpoints.all
        for _ in range(4):
            assert await status(backend) == 200
        assert (traffic(one), traffic(two)) == (2, 2)


async def test_if_none_is_well_none_is_used_where_that_is_wanted() -> None:
    patient = Patient(500)
    async with scripted(patient) as upstream, opened(at(upstream), {**QUICK, "when_none_healthy": "refuse"}) as backend:
        endpoints = view(backend)
        await eventually(lambda: not endpoints.ready, "the first check")
        assert await status(backend) is Reason.NO_ENDPOINT
        patient.status = 200
        await eventually(lambda: endpoints.only is not None, "recovery")
        assert await status(backend) == 200
        assert traffic(upstream) == 1


async def test_endpoints_without_weight_do_not_stand_in_for_those_that_are_ill() -> None:
    async with (
        scripted(Patient(500)) as ill,
        scripted() as spare,
        opened((*at(ill), *at(spare, weight=0)), QUICK) as backend,
    ):
        endpoints = view(backend)
        await first_checks(endpoints)
        assert endpoints.none_healthy
        assert await status(backend) == 200
        assert (traffic(ill), traffic(spare)) == (1, 0)


async def test_a_change_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "daemun.health")
    told = Told(True, True, False, False, False, False, False, True, True, True)
    async with opened(at(1), {"type": "told", "interval_seconds": 0.01}, told.plugin):
        await told.said()
    assert [record.getMessage() for record in caplog.records if record.name == "daemun.health"] == [
        "back end b: endpoint 127.0.0.1:1 is unhealthy: it has a cold",
        "back end b: no endpoint is healthy, all are used",
        "back end b: endpoint 127.0.0.1:1 is healthy",
    ]


async def test_what_was_ill_from_the_first_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    told = Told(*[False] * 8)
    health = {"type": "told", "interval_seconds": 0.01, "initially": "unhealthy", "when_none_healthy": "refuse"}
    async with opened(at(1, 2), health, told.plugin):
        await told.said()
    words = [record.getMessage() for record in caplog.records if record.name == "daemun.health"]
    assert sorted(words) == [
        "back end b: endpoint 127.0.0.1:1 is unhealthy: it has a cold",
        "back end b: endpoint 127.0.0.1:2 is unhealthy: it has a cold",
        "back end b: no endpoint is healthy, none is used",
    ]


async def test_a_check_that_breaks_is_logged_once_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    told = Told(*(LookupError("no such nurse") for _ in range(5)), True, True)
    async with opened(at(1), {"type": "told", "interval_seconds": 0.01}, told.plugin) as backend:
        await told.said()
        endpoint = view(backend).all[0]
        assert (endpoint.healthy, endpoint.last_check) == (True, "")
    words = [record.getMessage() for record in caplog.records if record.name == "daemun.health"]
    assert (
        sum(
            one.startswith("back end b: the check of endpoint 127.0.0.1:1 broke: the fault of plugin told at ")
            for one in words
        )
        == 1
    )
    assert words.count("back end b: endpoint 127.0.0.1:1 is unhealthy: its check broke: LookupError") == 1


async def test_a_check_is_no_traffic() -> None:
    patient = Patient()
    health = {**QUICK, "timeout_seconds": 0.25}
    async with scripted(patient) as upstream, opened(at(upstream, capacity=1), health) as backend:
        endpoints = view(backend)
        endpoints.idle_since = 0.0
        patient.status = 0
        await patient.checked(1)
        assert (endpoints.in_flight, endpoints.all[0].active, endpoints.all[0].pool.idle_connections) == (0, 0, 0)
        assert await status(backend) == 200  # though its capacity is one
        endpoints.idle_since = 0.0
        patient.status = 200
        await patient.checked(1)
    assert endpoints.idle_since == 0.0


async def test_checks_leave_no_connection_open() -> None:
    patient = Patient()
    async with scripted(patient) as upstream, opened(at(upstream), {**QUICK, "interval_seconds": 0.03}):
        await patient.checked(5)
        await eventually(lambda: upstream.open == 0, "the end of the last connection")
        assert upstream.connections == patient.checks


@pytest.mark.parametrize("answered", [200, 0])
async def test_who_is_retired_is_not_asked_any_more(answered: int) -> None:
    goes, stays = Patient(answered), Patient()
    health = {**QUICK, "timeout_seconds": 60}
    async with scripted(goes) as one, scripted(stays) as two, opened(at(one, two), health) as backend:
        await goes.checked(1)
        view(backend).update(at(two))
        await eventually(lambda: one.open == 0, "the end of its last check")
        asked = goes.checks
        await stays.checked(5)
        assert goes.checks == asked
        assert await status(backend) == 200


async def test_who_comes_is_asked_and_who_stays_keeps_its_health() -> None:
    ill, fresh = Patient(500), Patient(500)
    async with (
        scripted(ill) as one,
        scripted() as two,
        scripted(fresh) as three,
        opened(at(one, two), QUICK) as backend,
    ):
        endpoints = view(backend)
        await eventually(lambda: endpoints.ready == endpoints.all[1:], "the first check")
        known = endpoints.all
        endpoints.update(at(one, two, three))
        assert endpoints.all[:2] == known
        assert endpoints.ready == endpoints.all[1:]
        await eventually(lambda: endpoints.ready == endpoints.all[1:2], "the first check of the new one")
        assert fresh.checks


async def test_a_back_end_that_is_closed_asks_nobody() -> None:
    patient = Patient()
    async with scripted(patient) as upstream:
        async with opened(at(upstream), QUICK):
            await patient.checked(1)
            patient.status = 0
            await patient.checked(1)
        await eventually(lambda: upstream.open == 0, "the end of the check")


async def test_what_runs_on_who_falls_ill_is_finished() -> None:
    patient, go_on = Patient(), anyio.Event()

    async def script(scene: Scene) -> None:
        if b" / HTTP/1.1" in await scene.head():
            await scene.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
            await go_on.wait()
            await scene.send(b"cd")
        else:
            await scene.send(b"HTTP/1.1 %d Felt\r\nContent-Length: 0\r\n\r\n" % patient.status)

    async with scripted(script) as upstream, scripted() as other, opened(at(upstream, other), QUICK) as backend:
        endpoints = view(backend)
        await first_checks(endpoints)
        responses = [await backend.handler(make_request()) for _ in range(2)]
        patient.status = 500
        await eventually(lambda: endpoints.ready == endpoints.all[1:], "its illness")
        assert endpoints.all[0].active == 1
        go_on.set()
        contents = []
        for response in responses:
            content = b""
            while data := await response.body.read():
                content += data
            contents.append(content)
        assert sorted(contents) == [b"abcd", b"ok"]


async def test_who_waits_for_room_is_let_in_by_who_recovers() -> None:
    ill = Patient(500)
    answer = anyio.Event()

    async def busy(scene: Scene) -> None:
        while request := await scene.request():
            if b" / HTTP/1.1" in request:
                await answer.wait()
            await scene.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with (
        scripted(busy) as one,
        scripted(ill) as two,
        opened(at(one, two, capacity=1), QUICK) as backend,
        anyio.create_task_group() as tasks,
    ):
        endpoints = view(backend)
        await eventually(lambda: endpoints.ready == endpoints.all[:1], "the first check")
        tasks.start_soon(status, backend)
        await eventually(lambda: endpoints.in_flight == 1, "the first request")
        with anyio.fail_after(10):
            async with anyio.create_task_group() as waiting:
                waiting.start_soon(status, backend)
                await eventually(lambda: endpoints.waiting == 1, "the second request")
                ill.status = 200
        assert traffic(two) == 1
        answer.set()


async def test_a_check_wakes_no_activator_and_a_request_does() -> None:
    patient = Patient()
    health = {**QUICK, "when_none_healthy": "refuse"}
    async with scripted(patient) as upstream, scripted() as other:
        starter = Starter(*at(upstream, other))
        async with opened([], health, starter.plugin, activator="starter") as backend:
            endpoints = view(backend)
            endpoints.update(at(upstream))
            patient.status = 500
            await eventually(lambda: not endpoints.ready, "its illness")
            await patient.checked(3)
            assert starter.calls == 0
            starter.cue.set()
            assert await status(backend) == 200
            assert (starter.calls, traffic(upstream), traffic(other)) == (1, 0, 1)


async def test_a_check_wakes_no_activator_for_those_who_wait_either() -> None:
    patient, answer = Patient(), anyio.Event()

    async def busy(scene: Scene) -> None:
        while request := await scene.request():
            if b" / HTTP/1.1" in request:
                await answer.wait()
                await scene.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            else:
                patient.checks += 1
                await scene.send(b"HTTP/1.1 %d Felt\r\nContent-Length: 0\r\n\r\n" % patient.status)

    async with scripted(busy) as upstream:
        starter, health = Starter(), {**QUICK, "when_none_healthy": "refuse"}
        async with (
            opened([], health, starter.plugin, activator="starter") as backend,
            anyio.create_task_group() as tasks,
        ):
            endpoints = view(backend)
            endpoints.update(at(upstream, capacity=1))
            tasks.start_soon(status, backend)
            await eventually(lambda: endpoints.in_flight == 1, "a request that runs")
            tasks.start_soon(status, backend)
            await eventually(lambda: endpoints.waiting == 1, "a request that waits")
            patient.status = 500
            await eventually(lambda: not endpoints.ready, "its illness")
            await patient.checked(3)
            assert (starter.calls, endpoints.waiting) == (0, 1)
            patient.status = 200
            await eventually(lambda: bool(endpoints.ready), "recovery")
            answer.set()
        assert traffic(upstream) == 2


async def test_an_activator_publishes_beside_who_is_ill() -> None:
    patient = Patient(500)
    async with scripted(patient) as upstream, scripted() as other:
        starter = Starter(*at(upstream))
        async with opened([], QUICK, starter.plugin, activator="starter") as backend:
            endpoints = view(backend)
            starter.cue.set()
            assert await status(backend) == 200
            await patient.checked()
            endpoints.update(at(upstream, other))
            assert len(endpoints.all) == 2
            assert endpoints.ready == endpoints.all[1:]
            assert starter.calls == 1


@pytest.mark.parametrize(
    ("health", "words"),
    [
        ({}, "$.settings.health_check: a health check needs `type`"),
        ({"type": 1}, "$.settings.health_check: a health check needs `type`"),
        ({"type": "htp"}, "unknown health check 'htp'; did you mean 'http'? (accepted: http)"),
        ({"type": "http", "pth": "/"}, "$.settings.health_check: unknown key `pth`; did you mean `path`? (accepted: "),
        ({"type": "http", "interval": 1}, "did you mean `interval_seconds`? (accepted: type, headers, host, "),
        ({"type": "http", "interval_seconds": 0}, "$.settings.health_check.interval_seconds: "),
        ({"type": "http", "timeout_seconds": -1}, "$.settings.health_check.timeout_seconds: "),
        ({"type": "http", "healthy_threshold": 0}, "$.settings.health_check.healthy_threshold: "),
        ({"type": "http", "unhealthy_threshold": 10**6}, "$.settings.health_check.unhealthy_threshold: "),
        ({"type": "http", "when_none_healthy": "panic"}, "$.settings.health_check.when_none_healthy: "),
        ({"type": "http", "initially": "ill"}, "$.settings.health_check.initially: "),
        ({"type": "http", "path": "healthz"}, "$.settings.health_check.path: "),
        ({"type": "http", "path": "/a b"}, "$.settings.health_check.path: "),
        ({"type": "http", "path": "/a\n"}, "$.settings.health_check.path: "),
        ({"type": "http", "host": "a\r\nb: c"}, "$.settings.health_check.host: "),
        ({"type": "http", "statuses": [20]}, "$.settings.health_check.statuses[0]: "),
        ({"type": "http", "headers": {"a b": "c"}}, "$.settings.health_check.headers"),
        ({"type": "http", "headers": {"a": "b\r\nc: d"}}, "$.settings.health_check.headers"),
        (
            {"type": "http", "headers": {"Content-Length": "5"}},
            "$.settings.health_check.headers: field 'content-length' is the protocol's own",
        ),
    ],
)
async def test_a_fault_of_the_settings_is_told_with_its_place(health: dict[str, Any], words: str) -> None:
    async with routed() as table:
        backend = BackendSpec("b", settings={"health_check": health}, endpoints=at(1))
        applied = await table.publish(RouteSpec("r", Forward((Split("b"),))), backends=[backend])
    assert words in applied.refused[0].error


async def test_what_is_asked() -> None:
    health = {
        "type": "http",
        "interval_seconds": 0.01,
        "path": "/live?deep=1",
        "method": "HEAD",
        "host": "App.Test",
        "headers": {"X-Who": "the gateway"},
        "statuses": [204],
    }

    async def script(scene: Scene) -> None:
        await scene.request()
        await scene.send(b"HTTP/1.1 204 No Content\r\n\r\n")

    async with scripted(script) as upstream, opened(at(upstream), health) as backend:
        await first_checks(view(backend))
        assert view(backend).all[0].last_check == ""
        asked = upstream.asked[0]
    assert (asked.method, asked.target) == (b"HEAD", b"/live?deep=1")
    assert dict(asked.headers) == {
        b"host": b"app.test",
        b"x-who": b"the gateway",
        b"user-agent": b"daemun-health-check",
    }


async def test_an_endpoint_is_asked_by_its_address() -> None:
    async with scripted() as upstream, opened(at(upstream), {"type": "http", "interval_seconds": 0.01}) as backend:
        await first_checks(view(backend))
        asked = upstream.asked[0]
    assert (asked.method, asked.target, dict(asked.headers)[b"host"]) == (
        b"GET",
        b"/",
        f"127.0.0.1:{upstream.port}".encode(),
    )


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood", ""),
        (b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", ""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n" + bytes(100_000), ""),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "it answered 404"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngo", "the upstream closed the connection"),
        (b"hello\r\n\r\n", "the upstream's head is malformed or too long"),
        (b"", "the upstream closed the connection"),
    ],
    ids=["fine", "redirect", "endless", "missing", "cut", "foreign", "silent"],
)
async def test_what_is_well(answer: bytes, fault: str) -> None:
    async def script(scene: Scene) -> None:
        await scene.request()
        await scene.send(answer)

    async with scripted(script) as upstream, opened(at(upstream), QUICK) as backend:
        await first_checks(view(backend))
        assert view(backend).all[0].last_check == fault


async def test_a_check_of_a_plugin_has_its_settings_and_may_ask_more_than_once() -> None:
    def build(settings: NoSettings) -> HealthCheck:
        async def check(send: Handler, endpoint: Endpoint) -> None:
            for target in ("/a", "/b"):
                response = await send(make_request(url=f"http://{endpoint.authority.decode()}{target}"))
                await response.body.aclose()

        return check

    plugin = make_plugin("twice", daemun_health_checks=lambda: [HealthCheckType("twice", NoSettings, build)])
    async with scripted() as upstream:
        async with opened(at(upstream), {"type": "twice", "interval_seconds": 0.01}, plugin) as backend:
            await first_checks(view(backend))
            assert view(backend).all[0].last_check == ""
        assert [asked.target for asked in upstream.asked[:2]] == [b"/a", b"/b"]
        await eventually(lambda: upstream.open == 0, "the end of its connections")


@pytest.mark.parametrize(
    ("spec", "authority"),
    [
        (EndpointSpec("127.0.0.1:80"), b"127.0.0.1:80"),
        (EndpointSpec("[::1]:80"), b"[::1]:80"),
        (EndpointSpec("127.0.0.1:443", tls=True, server_name="a.test"), b"a.test"),
        (EndpointSpec("unix:/run/app.sock"), b"localhost"),
    ],
)
def test_what_an_endpoint_is_called_by_a_check(spec: EndpointSpec, authority: bytes) -> None:
    assert Endpoint(spec).authority == authority


async def test_checks_that_find_nothing_new_change_nothing() -> None:
    patient = Patient()
    async with scripted(patient) as upstream, opened(at(upstream), QUICK) as backend:
        endpoints = view(backend)
        ready = endpoints.ready
        await patient.checked(5)
        endpoints.update(at(upstream))
        assert endpoints.ready is ready


async def test_health_checks_in_a_file_of_routes() -> None:
    async with scripted(Patient(500)) as ill, scripted(Patient()) as well:
        source = {
            "type": "inline",
            "backends": {"b": {"endpoints": [ill.url, well.url], "settings": {"health_check": QUICK}}},
            "routes": [{"name": "r", "to": "b"}],
        }
        async with running({"sources": [source]}, only=["http1", "file"]) as gateway:
            await eventually(lambda: bool(ill.requests), "the first check")
            await eventually(lambda: ill.open == 0, "its end")
            before = traffic(ill)
            for _ in range(4):
                answer = await gateway.exchange(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
                assert answer.startswith(b"HTTP/1.1 200 ")
            assert (traffic(ill) - before, traffic(well)) == (0, 4)


@pytest.mark.parametrize(("path", "fault"), [("/healthz", ""), ("/missing", "it answered 404")])
async def test_http_is_asked_over_http2_too(path: str, fault: str) -> None:
    source = {"type": "inline", "routes": [{"name": "well", "match": {"path": "/healthz"}, "respond": {"body": "ok"}}]}
    async with (
        running({"sources": [source]}, only=["http1", "http2", "file"]) as gateway,
        opened(at(gateway.port, protocol="http2"), {**QUICK, "path": path}) as backend,
    ):
        await first_checks(view(backend))
        assert view(backend).all[0].last_check == fault
