"""Routes that a test publishes itself, with a gateway or without a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio

from daemun.extend.loading import load_plugins
from daemun.extend.sources import Applied, Publish, SourceContext, SourceType
from daemun.extend.types import NoSettings
from daemun.message import Request, Response
from daemun.process.gateway import open_table
from daemun.process.parts import Parts
from daemun.process.sources import source_names
from daemun.routing.spec import BackendSpec, CertificateSpec, ObjectStatus, RouteSpec, Snapshot
from daemun.routing.table import Table
from daemun.settings import Settings
from daemun.strict import convert
from daemun.testing.plugins import built, make_plugin

__all__ = ["HandSource", "RoutedTable", "republish", "routed"]

_INLINE = "inline"
"""The source whose routes stand in the settings."""


class HandSource:
    """A source that publishes what a test hands to it: `running(source.settings, extra=[source.plugin])`."""

    def __init__(self, name: str = "by_hand") -> None:
        self.name = name
        """What settings call it."""
        self.plugin = make_plugin(f"{name}_source", daemun_sources=lambda: [SourceType(name, NoSettings, built(self))])
        """The plugin that brings it."""
        self.settings = {"sources": [{"type": name}]}
        """Settings of a gateway that has this source and no other."""
        self.reloads = 0
        """How often it was told to read everything again."""
        self._publish: Publish

    async def run(self, publish: Publish) -> None:
        """What the gateway calls: publishes nothing yet."""
        self._publish = publish
        await publish(Snapshot())

    def reload(self) -> None:
        """Counts."""
        self.reloads += 1

    async def publish(
        self,
        *routes: RouteSpec,
        backends: Iterable[BackendSpec] = (),
        certificates: Iterable[CertificateSpec] = (),
    ) -> Applied:
        """Replaces what it published last."""
        return await self._publish(Snapshot(routes, tuple(backends), certificates=tuple(certificates)))


class RoutedTable:
    """A table without listeners, filled by a `HandSource`."""

    def __init__(self, table: Table, source: HandSource) -> None:
        self.table = table
        """The real table."""
        self.source = source
        """What fills it."""

    async def publish(self, *routes: RouteSpec, backends: Iterable[BackendSpec] = ()) -> Applied:
        """Replaces the routes."""
        return await self.source.publish(*routes, backends=backends)

    async def handle(self, request: Request) -> Response:
        """What the route that wins answers, or raises."""
        return await self.table.current.handle(request)

    def chain(self, route: str) -> list[str]:
        """What a request of `route` passes, in words."""
        return next(one.chain for one in self.table.current.routes if one.spec.name == route)


@asynccontextmanager
async def routed(
    *plugins: ModuleType, only: Iterable[str] = ("http1",), base_dir: Path | None = None
) -> AsyncIterator[RoutedTable]:
    """A table in the test's event loop, with `plugins` and the installed ones that `only` names."""
    source = HandSource()
    manager = load_plugins(only=only, extra=[source.plugin, *plugins])
    async with open_table(convert(source.settings, Settings), manager, base_dir or Path.cwd()) as parts:
        yield RoutedTable(parts.table, source)


async def republish(parts: Parts, settings: Mapping[str, Any], emptied: bool) -> tuple[ObjectStatus, ...]:
    """What was refused of what `inline` sources publish now: what `settings` say; if `emptied`, nothing before it.

    Other sources are told to read everything again.
    """
    sources = settings.get("sources", ())
    named = dict(zip(source_names(convert({"sources": sources}, Settings)), sources, strict=True))
    inline = {name: raw for name, raw in named.items() if raw["type"] == _INLINE}
    parts.sources.reload(without=inline)
    refused: list[ObjectStatus] = []
    for name, raw in inline.items():
        kind = parts.registry.sources.get(_INLINE)
        decoded = convert({key: value for key, value in raw.items() if key != "type"}, kind.settings)
        with anyio.CancelScope() as once:

            async def publish(snapshot: Snapshot, name: str = name, once: anyio.CancelScope = once) -> Applied:
                applied = await parts.table.apply(name, snapshot)
                refused.extend(applied.refused)
                once.cancel()
                return applied

            if emptied:
                await parts.table.apply(name, Snapshot())
            async with kind.build(decoded, SourceContext(name, Path.cwd())) as source:
                await source.run(publish)
    return tuple(refused)
