"""Everything put together: plugins, sources, table, listeners; start, serve, reload, drain, stop."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from socket import socket
from time import monotonic
from typing import Protocol

import anyio
import pluggy
from anyio.abc import TaskGroup

from daemun.downstream.listener import Listener, Turn, bind, raise_descriptor_limit
from daemun.downstream.negotiate import Spoken
from daemun.downstream.services import Services
from daemun.extend.culprit import Blame, Thing
from daemun.extend.registry import Registry
from daemun.process.info import GatewayInfo, ListenerInfo
from daemun.process.loop import current_loop
from daemun.process.memory import give_back_memory
from daemun.process.notices import notify
from daemun.process.parts import Parts, open_parts
from daemun.process.sources import open_sources
from daemun.settings import ListenerSettings, Settings
from daemun.transport.open import Dial, dial

__all__ = [
    "CUT_OFF_SECONDS",
    "Accepting",
    "Gateway",
    "lend_services",
    "open_gateway",
    "open_listeners",
    "open_table",
    "serving",
]

log = logging.getLogger("daemun")

CUT_OFF_SECONDS = 5.0
"""What exchanges get to end that were cut off."""


class Gateway:
    """A gateway that serves. Use `open_gateway` to have one."""

    def __init__(self, info: GatewayInfo, parts: Parts, listeners: Sequence[Accepting]) -> None:
        self.info = info
        self.parts = parts
        self.listeners = listeners
        self.table = parts.table
        self.connections = parts.connections
        self.drain_scope = anyio.CancelScope()
        self.stop_seconds = 0.0
        """How long a drain may take, with all that is cut off at its end."""
        self.on_served: Callable[[], None] | None = None
        """Called once no exchange is left."""

    @property
    def blame(self) -> Blame:
        """Who a fault is named after."""
        return self.parts.registry.blame

    def things(self, route: str) -> Sequence[Thing]:
        """What plugins brought that `route` uses, for logs."""
        return self.table.things(route)

    def cut_off(self) -> None:
        """Ends a drain that waits for its grace: what still runs is cut off."""
        self.drain_scope.cancel()

    def reload(self) -> None:
        """Tells every source to read everything again."""
        self.parts.sources.reload()

    def reopen(self) -> None:
        """Tells every observer to open its files anew."""
        for observer in self.parts.observers:
            try:
                observer.reopen()
            except Exception as error:
                culprit = self.blame.of(error, (), observer)
                log.error("an observer failed to open its files anew: %s raised %r", culprit, error, exc_info=error)


class Accepting(Protocol):
    """Where connections come from; a `Listener` has them from a socket."""

    @property
    def settings(self) -> ListenerSettings:
        """As they stand in the settings file."""
        ...

    @property
    def url(self) -> str:
        """Where it listens, for people."""
        ...

    def speak(self, spoken: Spoken) -> None:
        """Has connections that come from now on speak it."""
        ...

    async def accept(self, tasks: TaskGroup) -> None:
        """Accepts until cancelled; each connection is served in a task of `tasks`."""
        ...

    def close(self) -> None:
        """Accepts no more. Idempotent."""
        ...


@asynccontextmanager
async def open_gateway(
    settings: Settings,
    manager: pluggy.PluginManager,
    base_dir: Path,
    *,
    listen: Callable[[Settings, Parts, Path], Sequence[Accepting]] | None = None,
    dial: Dial = dial,
    developed: Collection[str] = (),
) -> AsyncIterator[Gateway]:
    """A gateway that serves until the context is left; then it drains as `settings.drain` says, and stops.

    Relative paths start from `base_dir`. `listen` and `dial` are given where there is no network; `developed` names
    plugins whose code may change (`process/dev/`). Raises `SettingsError` or `PluginError` if it cannot start; nothing
    stays open then.
    """
    since = monotonic()
    raise_descriptor_limit()
    async with open_table(settings, manager, base_dir, dial=dial, developed=developed) as parts:
        listeners = (listen or open_listeners)(settings, parts, base_dir)
        async with serving(settings, manager, parts, listeners, since) as gateway:
            notify(parts.registry.manager, "daemun_started", info=gateway.info)
            try:
                yield gateway
            finally:
                notify(parts.registry.manager, "daemun_draining", reason="stop")
    notify(parts.registry.manager, "daemun_stopped")


@asynccontextmanager
async def open_table(
    settings: Settings,
    manager: pluggy.PluginManager,
    base_dir: Path,
    *,
    observed: bool = True,
    dial: Dial = dial,
    developed: Collection[str] = (),
) -> AsyncIterator[Parts]:
    """The table of `settings`, filled by its sources, until the context is left.

    `observed` false: nothing is to be served. No observer is opened, and no source waited for longer than usual.
    """
    registry = Registry(manager, developed)
    opened = open_parts(
        settings,
        registry,
        base_dir,
        on_applied=lambda applied: notify(parts.registry.manager, "daemun_applied", applied=applied),
        observed=observed,
        dial=dial,
    )
    async with (
        opened as parts,
        open_sources(settings, registry, base_dir, parts.table.apply, serving=observed) as parts.sources,
    ):
        yield parts


def lend_services(parts: Parts) -> Services:
    """What all connections of this process share."""
    if parts.services is None:
        registry = parts.registry
        parts.services = Services(
            parts.table,
            parts.connections,
            parts.timers,
            list(registry.dialects),
            parts.observers,
            registry.blame,
            parts.shared,
        )
    return parts.services


def open_listeners(
    settings: Settings,
    parts: Parts,
    base_dir: Path,
    lent: Mapping[str, Sequence[tuple[socket, Turn | None]]] | None = None,
) -> list[Listener]:
    """The listeners of `settings`, which do not accept yet.

    `lent` are sockets that the supervisor bound, by the name of their listener, each with who says when to accept
    if it is shared; None: they are bound now. Raises `SettingsError` and closes all if one cannot be bound or its
    certificate cannot be used.
    """
    registry = parts.registry
    services = lend_services(parts)
    listeners: list[Listener] = []
    try:
        for one in settings.listeners:
            spoken = Spoken(one.name, registry.spoken(one.protocols), parts.protocols)
            for sock, turn in [(bind(one), None)] if lent is None else lent[one.name]:
                try:
                    listener = Listener(one, sock, spoken, services, parts.connections, base_dir, turn=turn)
                except BaseException:
                    sock.close()
                    raise
                listeners.append(listener)
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    return listeners


@asynccontextmanager
async def serving(
    settings: Settings,
    manager: pluggy.PluginManager,
    parts: Parts,
    listeners: Sequence[Accepting],
    since: float,
    *,
    linger_seconds: float = 0.0,
) -> AsyncIterator[Gateway]:
    """Accepts on `listeners` until the context is left; then drains, and closes them.

    `linger_seconds` is what a connection that was accepted last gets for its first request, and then what an idle
    one gets for a last request: only after it idle ones are closed.
    """
    urls = {listener.settings.name: listener.url for listener in listeners}
    info = GatewayInfo(
        version=version("daemun"),
        listeners=tuple(
            ListenerInfo(
                one.name, urls[one.name], tuple(spoken.name for spoken in parts.registry.spoken(one.protocols))
            )
            for one in settings.listeners
        ),
        plugins=tuple(sorted(name for name, _ in manager.list_name_plugin())),
        routes=len(parts.table.current.routes),
        refused=sum(1 for status in parts.table.statuses if status.error),
        event_loop=current_loop(),
        start_seconds=monotonic() - since,
    )
    try:
        async with anyio.create_task_group() as tasks, anyio.create_task_group() as accepting:
            ended = [anyio.Event() for _ in listeners]
            for listener, end in zip(listeners, ended, strict=True):
                accepting.start_soon(_accept, listener, tasks, end)
            gateway = Gateway(info, parts, listeners)
            drain = settings.drain
            gateway.stop_seconds = drain.delay_seconds + drain.grace_seconds + 2 * linger_seconds + CUT_OFF_SECONDS
            tasks.start_soon(give_back_memory, lambda: parts.table.leases)
            try:
                yield gateway
            finally:
                with anyio.CancelScope(shield=True):
                    await _drain(settings, gateway, accepting, ended, linger_seconds)
                tasks.cancel_scope.cancel()
        if gateway.on_served is not None:
            gateway.on_served()
    finally:
        for listener in listeners:
            listener.close()


async def _accept(listener: Accepting, tasks: TaskGroup, ended: anyio.Event) -> None:
    try:
        await listener.accept(tasks)
    finally:
        ended.set()


async def _drain(
    settings: Settings, gateway: Gateway, accepting: TaskGroup, ended: Sequence[anyio.Event], linger_seconds: float
) -> None:
    began = monotonic()
    with gateway.drain_scope:
        try:
            gateway.connections.leave()
            await anyio.sleep(settings.drain.delay_seconds)
        finally:
            accepting.cancel_scope.cancel()
        for end in ended:
            await end.wait()  # who was just woken accepts once more before it hears of its end
        with anyio.move_on_after(linger_seconds):
            await gateway.connections.below(1)
        gateway.connections.draining = True
        with anyio.move_on_after(linger_seconds):
            await gateway.connections.below(1)
        await gateway.connections.drain(settings.drain.grace_seconds)
    left = len(gateway.connections)
    if left:
        words = "connection was" if left == 1 else "connections were"
        log.warning("%d %s cut off after %.2g s", left, words, monotonic() - began)
