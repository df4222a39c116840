"""Activators in the supervisor: one for all workers that mean the same back end."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import msgspec
from anyio.abc import TaskGroup

from daemun.errors import ExchangeError, Reason
from daemun.extend.culprit import Blame
from daemun.extend.endpoints import Activator, ActivatorContext
from daemun.extend.fitting import managed
from daemun.extend.registry import Registry
from daemun.process.workers.frames import Activate, Activated, Failed, Hold, Holding, Let, Usage, encode
from daemun.process.workers.pooled import Asker, Place, PooledEndpoints
from daemun.routing.shared import Shared

__all__ = ["Activations"]

log = logging.getLogger("daemun.activation")


class _Running:
    """An activator that is open, and the workers that wait for it to activate."""

    def __init__(self, activator: Activator, endpoints: PooledEndpoints, tasks: TaskGroup, blame: Blame) -> None:
        self._blame = blame
        self.endpoints = endpoints
        self._activator = activator
        self._tasks = tasks
        self._waiting: list[Place] = []

    def activate(self, place: Place) -> None:
        """Activates once for all who ask meanwhile."""
        self._waiting.append(place)
        if len(self._waiting) == 1:
            self._tasks.start_soon(self._activate)

    async def _activate(self) -> None:
        failed: Failed | None = None
        try:
            await self._activator.activate()
        except ExchangeError as error:
            failed = Failed.of(error)
        except Exception as error:
            name, culprit = self.endpoints.name, self._blame.of(error, (), self._activator)
            log.error("back end %s: its activator failed: %s raised %r", name, culprit, error, exc_info=error)
            failed = Failed.of(ExchangeError(Reason.ACTIVATION_FAILED, f"the activator of back end {name} failed"))
        waiting, self._waiting = self._waiting, []
        for asker, number in waiting:
            asker.post(encode(Activated(number, failed)))


class _Claim:
    """A worker's wish for an activator."""

    def __init__(self) -> None:
        self.running: _Running | None = None
        self.over = anyio.Event()
        self.forgotten = False
        """The worker ended: nobody confirms what it is told."""


class Activations:
    """The activators that workers need. They are opened when the first worker needs one, and closed when the last
    one does not any more. A worker that ended holds on to what it had until `release`."""

    def __init__(self, registry: Registry, base_dir: Path, tasks: TaskGroup) -> None:
        self._registry = registry
        self._base_dir = base_dir
        self._tasks = tasks
        self._shared = Shared(tasks, registry.blame)
        self._claims: dict[Place, _Claim] = {}

    def receive(self, asker: Asker, demand: Hold | Let | Activate | Usage) -> None:
        """What a worker says of one of its back ends."""
        place = (asker, demand.number)
        claim = self._claims.get(place)
        if isinstance(demand, Hold):
            if claim is None:
                claim = self._claims[place] = _Claim()
                self._tasks.start_soon(self._hold, place, demand, claim)
            return
        if claim is None:
            return
        if isinstance(demand, Let):
            del self._claims[place]
            claim.over.set()
        elif claim.running is not None:
            if isinstance(demand, Activate):
                claim.running.activate(place)
            else:
                claim.running.endpoints.take(place, demand)

    def forget(self, asker: Asker) -> None:
        """A worker ended: what it counted is over."""
        for place, claim in self._claims.items():
            if place[0] is asker:
                claim.forgotten = True
                if claim.running is not None:
                    claim.running.endpoints.part(place)

    def release(self, asker: Asker) -> None:
        """Nobody takes over what the worker held."""
        for place in [place for place in self._claims if place[0] is asker]:
            self._claims.pop(place).over.set()

    async def close(self, seconds: float) -> None:
        """Closes all activators, and waits until they are; those that are not after `seconds` are cut off."""
        for claim in self._claims.values():
            claim.over.set()
        self._claims.clear()
        await self._shared.close_within(seconds)

    async def _hold(self, place: Place, hold: Hold, claim: _Claim) -> None:
        asker, number = place
        key = ("activator", hold.activator, hold.backend, hold.settings)
        try:
            resource = await self._shared.lease(key, lambda: self._open(hold))
        except Exception as error:
            asker.post(encode(Holding(number, Failed.of(error))))
            return
        running: _Running = resource.value
        claim.running = running
        if not claim.forgotten:
            running.endpoints.join(place)
            asker.post(encode(Holding(number)))
        await claim.over.wait()
        running.endpoints.part(place)
        self._shared.release(resource)

    @asynccontextmanager
    async def _open(self, hold: Hold) -> AsyncIterator[_Running]:
        kind = self._registry.activator(hold.activator)
        settings = msgspec.msgpack.decode(hold.settings, type=kind.settings)
        endpoints = PooledEndpoints(hold.backend)
        context = ActivatorContext(backend=hold.backend, endpoints=endpoints, base_dir=self._base_dir)
        opened = managed(self._registry.activators.thing(kind.name), kind.build, settings, context)
        async with opened as activator, anyio.create_task_group() as activations:
            yield _Running(activator, endpoints, activations, self._registry.blame)
            activations.cancel_scope.cancel()
