"""One publish on its way to the table. It costs what changed and a comparison of the rest, in slices between which the
event loop has its turn."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from time import monotonic

import anyio.lowlevel

from daemun.errors import DaemunError, SettingsError
from daemun.routing.compile import Compiler
from daemun.routing.compiled import CompiledRoute, apart, used_backends
from daemun.routing.index import Index
from daemun.routing.order import new_positions
from daemun.routing.spec import BackendSpec, ObjectStatus, RouteSpec, Snapshot

__all__ = ["Publish", "Published"]

log = logging.getLogger("daemun.routing")

_SLICE_SECONDS = 0.002
_PART = 64
"""Objects that are compared before the clock is looked at."""


class _Row:
    """A route that is in use: what became of its last publish, and its position among those of its source."""

    __slots__ = ("position", "route", "settled", "spec", "status")

    def __init__(self, route: CompiledRoute, status: ObjectStatus, position: int | None) -> None:
        self.route = route
        self.spec = route.spec
        self.settled = not status.error
        self.status = status
        self.position = position


class Published:
    """What a source published last, and what became of it."""

    __slots__ = ("backend_statuses", "backends", "number", "others", "rows", "snapshot", "statuses", "unfit")

    def __init__(self, number: int) -> None:
        self.number = number
        """Of the source: on equal priority the lower wins."""
        self.snapshot: Snapshot | None = None
        """What it was; None: nothing yet."""
        self.rows: dict[str, _Row] = {}
        self.backends: dict[str, BackendSpec] = {}
        self.unfit: set[str] = set()
        """Back ends whose endpoints cannot be used; those from before are."""
        self.backend_statuses: dict[str, ObjectStatus] = {}
        self.others: tuple[ObjectStatus, ...] = ()
        """What became of objects that are neither route nor back end, and that the source did not refuse itself."""
        self.statuses: tuple[ObjectStatus, ...] = ()
        """What became of every object."""

    @property
    def routes(self) -> list[CompiledRoute]:
        """Those in use, in the order of the source."""
        return [row.route for row in self.rows.values()]


class Publish:
    """What a source publishes now, compared with what it published before."""

    def __init__(self, compiler: Compiler, source: str, before: Published, *, anew: bool = False) -> None:
        """With `anew` every route is compiled, also one that is what it was: by code that is not."""
        self.after = Published(before.number)
        self.refused: list[ObjectStatus] = []
        self.fresh: list[CompiledRoute] = []
        """Routes that were compiled for it."""
        self.gone: list[CompiledRoute] = []
        """Routes that are in use no more."""
        self.spoiled: tuple[ObjectStatus, Exception] | None = None
        """With `anew`, the first route in use that could be compiled before and cannot now."""
        self._before = before
        self._anew_all = anew
        self._touched: set[str] = set()
        """Names of routes that do not keep their row."""
        self._compiler = compiler
        self._source = source
        self._slice_start = monotonic()

    async def compile(self, snapshot: Snapshot) -> None:
        """Fills `after`: compiles each route that is new, or changed, or whose back ends are, and keeps the others."""
        self.after.snapshot = snapshot
        self.refused += snapshot.refused
        backend_statuses, changed = await self._backends(snapshot.backends)
        look_closer = bool(changed) or self._compiler.broken
        before, rows = self._before.rows, self.after.rows
        statuses = list(snapshot.refused)
        for start in range(0, len(snapshot.routes), _PART):
            for spec in snapshot.routes[start : start + _PART]:
                row = before.get(spec.name)
                if (
                    row is None
                    or (row.spec is not spec and row.spec != spec)
                    or not row.settled
                    or spec.name in rows
                    or (look_closer and _is_stale(row.route, changed))
                    or self._anew_all
                ):
                    statuses.append(await self._anew(spec, row))
                    await self._cut()
                else:
                    rows[spec.name] = row
                    statuses.append(row.status)
            await self._cut()
        self.after.statuses = (*statuses, *backend_statuses)

    def add(self, statuses: Sequence[ObjectStatus]) -> None:
        """Takes over what became of other objects of the snapshot."""
        self.after.others = (*self.after.others, *statuses)
        self.after.statuses = (*self.after.statuses, *statuses)
        self.refused += (status for status in statuses if status.error)

    async def index(self, index: Index[CompiledRoute]) -> Index[CompiledRoute]:
        """`index` with what is new and without what is gone."""
        before, after = self._before.rows, self.after.rows
        rows = list(after.values())
        await self._cut(after_seconds=0)  # the numbering is one piece
        for place, position in new_positions([row.position for row in rows]).items():
            row = rows[place]
            after[row.route.spec.name] = _Row(row.route, row.status, position)
            self._touched.add(row.route.spec.name)
        await self._cut()
        new = {after[name].route: after[name] for name in self._touched}
        out = [before[name].route for name in self._touched if name in before]
        if len(after) - len(new) + len(out) < len(before):
            out += [before[name].route for name in before.keys() - after.keys()]
        self.gone = [route for route in out if route not in new]
        draft = index.draft()
        for route in out:
            draft.remove(route.spec, route)
            await self._cut()
        for route, row in new.items():
            draft.add((-route.spec.priority, self.after.number, row.position or 0), route.spec, route)
            await self._cut()
        return draft

    async def _backends(self, backends: tuple[BackendSpec, ...]) -> tuple[list[ObjectStatus], set[str]]:
        """What became of each, and the names of those that are new, gone, or not what they were but for endpoints."""
        before, after = self._before, self.after
        statuses: list[ObjectStatus] = []
        changed: set[str] = set()
        for start in range(0, len(backends), _PART):
            part = backends[start : start + _PART]
            names = [backend.name for backend in part]
            old = tuple(map(before.backends.get, names))
            if old == part and not before.unfit:
                same = [before.backend_statuses[name] for name in names]
            else:
                changed.update(two.name for one, two in zip(old, part, strict=True) if not self._fits(one, two))
                same = [ObjectStatus("backend", backend.name, backend.origin) for backend in part]
            after.backends.update(zip(names, part, strict=True))
            after.backend_statuses.update(zip(names, same, strict=True))
            statuses += same
            await self._cut()
        return statuses, changed.union(before.backends.keys() - after.backends.keys())

    def _fits(self, old: BackendSpec | None, new: BackendSpec) -> bool:
        """Whether routes that use `old` can go on with `new` as they are: what moved is seen in the live view."""
        if old is None or (old is not new and old != new and apart(old) != apart(new)):
            return False
        if old.endpoints == new.endpoints and new.name not in self._before.unfit:
            return True
        if self._compiler.move(self._source, new):
            return True
        self.after.unfit.add(new.name)
        return False

    async def _anew(self, spec: RouteSpec, row: _Row | None) -> ObjectStatus:
        """Compiles a route unless it proves to be what it was; without success its last good version stays."""
        if spec.name in self.after.rows:
            return self._status(spec, "another route has this name")
        words = ""
        fault: Exception | None = None
        route, position = (row.route, row.position) if row is not None else (None, None)
        try:
            used = used_backends(spec, self.after.backends)
            if (
                route is None
                or route.spec != spec
                or route.backends != tuple(map(apart, used))
                or route.broken
                or self._anew_all
                or not all(self._compiler.move(self._source, backend) for backend in used)
            ):
                route = await self._compiler.compile(spec, self._source, self.after.backends)
                position = None
                self.fresh.append(route)
        except DaemunError as error:
            words, fault = str(error), error
        except Exception as error:
            log.exception("route %s cannot be compiled: the fault of %s", spec.name, self._compiler.blame.of(error))
            words, fault = f"{type(error).__name__}: {error}", error
        if fault is not None and self._anew_all and row is not None:
            if row.settled:
                self._note_spoiled(spec, fault)
            else:
                route = await self._last_good(row)
                position = None
        if words and route is not None:
            words += "; the version from before stays in use"
        status = self._status(spec, words)
        if route is not None:
            self.after.rows[spec.name] = _Row(route, status, position)
            self._touched.add(spec.name)
        return status

    async def _last_good(self, row: _Row) -> CompiledRoute:
        """The last good version of a route, compiled anew; as it is if its back ends are gone."""
        try:
            used_backends(row.spec, self.after.backends)
        except SettingsError:
            return row.route
        try:
            route = await self._compiler.compile(row.spec, self._source, self.after.backends)
        except Exception as error:
            self._note_spoiled(row.spec, error)
            return row.route
        self.fresh.append(route)
        return route

    def _note_spoiled(self, spec: RouteSpec, fault: Exception) -> None:
        words = str(fault) if isinstance(fault, DaemunError) else f"{type(fault).__name__}: {fault}"
        self.spoiled = self.spoiled or (ObjectStatus("route", spec.name, spec.origin, words), fault)

    def _status(self, spec: RouteSpec, words: str) -> ObjectStatus:
        status = ObjectStatus("route", spec.name, spec.origin, words)
        if words:
            self.refused.append(status)
        return status

    async def _cut(self, after_seconds: float = _SLICE_SECONDS) -> None:
        """Gives the event loop its turn if it has waited for that long."""
        if monotonic() > self._slice_start + after_seconds:
            await anyio.lowlevel.checkpoint()
            self._slice_start = monotonic()


def _is_stale(route: CompiledRoute, changed: set[str]) -> bool:
    """Whether it must be looked at although its own spec is what it was."""
    for backend in route.backends:
        if backend.name in changed:
            return True
    return route.broken
