"""Everything put together: plugins, sources, table, listeners; start, serve, reload, drain, stop."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from time import monotonic
from typing import Any

import anyio
import anyio.lowlevel
import pluggy
from anyio.abc import TaskGroup

from daemun.downstream.drain import Connections
from daemun.downstream.exchange import Services
from daemun.downstream.listener import Listener, bind, raise_descriptor_limit
from daemun.errors import DaemunError, SettingsError, ungrouped
from daemun.extend.observe import Observer, ObserverContext
from daemun.extend.registry import Registry
from daemun.extend.types import Applied, Source, SourceContext
from daemun.process.info import GatewayInfo, ListenerInfo
from daemun.process.loop import current_loop
from daemun.process.view import View
from daemun.routing.compile import Compiler
from daemun.routing.shared import Shared
from daemun.routing.spec import Snapshot
from daemun.routing.table import Table
from daemun.settings import Settings, convert
from daemun.transport.timers import Timers

__all__ = ["Gateway", "Parts", "notify", "open_gateway", "open_table"]

log = logging.getLogger("daemun")

_FIRST_SNAPSHOT_SECONDS = 10.0
_CLOSING_ROUNDS = 3
"""Rounds of the event loop in which aborted transports close their sockets."""


class Gateway:
    """A gateway that serves. Use `open_gateway` to have one."""

    def __init__(self, info: GatewayInfo, parts: Parts) -> None:
        self.info = info
        self.table = parts.table
        self.connections = parts.connections
        self.drain_scope = anyio.CancelScope()
        self._parts = parts

    def cut_off(self) -> None:
        """Ends a drain that waits for its grace: what still runs is cut off."""
        self.drain_scope.cancel()

    def reload(self) -> None:
        """Tells every source to read everything again."""
        self._parts.reload()

    def reopen(self) -> None:
        """Tells every observer to open its files anew."""
        for observer in self._parts.observers:
            try:
                observer.reopen()
            except Exception:
                log.exception("an observer failed to open its files anew")


@asynccontextmanager
async def open_gateway(settings: Settings, manager: pluggy.PluginManager, base_dir: Path) -> AsyncIterator[Gateway]:
    """A gateway that serves until the context is left; then it drains as `settings.drain` says, and stops.

    Relative paths start from `base_dir`. Raises `SettingsError` or `PluginError` if it cannot start; nothing stays
    open then.
    """
    since = monotonic()
    raise_descriptor_limit()
    async with open_table(settings, manager, base_dir) as parts:
        connections, registry = parts.connections, parts.registry
        services = Services(
            parts.table, connections, parts.timers, list(registry.dialects), parts.observers, registry.packages()
        )
        listeners = _listeners(settings, parts, services, connections, base_dir)
        info = GatewayInfo(
            version=version("daemun"),
            listeners=tuple(
                ListenerInfo(listener.settings.name, listener.url, listener.settings.protocols)
                for listener in listeners
            ),
            plugins=tuple(sorted(name for name, _ in manager.list_name_plugin())),
            routes=len(parts.table.current.routes),
            refused=sum(1 for status in parts.table.statuses if status.error),
            event_loop=current_loop(),
            start_seconds=monotonic() - since,
        )
        try:
            async with anyio.create_task_group() as serving, anyio.create_task_group() as accepting:
                for listener in listeners:
                    accepting.start_soon(listener.accept, serving)
                notify(manager, "daemun_started", info=info)
                gateway = Gateway(info, parts)
                try:
                    yield gateway
                finally:
                    with anyio.CancelScope(shield=True):
                        await _drain(settings, manager, gateway, accepting)
                    serving.cancel_scope.cancel()
        finally:
            for listener in listeners:
                listener.close()
    notify(manager, "daemun_stopped")


async def _drain(
    settings: Settings,
    manager: pluggy.PluginManager,
    gateway: Gateway,
    accepting: TaskGroup,
) -> None:
    notify(manager, "daemun_draining", reason="stop")
    with gateway.drain_scope:
        try:
            await anyio.sleep(settings.drain.delay_seconds)
        finally:
            accepting.cancel_scope.cancel()
        await gateway.connections.drain(settings.drain.grace_seconds)
    left = len(gateway.connections)
    if left:
        log.warning("%d connections were cut off after %g s", left, settings.drain.grace_seconds)


def _listeners(
    settings: Settings, parts: Parts, services: Services, connections: Connections, base_dir: Path
) -> list[Listener]:
    listeners: list[Listener] = []
    try:
        for one in settings.listeners:
            protocols = [parts.registry.protocol(name) for name in one.protocols]
            sock = bind(one)
            try:
                listeners.append(Listener(one, sock, protocols, parts.protocols, services, connections, base_dir))
            except BaseException:
                sock.close()
                raise
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    return listeners


class Parts:
    """What serves requests, without sockets: registry, table, sources. `daemun check` and `explain` use it too."""

    def __init__(self, registry: Registry, protocols: Mapping[str, Any], timers: Timers, table: Table) -> None:
        self.registry = registry
        self.protocols = protocols
        self.timers = timers
        self.table = table
        self.connections = Connections()
        self.sources: dict[str, Source] = {}
        self.observers: list[Observer] = []

    def reload(self) -> None:
        """Tells every source to read everything again."""
        for name, source in self.sources.items():
            try:
                source.reload()
            except Exception:
                log.exception("source %s failed to reload", name)


@asynccontextmanager
async def open_table(settings: Settings, manager: pluggy.PluginManager, base_dir: Path) -> AsyncIterator[Parts]:
    """The table of `settings`, filled by its sources, until the context is left."""
    registry = Registry(manager)
    _check_listeners(settings, registry)
    protocols = _protocol_settings(settings, registry)
    timers = Timers()
    with ungrouped():
        async with anyio.create_task_group() as tasks:
            shared = Shared(tasks)
            compiler = Compiler(registry, shared, protocols, base_dir, timers)
            table = Table(compiler, lambda applied: notify(manager, "daemun_applied", applied=applied))
            parts = Parts(registry, protocols, timers, table)
            view = View(table, compiler, parts.connections)
            tasks.start_soon(timers.run)
            try:
                async with AsyncExitStack() as stack:
                    await _open_observers(settings, registry, stack, parts, view, base_dir)
                    async with anyio.create_task_group() as running:
                        await _run_sources(settings, registry, stack, parts, base_dir, running)
                        yield parts
                        running.cancel_scope.cancel()
            finally:
                with anyio.CancelScope(shield=True):
                    table.close()
                    await shared.closed()
                    for _ in range(_CLOSING_ROUNDS):
                        await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()


def _check_listeners(settings: Settings, registry: Registry) -> None:
    names: set[str] = set()
    for one in settings.listeners:
        if one.name in names:
            raise SettingsError(f"two listeners are named {one.name!r}", path="$.listeners")
        names.add(one.name)
        for name in one.protocols:
            registry.protocol(name)


def _protocol_settings(settings: Settings, registry: Registry) -> dict[str, Any]:
    for name in settings.protocols:
        registry.protocol(name)
    return {
        protocol.name: convert(
            settings.protocols.get(protocol.name, {}), protocol.settings, path=f"$.protocols.{protocol.name}"
        )
        for protocol in registry.protocols
    }


def _typed(raw: dict[str, Any], path: str) -> tuple[str, dict[str, Any]]:
    rest = dict(raw)
    name = rest.pop("type", None)
    if not isinstance(name, str):
        raise SettingsError("`type` is missing or no string", path=path)
    return name, rest


async def _open_observers(
    settings: Settings, registry: Registry, stack: AsyncExitStack, parts: Parts, view: View, base_dir: Path
) -> None:
    for position, raw in enumerate(settings.observers):
        path = f"$.observers[{position}]"
        name, rest = _typed(raw, path)
        kind = registry.observers.get(name)
        decoded = convert(rest, kind.settings, path=path)
        context = ObserverContext(name=name, base_dir=base_dir, gateway=view)
        try:
            with ungrouped():
                parts.observers.append(await stack.enter_async_context(kind.build(decoded, context)))
        except DaemunError:
            raise
        except Exception as error:
            raise SettingsError(f"observer {name} cannot be opened: {error}", path=path) from error


async def _run_sources(
    settings: Settings,
    registry: Registry,
    stack: AsyncExitStack,
    parts: Parts,
    base_dir: Path,
    tasks: TaskGroup,
) -> None:
    firsts: list[anyio.Event] = []
    for position, raw in enumerate(settings.sources):
        path = f"$.sources[{position}]"
        kind_name, rest = _typed(raw, path)
        kind = registry.sources.get(kind_name)
        name = kind_name if kind_name not in parts.sources else f"{kind_name}-{position}"
        context = SourceContext(name=name, base_dir=base_dir)
        try:
            with ungrouped():
                source = await stack.enter_async_context(kind.build(convert(rest, kind.settings, path=path), context))
        except DaemunError:
            raise
        except Exception as error:
            raise SettingsError(f"source {name} cannot be opened: {error}", path=path) from error
        parts.sources[name] = source
        parts.table.add_source(name)
        first = anyio.Event()
        firsts.append(first)
        tasks.start_soon(_run_source, name, source, parts.table, first)
    with anyio.move_on_after(_FIRST_SNAPSHOT_SECONDS):
        for first in firsts:
            await first.wait()


async def _run_source(name: str, source: Source, table: Table, first: anyio.Event) -> None:
    async def publish(snapshot: Snapshot) -> Applied:
        applied = await table.apply(name, snapshot)
        first.set()
        return applied

    try:
        await source.run(publish)
    except Exception:
        log.exception("source %s failed; what it published last stays in use", name)
    finally:
        first.set()


def notify(manager: pluggy.PluginManager, hook: str, **arguments: Any) -> None:
    """Calls every implementation of a notice; one that fails is logged, and the others are called all the same."""
    for implementation in getattr(manager.hook, hook).get_hookimpls():
        try:
            implementation.function(*(arguments[name] for name in implementation.argnames))
        except Exception:
            log.exception("plugin %s failed in %s", implementation.plugin_name, hook)
