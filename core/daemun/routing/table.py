"""All routes of all sources. A publish compiles what changed and swaps the table with one assignment."""

from __future__ import annotations

import logging
from collections.abc import Callable

import anyio

from daemun.errors import DaemunError
from daemun.extend.types import Applied
from daemun.routing.compile import CompiledRoute, Compiler, used_backends
from daemun.routing.generation import Generation
from daemun.routing.spec import BackendSpec, ObjectStatus, RouteSpec, Snapshot

__all__ = ["Table"]

log = logging.getLogger("daemun.routing")


class _Published:
    """What one source published last, and what became of it."""

    __slots__ = ("compiled", "statuses")

    def __init__(self) -> None:
        self.compiled: dict[str, CompiledRoute] = {}
        self.statuses: tuple[ObjectStatus, ...] = ()


class Table:
    """The routes in use. `current` is what a new request runs on; exchanges lease it."""

    def __init__(self, compiler: Compiler, on_applied: Callable[[Applied], None] | None = None) -> None:
        self._compiler = compiler
        self._on_applied = on_applied
        self._sources: dict[str, _Published] = {}
        self._lock = anyio.Lock()
        self._holders: dict[CompiledRoute, int] = {}
        self.current = Generation(0, (), self._drained)
        self.draining: set[Generation] = set()
        """Generations that were replaced and still run something."""

    def add_source(self, name: str) -> None:
        """Makes room for a source; on equal priority the routes of sources added earlier win."""
        self._sources.setdefault(name, _Published())

    @property
    def statuses(self) -> tuple[ObjectStatus, ...]:
        """What became of every object of every source."""
        return tuple(status for published in self._sources.values() for status in published.statuses)

    async def apply(self, source: str, snapshot: Snapshot) -> Applied:
        """Replaces what `source` published. Returns once new requests run on it.

        A route that cannot be compiled is refused with its error, and its last good version stays in use.
        """
        async with self._lock:
            published = self._sources.setdefault(source, _Published())
            backends = {backend.name: backend for backend in snapshot.backends}
            compiled: dict[str, CompiledRoute] = {}
            statuses = list(snapshot.refused)
            try:
                for spec in snapshot.routes:
                    route, status = await self._route(source, spec, backends, published.compiled, compiled)
                    if route is not None:
                        compiled[spec.name] = route
                    statuses.append(status)
            except BaseException:
                for name, route in compiled.items():
                    if route is not published.compiled.get(name):
                        self._compiler.release(route)
                raise
            statuses += [ObjectStatus("backend", backend.name, backend.origin) for backend in snapshot.backends]
            published.compiled = compiled
            published.statuses = tuple(statuses)
            applied = Applied(self._swap(), published.statuses)
        for status in applied.refused:
            log.warning("%s: %s %s refused: %s", status.origin or source, status.kind, status.name, status.error)
        if self._on_applied is not None:
            self._on_applied(applied)
        return applied

    async def _route(
        self,
        source: str,
        spec: RouteSpec,
        backends: dict[str, BackendSpec],
        before: dict[str, CompiledRoute],
        taken: dict[str, CompiledRoute],
    ) -> tuple[CompiledRoute | None, ObjectStatus]:
        if spec.name in taken:
            return taken[spec.name], ObjectStatus("route", spec.name, spec.origin, "another route has this name")
        old = before.get(spec.name)
        try:
            used = used_backends(spec, backends)
            if old is not None and old.spec == spec and old.backends == used and not old.broken:
                return old, ObjectStatus("route", spec.name, spec.origin)
            return await self._compiler.compile(spec, source, backends), ObjectStatus("route", spec.name, spec.origin)
        except DaemunError as error:
            words = str(error)
        except Exception as error:
            log.exception("route %s cannot be compiled", spec.name)
            words = f"{type(error).__name__}: {error}"
        if old is not None:
            words += "; the version from before stays in use"
        return old, ObjectStatus("route", spec.name, spec.origin, words)

    def _swap(self) -> int:
        routes = [route for published in self._sources.values() for route in published.compiled.values()]
        routes.sort(key=lambda route: -route.spec.priority)
        for route in routes:
            self._holders[route] = self._holders.get(route, 0) + 1
        old = self.current
        self.current = Generation(old.number + 1, routes, self._drained)
        self.draining.add(old)
        old.retire()
        return self.current.number

    def _drained(self, generation: Generation) -> None:
        self.draining.discard(generation)
        for route in generation.routes:
            self._holders[route] -= 1
            if not self._holders[route]:
                del self._holders[route]
                self._compiler.release(route)

    def close(self) -> None:
        """Gives back everything; nothing may run any more."""
        old = self.current
        self.current = Generation(old.number + 1, (), self._drained)
        old.leases = 0
        old.retire()
        for generation in list(self.draining):
            generation.leases = 0
            generation.retire()
