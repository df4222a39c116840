"""Activators in a worker: stand-ins that ask the supervisor, where the real ones run once for all workers."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import msgspec

from daemun.extend.endpoints import Activator, ActivatorContext, ActivatorType
from daemun.extend.registry import Kind, Registry
from daemun.process.workers.frames import Activate, Activated, Count, Failed, Hold, Holding, Let, Usage, Use, encode
from daemun.upstream.endpoints import Endpoint, Endpoints

__all__ = ["RemoteActivators"]

_REPORT_SECONDS = 0.1

_encode_settings = msgspec.msgpack.Encoder(order="sorted").encode
"""Equal settings are equal bytes: that is how the supervisor knows that workers mean the same."""


class _RemoteActivator:
    """Asks the supervisor to activate, and uses the endpoints that it names."""

    def __init__(self, number: int, endpoints: Endpoints, post: Callable[[bytes], None]) -> None:
        self.opened = anyio.Event()
        self.failed: Failed | None = None
        self._number = number
        self._endpoints = endpoints
        self._post = post
        self._numbers: dict[int, Endpoint] = {}
        self._version = 0
        self._told: Usage | None = None
        self._over: anyio.Event | None = None
        self._activation: Failed | None = None

    async def activate(self) -> None:
        self._over = anyio.Event()
        self._post(encode(Activate(self._number)))
        self.report()
        await self._over.wait()
        if self._activation is not None:
            raise self._activation.error()

    def activated(self, failed: Failed | None) -> None:
        """The activation that was asked for is over."""
        self._activation = failed
        if self._over is not None:
            self._over.set()

    def use(self, use: Use) -> None:
        """Other endpoints from now on; those that something runs on are counted until it is over."""
        before = {number: one for number, one in self._numbers.items() if one.active}
        self._version = use.version
        self._endpoints.update(spec for _, spec in use.endpoints)
        all_now = self._endpoints.all
        self._numbers = before | {number: one for (number, _), one in zip(use.endpoints, all_now, strict=True)}
        self.report()

    def report(self) -> None:
        """Tells what the back end has to do, if that is news."""
        endpoints = self._endpoints
        active = tuple(Count(number, one.active) for number, one in self._numbers.items() if one.active)
        usage = Usage(self._number, self._version, endpoints.waiting, endpoints.in_flight, endpoints.idle_since, active)
        if usage != self._told:
            self._told = usage
            self._post(encode(usage))


class RemoteActivators:
    """The stand-ins of one worker."""

    def __init__(self, post: Callable[[bytes], None]) -> None:
        self._post = post
        self._open: dict[int, _RemoteActivator] = {}
        self._next = itertools.count(1)

    def stand_in(self, registry: Registry) -> None:
        """Puts a stand-in in the place of every activator, with the same name and settings."""
        kinds: Kind[ActivatorType] = Kind("activator")
        plugins = registry.activators.items()
        for kind in registry.activators:
            kinds.add(kind.name, ActivatorType(kind.name, kind.settings, self._build(kind.name)), plugins[kind.name])
        registry.activators = kinds

    def receive(self, frame: Holding | Use | Activated) -> None:
        """What the supervisor says of one of them."""
        one = self._open.get(frame.number)
        if one is None:
            return  # it was closed meanwhile
        match frame:
            case Holding():
                one.failed = frame.failed
                one.opened.set()
            case Use():
                one.use(frame)
            case Activated():
                one.activated(frame.failed)

    async def report(self) -> None:
        """Tells the supervisor regularly what every back end has to do."""
        while True:
            await anyio.sleep(_REPORT_SECONDS)
            for one in self._open.values():
                one.report()

    def _build(self, name: str) -> Callable[[Any, ActivatorContext], AbstractAsyncContextManager[Activator]]:
        @asynccontextmanager
        async def build(settings: Any, context: ActivatorContext) -> AsyncIterator[Activator]:
            number = next(self._next)
            one = self._open[number] = _RemoteActivator(number, context.endpoints, self._post)
            try:
                self._post(encode(Hold(number, name, context.backend, _encode_settings(settings))))
                await one.opened.wait()
                if one.failed is not None:
                    raise one.failed.error()
                yield one
            finally:
                del self._open[number]
                self._post(encode(Let(number)))

        return build
