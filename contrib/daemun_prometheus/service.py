"""All parts put together: cells, observer, admin listener, and what tells the other workers."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import chain
from typing import NamedTuple
from zlib import crc32

import anyio
import anyio.to_thread
import msgspec
from anyio.abc import TaskGroup

from daemun import Observer, ObserverContext, SettingsError
from daemun_prometheus.admin import Admin, Listeners, bound, url
from daemun_prometheus.cells import Cells, MemoryCells
from daemun_prometheus.exposition import Exposition, Page
from daemun_prometheus.gauges import Gauges
from daemun_prometheus.observer import PrometheusObserver
from daemun_prometheus.settings import PrometheusSettings
from daemun_prometheus.shared import SharedCells
from daemun_prometheus.workers import Gauge, Workers

__all__ = ["open_service"]

log = logging.getLogger("daemun.prometheus")

_PUBLISH_SECONDS = 1.0
_BIND_AGAIN_SECONDS = 0.5


class _Team(NamedTuple):
    """This worker among the others."""

    cells: SharedCells
    workers: Workers


@asynccontextmanager
async def open_service(settings: PrometheusSettings, context: ObserverContext) -> AsyncIterator[Observer]:
    """An observer that counts and answers scrapes until the context is left. Raises `SettingsError`."""
    async with AsyncExitStack() as stack:
        team = _join(settings, context)
        if team is not None:
            stack.callback(team.cells.close)
        cells: Cells = MemoryCells() if team is None else team.cells
        observer = PrometheusObserver(settings, cells)
        scrapes = _Scrapes(settings, context, cells, team)
        admin = Admin(settings.path, scrapes.page, settings.idle_timeout_seconds)
        if team is not None:
            await scrapes.publish(team)
        listeners = await _listeners(settings, context, team, stack)
        tasks = await stack.enter_async_context(anyio.create_task_group())
        if team is not None:
            tasks.start_soon(_publish, scrapes, team)
        if listeners is None:
            tasks.start_soon(_serve_later, settings, context, admin)
        else:
            _serve(listeners, settings.path, context.worker.index, admin, tasks)
        yield observer
        tasks.cancel_scope.cancel()


def _join(settings: PrometheusSettings, context: ObserverContext) -> _Team | None:
    """The place among several workers. Workers with other settings (a rolling reload) count apart."""
    worker = context.worker
    if worker.shared_dir is None:
        return None
    stem = f"{context.name}-{crc32(msgspec.json.encode(settings)):08x}"
    workers = Workers(worker.shared_dir, stem)
    cells = SharedCells.open(worker.shared_dir, stem, worker.index, worker.count, workers.counted)
    workers.forget(cells.path)
    return _Team(cells, workers)


async def _listeners(
    settings: PrometheusSettings, context: ObserverContext, team: _Team | None, stack: AsyncExitStack
) -> Listeners | None:
    """What this worker accepts on; None: a predecessor still holds the address. Raises `SettingsError`."""
    if settings.bind.startswith("unix:") and context.worker.index != 0:
        return ()  # such an address can have one owner only
    binding = bound(context.name, settings.bind, context.base_dir, shared=team is not None)
    try:
        return await stack.enter_async_context(binding)
    except SettingsError as error:
        if team is None or not team.cells.succeeds:
            raise
        log.warning("%s; tried again until it is free", error)
        return None


async def _serve_later(settings: PrometheusSettings, context: ObserverContext, admin: Admin) -> None:
    """Serves as soon as the address is free, for ever."""
    while True:
        await anyio.sleep(_BIND_AGAIN_SECONDS)
        async with AsyncExitStack() as stack:
            try:
                binding = bound(context.name, settings.bind, context.base_dir, shared=True)
                listeners = await stack.enter_async_context(binding)
            except SettingsError:
                continue
            async with anyio.create_task_group() as tasks:
                _serve(listeners, settings.path, context.worker.index, admin, tasks)


def _serve(listeners: Listeners, path: str, index: int, admin: Admin, tasks: TaskGroup) -> None:
    for listener in listeners:
        tasks.start_soon(admin.serve, listener, tasks)
        log.log(logging.DEBUG if index else logging.INFO, "metrics at %s", url(listener, path))


async def _publish(scrapes: _Scrapes, team: _Team) -> None:
    """Tells the other workers about this one, for ever."""
    complained = False
    while True:
        await anyio.sleep(_PUBLISH_SECONDS)
        try:
            await scrapes.publish(team)
        except Exception:
            if not complained:
                complained = True
                log.exception("what is true of this worker cannot be told to the others")


class _Scrapes:
    """Pages of metrics, made in threads."""

    def __init__(
        self, settings: PrometheusSettings, context: ObserverContext, cells: Cells, team: _Team | None
    ) -> None:
        self._cells = cells
        self._team = team
        self._gauges = Gauges(context.gateway, context.worker.index, settings.max_label_sets)
        self._exposition = Exposition(settings)
        self._in_turn = anyio.Lock()
        self._threads = anyio.CapacityLimiter(2)  # its own: whoever keeps the others busy delays no scrape

    async def page(self, accept: str, gzip: bool) -> Page:
        """The page of now, summed over all workers."""
        async with self._in_turn:
            look, reading = self._gauges.look(), self._cells.reading()

            def work() -> Page:
                gauges: Iterable[Gauge] = self._gauges.gauges(look)
                if self._team is not None:
                    gauges = chain(gauges, self._team.workers.gauges_of_others(self._team.cells.path))
                return self._exposition.page(reading(), gauges, accept, gzip=gzip)

            return await anyio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._threads)

    async def publish(self, team: _Team) -> None:
        """Tells the other workers what is true of this one. Raises `OSError`."""
        look = self._gauges.look()

        def work() -> None:
            team.workers.publish(team.cells.path, list(self._gauges.gauges(look)))

        await anyio.to_thread.run_sync(work, limiter=self._threads)
