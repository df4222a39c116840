"""A gateway between ends that speak HTTP/2 and HTTP/1; it fails the test that leaves something behind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any, cast

import anyio

from daemun.testing.gateway import RunningGateway, running
from daemun.testing.patience import eventually
from daemun.testing.proxy import Proxy
from daemun.testing.upstreams import Script, ScriptedUpstream, scripted
from daemun.testing.upstreams2 import Http2Script, ScriptedHttp2Upstream, answer_ok2, scripted2
from daemun.testing.wire2 import Http2Wire

__all__ = ["Http2Proxy", "proxying2"]

_GRACE_SECONDS = 5.0


class Http2Proxy(Proxy):
    """A gateway whose only route leads to `upstream`, with clients that speak either protocol."""

    upstream: Any
    """A `ScriptedHttp2Upstream`, or a `ScriptedUpstream`: a test knows which."""

    def __init__(self, gateway: RunningGateway, upstream: ScriptedUpstream | ScriptedHttp2Upstream) -> None:
        super().__init__(gateway, cast("ScriptedUpstream", upstream))
        self._wires2: list[Http2Wire] = []

    async def dial2(self, settings: Mapping[int, int] | None = None, *, crediting: bool = True) -> Http2Wire:
        """A new connection on which nothing was said; it is closed when the proxy is, if not before."""
        wire = Http2Wire(await anyio.connect_tcp("127.0.0.1", self.gateway.port), settings, crediting=crediting)
        self._wires2.append(wire)
        return wire

    async def connect2(self, settings: Mapping[int, int] | None = None, *, crediting: bool = True) -> Http2Wire:
        """A new HTTP/2 connection."""
        wire = await self.dial2(settings, crediting=crediting)
        await wire.start()
        return wire

    async def leave(self) -> None:
        """Ends what is left of the test's connections."""
        with anyio.CancelScope(shield=True):
            for wire in self._wires2:
                await wire.aclose()
        await super().leave()


@asynccontextmanager
async def proxying2(
    script: Script | None = None,
    script2: Http2Script | None = None,
    *,
    upstream_settings: Mapping[int, int] | None = None,
    upstream_crediting: bool = True,
    http1: dict[str, Any] | None = None,
    http2: dict[str, Any] | None = None,
    route: dict[str, Any] | None = None,
    backend: dict[str, Any] | None = None,
    listener: dict[str, Any] | None = None,
    extra: Iterable[ModuleType] = (),
) -> AsyncIterator[Http2Proxy]:
    """A gateway in front of an upstream: of HTTP/1 if it has a `script`, else of HTTP/2 with `script2`.

    The rest is as `proxying` has it. Raises `AssertionError` at the end if an exchange or a connection stays.
    """
    upstream_of_either: Any
    if script is not None:
        upstream_of_either = scripted(script)
    else:
        upstream_of_either = scripted2(script2 or answer_ok2, upstream_settings, crediting=upstream_crediting)
    async with upstream_of_either as upstream:
        endpoint = upstream.url if script is not None else {"url": upstream.url, "protocol": "http2"}
        settings = {
            "listeners": [{"name": "http", "bind": "127.0.0.1:0", **(listener or {})}],
            "protocols": {"http1": http1 or {}, "http2": http2 or {}},
            "sources": [
                {
                    "type": "inline",
                    "backends": {"up": {"endpoints": [endpoint], "settings": backend or {}}},
                    "routes": [{"name": "all", "to": "up", **(route or {})}],
                }
            ],
            "drain": {"grace_seconds": _GRACE_SECONDS},
        }
        async with running(settings, extra=extra) as gateway:
            proxy = Http2Proxy(gateway, upstream)
            try:
                yield proxy
            finally:
                await proxy.leave()
            await proxy.settled()
            await eventually(lambda: proxy.connections == 0, "the end of every downstream connection")
