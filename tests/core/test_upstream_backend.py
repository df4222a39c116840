"""A back end as one resource: its settings, its balancer, its activator, and what it does by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import anyio
import pytest
from msgspec import Meta, Struct

from daemun import (
    ActivatorContext,
    ActivatorType,
    BackendSpec,
    BalancerType,
    Endpoint,
    EndpointSpec,
    Forward,
    NoSettings,
    Request,
    RouteSpec,
    Split,
)
from daemun.testing import eventually, make_plugin, make_request, proxying, routed, running, scripted

pytestmark = pytest.mark.anyio

TO_B = RouteSpec("r", Forward((Split("b"),)))
GET = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"


class StarterSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of an activator under test."""

    patience_seconds: Annotated[float, Meta(gt=0)] = 1.0


class Starter:
    """An activator that writes down how it was built, and never ends."""

    def __init__(self) -> None:
        self.settings: StarterSettings
        self.context: ActivatorContext
        self.events: list[str] = []
        self.plugin = make_plugin(
            "starter", daemun_activators=lambda: [ActivatorType("starter", StarterSettings, self._build)]
        )

    @asynccontextmanager
    async def _build(self, settings: StarterSettings, context: ActivatorContext) -> AsyncIterator[Starter]:
        self.settings, self.context = settings, context
        self.events.append("built")
        yield self
        self.events.append("closed")

    async def activate(self) -> None:
        self.events.append("asked")
        try:
            await anyio.sleep_forever()
        finally:
            self.events.append("cancelled")


async def test_an_activator_gets_its_settings_and_what_it_works_on(tmp_path: Path) -> None:
    starter = Starter()
    backend = BackendSpec("b", activator="starter", activation={"patience_seconds": 2})
    async with routed(starter.plugin, base_dir=tmp_path) as table:
        await table.publish(TO_B, backends=[backend])
        assert starter.settings == StarterSettings(2.0)
        assert (starter.context.backend, starter.context.base_dir) == ("b", tmp_path)
        assert starter.context.endpoints.ready == ()
        assert starter.events == ["built"]
    assert starter.events == ["built", "closed"]


async def test_an_activation_that_runs_ends_before_its_activator_is_closed() -> None:
    starter = Starter()
    source = {
        "type": "inline",
        "backends": {"b": {"activator": "starter"}},
        "routes": [{"name": "r", "to": "b"}],
    }
    settings = {"sources": [source], "drain": {"grace_seconds": 0}}
    async with running(settings, only=["http1", "file"], extra=[starter.plugin]) as gateway:
        stream = await gateway.connect()
        await stream.send(GET)
        await eventually(lambda: "asked" in starter.events)
    await stream.aclose()
    assert starter.events == ["built", "asked", "cancelled", "closed"]


@pytest.mark.parametrize(
    ("backend", "words"),
    [
        (
            BackendSpec("b", activator="starter", activation={"patience": 1}),
            "$.activation: unknown key `patience`; did you mean `patience_seconds`? (accepted: patience_seconds)",
        ),
        (
            BackendSpec("b", activator="strter"),
            "unknown activator 'strter'; did you mean 'starter'? (accepted: starter)",
        ),
        (BackendSpec("b", settings={"balancer": {}}), "$.settings.balancer: a balancer needs `type`"),
        (
            BackendSpec("b", settings={"balancer": {"type": "round_robin", "by": "path"}}),
            "$.settings.balancer: unknown key `by` (accepted: )",
        ),
        (
            BackendSpec("b", settings={"balancer": {"type": "consistent_hash", "by": "moon"}}),
            "$.settings.balancer.by: invalid enum value 'moon'",
        ),
        (BackendSpec("b", settings={"connect_timeout_seconds": 0}), "$.settings.connect_timeout_seconds: expected"),
        (BackendSpec("b", settings={"waiting_room": {"max_requests": -1}}), "$.settings.waiting_room.max_requests: "),
        (
            BackendSpec("b", settings={"tls": {"ca": "none.pem"}}, endpoints=(EndpointSpec("a:1", tls=True),)),
            "none.pem: no such file",
        ),
        (
            BackendSpec("b", settings={"tls": {"ca": "bad.pem"}}, endpoints=(EndpointSpec("a:1", tls=True),)),
            "bad.pem: no certificate authority: ",
        ),
    ],
)
async def test_a_fault_is_told_with_its_place(backend: BackendSpec, words: str, tmp_path: Path) -> None:
    starter = Starter()
    (tmp_path / "bad.pem").write_text("this is none")
    async with routed(starter.plugin, base_dir=tmp_path) as table:
        applied = await table.publish(TO_B, backends=[backend])
    assert words in applied.refused[0].error


async def test_a_balancer_with_settings_of_its_own() -> None:
    settings = {"balancer": {"type": "consistent_hash", "by": "path"}}
    async with scripted() as one, scripted() as two:
        specs = tuple(EndpointSpec(f"127.0.0.1:{upstream.port}") for upstream in (one, two))
        async with routed() as table:
            await table.publish(TO_B, backends=[BackendSpec("b", settings=settings, endpoints=specs)])
            for _ in range(3):
                for number in range(10):
                    response = await table.handle(make_request(url=f"http://a.test/{number}"))
                    assert response.status == 200
    paths = [{asked.target for asked in upstream.asked} for upstream in (one, two)]
    assert paths[0].isdisjoint(paths[1])
    assert len(paths[0] | paths[1]) == 10


async def test_a_balancer_of_a_plugin() -> None:
    class Last:
        def pick(self, endpoints: tuple[Endpoint, ...], request: Request) -> Endpoint | None:
            return endpoints[-1]

    def build(settings: Any) -> Last:
        return Last()

    plugin = make_plugin("last", daemun_balancers=lambda: [BalancerType("last", NoSettings, build)])
    async with scripted() as one, scripted() as two:
        specs = tuple(EndpointSpec(f"127.0.0.1:{upstream.port}") for upstream in (one, two))
        async with routed(plugin) as table:
            backend = BackendSpec("b", settings={"balancer": "last"}, endpoints=specs)
            await table.publish(TO_B, backends=[backend])
            for _ in range(4):
                await table.handle(make_request())
    assert (len(one.requests), len(two.requests)) == (0, 4)


async def test_idle_connections_are_closed_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daemun.upstream.backend._SWEEP_SECONDS", 0.02)
    async with proxying(backend={"idle_timeout_seconds": 0.02}) as proxy:
        assert (await proxy.ask(GET)).status == 200
        await eventually(lambda: proxy.upstream.open == 0, "the end of the idle connection")
        assert (await proxy.ask(GET)).status == 200
        assert proxy.upstream.connections == 2


async def test_endpoints_that_change_under_traffic_lose_no_request() -> None:
    async with scripted() as one, scripted() as two, routed() as table:
        specs = [EndpointSpec(f"127.0.0.1:{upstream.port}") for upstream in (one, two)]
        for number in range(20):
            backend = BackendSpec("b", endpoints=(specs[number % 2],))
            assert not (await table.publish(TO_B, backends=[backend])).refused
            assert (await table.handle(make_request())).status == 200
        assert (len(one.requests), len(two.requests)) == (10, 10)
        await eventually(lambda: one.open == 0, "the end of the connection to what is retired")
