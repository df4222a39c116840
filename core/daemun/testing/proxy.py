"""A gateway in front of an upstream that follows a script; it fails the test that leaves something behind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any

import anyio

from daemun.routing.shared import Resource
from daemun.testing.gateway import RunningGateway, running
from daemun.testing.patience import eventually
from daemun.testing.upstreams import Script, ScriptedUpstream, answer_ok, scripted
from daemun.testing.wire import Answer, Wire
from daemun.upstream.backend import Backend

__all__ = ["Proxy", "proxying"]

_GRACE_SECONDS = 5.0


class Proxy:
    """A gateway whose only route leads to `upstream`."""

    def __init__(self, gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
        self.gateway = gateway
        """The gateway in between."""
        self.upstream = upstream
        self._wires: list[Wire] = []

    async def connect(self) -> Wire:
        """A new connection; it is closed when the proxy is, if not before."""
        wire = Wire(await anyio.connect_tcp("127.0.0.1", self.gateway.port))
        self._wires.append(wire)
        return wire

    async def ask(self, request: bytes) -> Answer:
        """The answer to `request`, on a connection of its own."""
        wire = await self.connect()
        await wire.send(request)
        answer = await wire.answer(request.partition(b" ")[0].decode())
        await wire.aclose()
        return answer

    @property
    def in_flight(self) -> int:
        """Exchanges that are counted on the upstream or wait for it."""
        return sum(
            resource.value.endpoints.in_flight + resource.value.endpoints.waiting
            for resource in self._resources()
            if isinstance(resource.value, Backend) and resource.value.endpoints is not None
        )

    @property
    def connections(self) -> int:
        """Downstream connections that the gateway holds."""
        return len(self.gateway.gateway.connections)

    def _resources(self) -> Iterable[Resource]:
        routes = self.gateway.gateway.table.current.routes
        return (resource for route in routes for resource in route.resources)

    async def settled(self) -> None:
        """Waits until no exchange runs. Raises `AssertionError` if one never ends."""
        await eventually(lambda: self.in_flight == 0, "the end of every exchange")

    async def leave(self) -> None:
        """Closes what `connect` opened."""
        with anyio.CancelScope(shield=True):
            for wire in self._wires:
                await wire.aclose()


@asynccontextmanager
async def proxying(
    script: Script = answer_ok,
    *,
    http1: dict[str, Any] | None = None,
    route: dict[str, Any] | None = None,
    backend: dict[str, Any] | None = None,
    listener: dict[str, Any] | None = None,
    extra: Iterable[ModuleType] = (),
) -> AsyncIterator[Proxy]:
    """A gateway in front of an upstream that follows `script`.

    The rest adds settings: of the protocol, of the one route, of the back end's type, of the listener; `extra` are
    plugins. Raises `AssertionError` at the end if an exchange or a connection stays.
    """
    async with scripted(script) as upstream:
        settings = {
            "listeners": [{"name": "http", "bind": "127.0.0.1:0", **(listener or {})}],
            "protocols": {"http1": http1 or {}},
            "sources": [
                {
                    "type": "inline",
                    "backends": {"up": {"endpoints": [upstream.url], "settings": backend or {}}},
                    "routes": [{"name": "all", "to": "up", **(route or {})}],
                }
            ],
            "drain": {"grace_seconds": _GRACE_SECONDS},
        }
        async with running(settings, extra=extra) as gateway:
            proxy = Proxy(gateway, upstream)
            try:
                yield proxy
            finally:
                await proxy.leave()
            await proxy.settled()
            await eventually(lambda: proxy.connections == 0, "the end of every downstream connection")
