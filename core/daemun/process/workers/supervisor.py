"""The gateway with several workers: binds, runs the sources, keeps workers, reloads, drains."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from socket import socket
from time import monotonic
from typing import Any

import anyio
import pluggy
from anyio.abc import TaskGroup
from anyio.to_thread import run_sync
from msgspec.structs import replace

from daemun.errors import DaemunError, SettingsError, ungrouped
from daemun.extend.culprit import Blame, Thing
from daemun.extend.registry import Registry
from daemun.process.info import GatewayInfo
from daemun.process.notices import notify
from daemun.process.parts import check_listeners
from daemun.process.workers.activations import Activations
from daemun.process.workers.balance import Board
from daemun.process.workers.crew import Crew, Edition
from daemun.process.workers.feed import Feed
from daemun.process.workers.forking import Forking
from daemun.process.workers.frames import Reopen, encode
from daemun.process.workers.running_sources import RunningSources
from daemun.process.workers.sockets import Sockets
from daemun.process.workers.zygote import MAX_DESCRIPTORS
from daemun.routing.refused import log_refused
from daemun.settings import Settings

__all__ = ["Supervisor", "count_workers", "open_supervisor"]

log = logging.getLogger("daemun.workers")

_END_SECONDS = 5.0
"""What a worker gets to end, beyond its grace and what its plugins have to clean up."""
_PATIENCE_SECONDS = 30.0
"""How long a reload waits for sources, whatever their own patience is: another reload may be waiting."""
_GONE_SECONDS = 1.0
"""How long it is waited for that workers which were killed are gone. A start that was cut off hears of none."""
_MAX_LISTENERS = MAX_DESCRIPTORS - 2
"""Their sockets are handed to a worker in one message, with its channel and the board."""


def count_workers(settings: Settings) -> int:
    """How many workers the settings ask for; `auto` is one for each CPU that the process may use."""
    return settings.workers if isinstance(settings.workers, int) else len(os.sched_getaffinity(0))


class Supervisor:
    """A gateway that serves with several workers. Use `open_supervisor` to have one."""

    def __init__(
        self,
        settings: Settings,
        manager: pluggy.PluginManager,
        base_dir: Path,
        reread: Callable[[], Settings] | None,
        forking: Forking,
        tasks: TaskGroup,
        shared_dir: Path,
    ) -> None:
        self.info: GatewayInfo
        self.on_served: Callable[[], None] | None = None
        """Never called: workers know it, each for itself."""
        self._manager = manager
        self._base_dir = base_dir
        self._reread = reread
        self._tasks = tasks
        self._registry = Registry(manager)
        self._sockets = Sockets()
        self._activations = Activations(self._registry, base_dir, tasks)
        self._sources = RunningSources()
        self._edition = Edition(settings, count_workers(settings), self._new_feed())
        self._stamps = _certificate_stamps(settings, base_dir)
        self._board = Board()
        self._crew = Crew(
            self._edition, forking, self._sockets, self._activations, tasks, self._board, base_dir, shared_dir
        )
        self._reload_wanted = anyio.Event()
        self._reloading = anyio.CancelScope()

    def _new_feed(self) -> Feed:
        return Feed(lambda applied: notify(self._manager, "daemun_applied", applied=applied))

    async def start(self, since: float) -> None:
        """Everything up to the first accepted connection. Raises the error of a worker or source that cannot."""
        edition, crew = self._edition, self._crew
        self._check(edition.settings)
        self._sockets.take(edition.settings)
        self._sockets.grow(edition.settings, edition.count)
        members = [await crew.fork(index, edition) for index in range(edition.count)]
        for member in members:
            await member.prepared()
            await edition.feed.join(member)
        self._start(self._sources, edition)
        await self._sources.begun()
        infos = [await member.opened() for member in members]
        for member in members:
            crew.put(member)
        self.info = replace(
            infos[0],
            refused=sum(1 for objects in edition.feed.statuses.values() for status in objects if status.error),
            workers=tuple(member.pid for member in members),
            start_seconds=monotonic() - since,
        )
        self._tasks.start_soon(self._reload_when_wanted)
        notify(self._manager, "daemun_started", info=self.info)

    def _start(self, sources: RunningSources, edition: Edition) -> None:
        self._tasks.start_soon(
            sources.run, edition.settings, edition.count, self._registry, self._base_dir, edition.feed
        )

    async def stop(self) -> None:
        """Drains, and returns once no worker is left."""
        self._reloading.cancel()
        notify(self._manager, "daemun_draining", reason="stop")
        drain = self._edition.settings.drain
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._close_sockets, drain.delay_seconds)
            await self._crew.stop(drain.delay_seconds + drain.grace_seconds + 2 * drain.close_seconds + _END_SECONDS)
            tasks.cancel_scope.cancel()

    async def close(self) -> None:
        """Closes what is left, also after a start that failed."""
        self._sockets.close()
        with anyio.move_on_after(_GONE_SECONDS):
            await self._crew.kill()
        self._sources.end()
        await self._activations.close(self._edition.settings.drain.close_seconds)
        self._board.close()

    async def _close_sockets(self, delay_seconds: float) -> None:
        """As soon as no worker accepts any more, connections are refused and do not wait for nobody."""
        await anyio.sleep(delay_seconds)
        self._sockets.close()

    @property
    def blame(self) -> Blame:
        """Who a fault is named after."""
        return self._registry.blame

    @property
    def stop_seconds(self) -> float:
        """How long it may take to stop."""
        drain = self._edition.settings.drain
        return drain.delay_seconds + drain.grace_seconds + 4 * drain.close_seconds + 2 * _END_SECONDS

    def things(self, route: str) -> Sequence[Thing]:
        """Nothing: routes run in workers."""
        return ()

    def cut_off(self) -> None:
        """Ends a drain that waits for its grace: what still runs is cut off."""
        for member in self._crew.alive:
            member.cut_off()

    def reopen(self) -> None:
        """Tells the observers of every worker to open their files anew."""
        for member in self._crew.alive:
            member.post(encode(Reopen()))

    def reload(self) -> None:
        """Reads the settings again soon; workers are replaced one after the other if they changed."""
        self._reload_wanted.set()

    async def _reload_when_wanted(self) -> None:
        with self._reloading:
            while True:
                await self._reload_wanted.wait()
                self._reload_wanted = anyio.Event()
                try:
                    await self._reload()
                except (DaemunError, OSError) as error:
                    log.error("not reloaded, everything stays as it was: %s", error)
                except Exception:
                    log.exception("a reload failed")

    async def _reload(self) -> None:
        old = self._edition.settings
        settings = old if self._reread is None else await run_sync(self._reread)
        stamps = _certificate_stamps(settings, self._base_dir)
        if settings == old and stamps == self._stamps:
            self._sources.sources.reload()
            return
        if settings.plugins != old.plugins:
            raise SettingsError("plugins are loaded once; to use others, stop and start", path="$.plugins")
        self._check(settings)
        began = monotonic()
        await self._roll(settings)
        self._stamps = stamps
        log.info("settings reloaded: %d workers replaced in %.1f s", self._edition.count, monotonic() - began)

    async def _roll(self, settings: Settings) -> None:
        """Puts workers with other settings in the place of those that are there, one after the other. The first
        one shows whether the settings can be used: until it serves, nothing is given up."""
        crew, old, old_sources = self._crew, self._edition, self._sources
        count = count_workers(settings)
        same_sources = settings.sources == old.settings.sources and count == old.count
        feed = old.feed if same_sources else self._new_feed()
        sources = old_sources if same_sources else RunningSources()
        edition = Edition(settings, count, feed)
        new_sockets = self._sockets.take(settings)
        try:
            first = await crew.fork(0, edition)
            try:
                await first.prepared()
                log_refused(await feed.join(first))
                if not same_sources:
                    self._start(sources, edition)
                    with anyio.move_on_after(_PATIENCE_SECONDS) as waiting:
                        await sources.begun()
                    if waiting.cancelled_caught:
                        raise SettingsError(f"a source has published nothing after {_PATIENCE_SECONDS:g} s")
                await first.opened()
            except BaseException:
                first.child.kill()
                if not same_sources:
                    sources.end()
                raise
        except BaseException:
            self._sockets.drop(new_sockets)
            raise
        self._edition = crew.edition = edition
        self._sources = sources
        crew.put(first)
        try:
            self._sockets.grow(settings, edition.count)
        except SettingsError as error:
            log.error("a listener has fewer sockets than there are workers: %s", error)
        for index in range(1, edition.count):
            member = await crew.fork(index, edition)
            try:
                await crew.enlist(member)
            except DaemunError as error:
                log.error("worker %d: %s", index, error)
            crew.put(member)
        crew.close_slots(edition.count)
        self._sockets.keep_only(settings)
        (old_sources.end if not same_sources else sources.sources.reload)()

    def _check(self, settings: Settings) -> None:
        if not settings.listeners:
            raise SettingsError("no listener: nothing would be served", path="$.listeners")
        if len(settings.listeners) > _MAX_LISTENERS:
            raise SettingsError(
                f"{len(settings.listeners)} are too many for several workers (accepted: {_MAX_LISTENERS})",
                path="$.listeners",
            )
        check_listeners(settings, self._registry)


@asynccontextmanager
async def open_supervisor(
    settings: Settings,
    manager: pluggy.PluginManager,
    base_dir: Path,
    zygote: tuple[socket, int],
    shared_dir: Path,
    reread: Callable[[], Settings] | None = None,
) -> AsyncIterator[Supervisor]:
    """A gateway with workers that serves until the context is left; then it drains, and stops.

    `zygote` is what `fork_zygote` returned; `shared_dir` is removed at the end; `reread` reads the settings file
    again. Raises `SettingsError` or `PluginError` if it cannot start; no process is left then.
    """
    since = monotonic()
    forking = Forking(*zygote, settings.plugins, shared_dir)
    try:
        with ungrouped():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(forking.run, tasks)
                supervisor = Supervisor(settings, manager, base_dir, reread, forking, tasks, shared_dir)
                try:
                    await supervisor.start(since)
                    try:
                        yield supervisor
                    finally:
                        with anyio.CancelScope(shield=True):
                            await supervisor.stop()
                finally:
                    with anyio.CancelScope(shield=True):
                        await supervisor.close()
                tasks.cancel_scope.cancel()
    finally:
        forking.close()
        with anyio.CancelScope(shield=True):
            await run_sync(lambda: shutil.rmtree(shared_dir, ignore_errors=True))
    notify(manager, "daemun_stopped")


def _certificate_stamps(settings: Settings, base_dir: Path) -> tuple[Any, ...]:
    """What shows that a certificate was renewed under the same name."""
    stamps: list[Any] = []
    for one in settings.listeners:
        if one.tls is None:
            continue
        for name in filter(None, (one.tls.certificate, one.tls.key, one.tls.client_ca)):
            try:
                found = (base_dir / name).stat()
            except OSError:
                continue
            stamps.append((one.name, name, found.st_mtime_ns, found.st_size, found.st_ino))
    return tuple(stamps)
