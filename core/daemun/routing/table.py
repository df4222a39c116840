"""All routes and certificates of all sources. A publish compiles what changed; one assignment swaps the table."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any

import anyio

from daemun.errors import SettingsError
from daemun.extend.culprit import Thing
from daemun.extend.registry import Registry
from daemun.extend.sources import Applied
from daemun.routing.certificates import Certificates
from daemun.routing.compile import Compiler
from daemun.routing.compiled import CompiledRoute
from daemun.routing.generation import Generation
from daemun.routing.index import Index
from daemun.routing.publish import Publish, Published
from daemun.routing.refused import log_refused
from daemun.routing.spec import ObjectStatus, Snapshot
from daemun.upstream.endpoints import Endpoints

__all__ = ["Table"]


class Table:
    """The routes in use. `current` is what a new request runs on; exchanges lease it."""

    def __init__(self, compiler: Compiler, on_applied: Callable[[Applied], None] | None = None) -> None:
        self._compiler = compiler
        self._on_applied = on_applied
        self._sources: dict[str, Published] = {}
        self._lock = anyio.Lock()
        self.certificates = Certificates()
        """What listeners with TLS present."""
        self.current = Generation(0, Index(), (), self._drained)
        self.draining: set[Generation] = set()
        """Generations that were replaced and still run something."""

    def add_source(self, name: str) -> None:
        """Makes room for a source; on equal priority the routes of sources added earlier win."""
        self._sources.setdefault(name, Published(len(self._sources)))
        self.certificates.add_source(name)

    def things(self, route: str) -> Sequence[Thing]:
        """What plugins brought that `route` uses, for logs."""
        for published in self._sources.values():
            row = published.rows.get(route)
            if row is not None:
                return row.route.things
        return ()

    @property
    def leases(self) -> int:
        """Exchanges that run."""
        return self.current.leases + sum(generation.leases for generation in self.draining)

    @property
    def endpoints(self) -> Iterable[Endpoints]:
        """The live view of every back end that is open and has one."""
        return tuple(self._compiler.endpoints)

    @property
    def statuses(self) -> tuple[ObjectStatus, ...]:
        """What became of every object of every source."""
        return tuple(status for published in self._sources.values() for status in published.statuses)

    async def apply(self, source: str, snapshot: Snapshot) -> Applied:
        """Replaces what `source` published. Returns once new requests run on it.

        A route that cannot be compiled is refused with its error, and its last good version stays in use.
        """
        async with self._lock:
            self.add_source(source)
            before = self._sources[source]
            publish = Publish(self._compiler, source, before)
            try:
                certificates = await self.certificates.draft(source, snapshot.certificates)
                await publish.compile(snapshot)
                index = await publish.index(self.current.index)
            except BaseException:
                for route in publish.fresh:
                    self._compiler.release(route)
                raise
            publish.add(certificates.statuses)
            self._sources[source] = publish.after
            self.certificates.use(source, certificates)
            self._swap(index, publish.fresh, publish.gone)
            applied = Applied(self.current.number, publish.after.statuses)
        log_refused(publish.refused, source, before.statuses)
        if self._on_applied is not None:
            self._on_applied(applied)
        return applied

    async def compile_again(
        self, registry: Registry, protocols: Mapping[str, Any], before_use: Callable[[], Awaitable[None]]
    ) -> Applied:
        """Compiles all that is published with `registry` and the settings of each wire protocol. Returns once new
        requests run on it; what runs stays on what it runs on.

        Things that other code made keep being shared. Raises `SettingsError` if a route cannot be compiled that could
        be before, and what `before_use` raises, which is called when all is compiled; everything stays as it was then.
        """
        async with self._lock:
            code = self._compiler.code
            self._compiler.code = registry, protocols
            publishes: dict[str, Publish] = {}
            index = self.current.index
            try:
                for source, published in self._sources.items():
                    if published.snapshot is None:
                        continue
                    publish = publishes[source] = Publish(self._compiler, source, published, anew=True)
                    await publish.compile(published.snapshot)
                    if publish.spoiled is not None:
                        status, fault = publish.spoiled
                        raise SettingsError(f"route {status.name}: {status.error}") from fault
                    publish.add(published.others)
                    index = await publish.index(index)
                await before_use()
            except BaseException:
                self._compiler.code = code
                for publish in publishes.values():
                    for route in publish.fresh:
                        self._compiler.release(route)
                raise
            self._sources.update({source: publish.after for source, publish in publishes.items()})
            fresh = [route for publish in publishes.values() for route in publish.fresh]
            self._swap(index, fresh, [route for publish in publishes.values() for route in publish.gone])
            applied = Applied(self.current.number, self.statuses)
        if self._on_applied is not None:
            self._on_applied(applied)
        return applied

    def _swap(self, index: Index[CompiledRoute], fresh: Iterable[CompiledRoute], gone: Iterable[CompiledRoute]) -> None:
        old = self.current
        for route in fresh:
            route.since = old.number + 1
        self.current = Generation(old.number + 1, index, self._sources.values(), self._drained)
        self.draining.add(old)
        old.retire(gone)

    def _drained(self, generation: Generation) -> None:
        """Gives back the routes that no generation holds any more; the newest that holds the others takes them over."""
        self.draining.discard(generation)
        older = (one for one in self.draining if one.number < generation.number)
        heir = max(older, key=attrgetter("number"), default=None)
        for route in generation.gone:
            if heir is not None and route.since <= heir.number:
                heir.gone.append(route)
            else:
                self._compiler.release(route)

    def close(self) -> None:
        """Gives back everything; nothing may run any more."""
        self._sources.clear()
        self._swap(Index(), (), self.current.routes)
        for generation in list(self.draining):
            generation.leases = 0
            generation.retire(())
