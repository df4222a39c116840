"""What serves requests in one process, without sockets and without sources."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel

from daemun.downstream.drain import Connections
from daemun.downstream.services import Services
from daemun.errors import SettingsError, ungrouped
from daemun.extend.observe import Observer, Worker
from daemun.extend.registry import Registry
from daemun.extend.sources import Applied
from daemun.process.observing import Observing
from daemun.process.sources import Sources, source_names
from daemun.process.view import View
from daemun.routing.compile import Compiler
from daemun.routing.shared import Shared
from daemun.routing.table import Table
from daemun.scopes import Scope
from daemun.settings import Settings
from daemun.strict import convert
from daemun.transport.open import Dial, dial
from daemun.transport.timers import Timers

__all__ = ["Parts", "check_listeners", "check_policies", "open_parts", "protocol_settings"]

_CLOSING_ROUNDS = 3
"""Rounds of the event loop in which aborted transports close their sockets."""


class Parts:
    """What serves requests: registry, table, observers. `daemun check` and `explain` use it too."""

    def __init__(
        self,
        registry: Registry,
        protocols: Mapping[str, Any],
        timers: Timers,
        table: Table,
        shared: Shared,
        connections: Connections,
        observing: Observing,
    ) -> None:
        self.registry = registry
        self.protocols = protocols
        self.timers = timers
        self.table = table
        self.shared = shared
        self.connections = connections
        self.observing = observing
        self.sources = Sources()
        self.services: Services | None = None
        """Once there are listeners."""

    @property
    def observers(self) -> list[Observer]:
        """Those in use."""
        return self.observing.observers


@asynccontextmanager
async def open_parts(
    settings: Settings,
    registry: Registry,
    base_dir: Path,
    *,
    worker: Worker = Worker(),  # noqa: B008 - frozen
    on_applied: Callable[[Applied], None] | None = None,
    observed: bool = True,
    dial: Dial = dial,
) -> AsyncIterator[Parts]:
    """An empty table with room for the sources of `settings`, and its observers, until the context is left.

    With `observed` false the settings of observers are checked, and none is opened: nothing is to be seen.
    """
    check_listeners(settings, registry)
    check_policies(settings, registry)
    protocols = protocol_settings(settings, registry)
    timers = Timers()
    with ungrouped():
        async with anyio.create_task_group() as tasks:
            shared = Shared(tasks, registry.blame)
            lasting = Shared(tasks, registry.blame)  # is closed after all that may use it
            process = Scope("process", lasting)
            compiler = Compiler(
                registry,
                shared,
                protocols,
                base_dir,
                timers,
                process=process,
                failures=settings.plugins.failure,
                dial=dial,
            )
            table = Table(compiler, on_applied)
            connections = Connections()
            observing = Observing(settings, base_dir, shared, View(table, connections), worker, process)
            parts = Parts(registry, protocols, timers, table, shared, connections, observing)
            for name in source_names(settings):
                table.add_source(name)
            tasks.start_soon(timers.run)
            try:
                async with observing.opening(registry, observed=observed) as use:
                    use()
                yield parts
            finally:
                with anyio.CancelScope(shield=True):
                    observing.close()
                    table.close()
                    await shared.close_within(settings.drain.close_seconds)
                    process.close()
                    await lasting.close_within(settings.drain.close_seconds)
                    shared.late += lasting.late
                    for _ in range(_CLOSING_ROUNDS):
                        await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()


def check_policies(settings: Settings, registry: Registry) -> None:
    """Raises `SettingsError` for the failure policy of a filter that nobody brought."""
    for name in settings.plugins.failure:
        try:
            registry.filters.get(name)
        except SettingsError as error:
            raise SettingsError(str(error), path="$.plugins.failure") from None


def check_listeners(settings: Settings, registry: Registry) -> None:
    """Raises `SettingsError` for names that stand twice, protocols that nobody brought, half a certificate."""
    names: set[str] = set()
    for one in settings.listeners:
        if one.name in names:
            raise SettingsError(f"two listeners are named {one.name!r}", path="$.listeners")
        names.add(one.name)
        for name in one.protocols:
            registry.protocol(name)
        if one.tls is not None and bool(one.tls.certificate) != bool(one.tls.key):
            words = f"listener {one.name}: a certificate and its key belong together; without both, sources bring them"
            raise SettingsError(words, path="$.listeners")


def protocol_settings(settings: Settings, registry: Registry) -> dict[str, Any]:
    """The settings of each wire protocol by its name. Raises `SettingsError`."""
    for name in settings.protocols:
        registry.protocol(name)
    return {
        protocol.name: convert(
            settings.protocols.get(protocol.name, {}), protocol.settings, path=f"$.protocols.{protocol.name}"
        )
        for protocol in registry.protocols
    }
