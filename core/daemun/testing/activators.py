"""An activator that starts at a test's cue."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from daemun.extend.endpoints import ActivatorContext, ActivatorType
from daemun.extend.types import NoSettings
from daemun.routing.spec import EndpointSpec
from daemun.testing.plugins import make_plugin
from daemun.upstream.endpoints import Endpoints

__all__ = ["Starter"]


class Starter:
    """The activator `starter`: when `cue` is set it publishes `specs`, or raises `error`. `plugin` brings it."""

    def __init__(self, *specs: EndpointSpec) -> None:
        self.calls = 0
        """How often it was asked to start something."""
        self.cue = anyio.Event()
        self.error: Exception | None = None
        self.specs = specs
        self.endpoints: Endpoints
        """The live view of its back end, once that is open."""
        self.plugin = make_plugin(
            "starter", daemun_activators=lambda: [ActivatorType("starter", NoSettings, self._build)]
        )

    @asynccontextmanager
    async def _build(self, settings: NoSettings, context: ActivatorContext) -> AsyncIterator[Starter]:
        self.endpoints = context.endpoints
        yield self

    async def activate(self) -> None:
        """Waits for the cue."""
        self.calls += 1
        await self.cue.wait()
        if self.error is not None:
            raise self.error
        self.endpoints.update(self.specs)
