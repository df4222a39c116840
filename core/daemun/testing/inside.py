"""A whole gateway in the test's event loop without a socket: only the ends of its connections are made of memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from importlib import import_module
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import pluggy

from daemun.errors import PluginError, SettingsError, ungrouped
from daemun.extend.loading import installed, load_plugins
from daemun.process.gateway import Gateway, open_gateway
from daemun.routing.spec import ObjectStatus
from daemun.settings import Settings
from daemun.strict import convert
from daemun.testing.clock import virtual
from daemun.testing.network import MemoryNetwork
from daemun.testing.patience import eventually
from daemun.testing.recording import record
from daemun.testing.routes import republish
from daemun.testing.upstreams import Script, ScriptedUpstream
from daemun.testing.wire import Answer, Wire
from daemun.testing.wire2 import Http2Wire

__all__ = ["MemoryGateway", "in_memory"]

_GRACE_SECONDS = 5.0
_ACCEPTED = "a module whose functions `hookimpl` marks"


class MemoryGateway:
    """A gateway under test. `in_memory` makes it."""

    def __init__(
        self, gateway: Gateway, manager: pluggy.PluginManager, network: MemoryNetwork, settings: Mapping[str, Any]
    ) -> None:
        self.gateway = gateway
        """The real gateway."""
        self._settings = settings
        self.manager = manager
        """Of its plugins, for a `HookRecorder`."""
        self.upstream: Mapping[str, ScriptedUpstream] = network.upstreams
        """What each upstream received, by `name:port`; its `script` may be changed for the next connections."""
        self._network = network
        self._wires: list[Wire | Http2Wire] = []

    async def connect(self, listener: str = "") -> Wire:
        """A new connection to a listener by name; "": the first. It is closed with the gateway, if not before.

        Raises `ConnectionRefusedError` once the gateway does not accept any more.
        """
        wire = Wire(await self._listener(listener).connect())
        self._wires.append(wire)
        return wire

    async def connect2(
        self, listener: str = "", settings: Mapping[int, int] | None = None, *, crediting: bool = True
    ) -> Http2Wire:
        """The same, over HTTP/2: its preface is said, and the settings of both."""
        wire = Http2Wire(await self._listener(listener).connect(), settings, crediting=crediting)
        self._wires.append(wire)
        await wire.start()
        return wire

    def _listener(self, name: str) -> Any:
        listeners = self._network.listeners
        if name and name not in listeners:
            raise ValueError(f"no listener is named {name!r} (accepted: {', '.join(listeners)})")
        return listeners[name] if name else next(iter(listeners.values()))

    async def ask(
        self,
        method: str = "GET",
        target: str = "/",
        *,
        headers: Iterable[tuple[str | bytes, str | bytes]] = (),
        content: bytes = b"",
        host: str = "a.test",
        listener: str = "",
    ) -> Answer:
        """The answer to a request over HTTP/1, on a connection of its own. Content goes with its length.

        Raises `CutOff` if the connection ends before the answer does, `TimeoutError` if there is none. Cancelled, it is
        a client that leaves: the connection is reset.
        """
        lines = [(b"host", host.encode()), *((_bytes(name), _bytes(value)) for name, value in headers)]
        if content:
            lines.append((b"content-length", b"%d" % len(content)))
        head = b"".join(b"%s: %s\r\n" % line for line in lines)
        wire = await self.connect(listener)
        leave = wire.reset
        try:
            await wire.send(f"{method} {target} HTTP/1.1\r\n".encode() + head + b"\r\n" + content)
            answer = await wire.answer(method)
            leave = wire.aclose
        finally:
            self._wires.remove(wire)
            with anyio.CancelScope(shield=True):
                await leave()
        return answer

    async def reload(self, settings: Mapping[str, Any] | None = None) -> tuple[ObjectStatus, ...]:
        """Tells every source to read everything again. An `inline` one publishes anew what it has in `settings`; where
        none are given it publishes nothing, and then again what it has, so that all that routes hold open is closed and
        opened. Returns what was refused of `inline` ones.
        """
        return await republish(self._network.parts, self._settings if settings is None else settings, settings is None)

    @property
    def exchanges(self) -> int:
        """How many run."""
        return self.gateway.table.leases

    @property
    def connections(self) -> int:
        """Downstream connections that the gateway holds."""
        return len(self.gateway.connections)

    async def settled(self) -> None:
        """Waits until no exchange runs, and no connection of a client is open. Raises `AssertionError` if one stays."""
        await eventually(lambda: self.exchanges == 0, "the end of every exchange")
        await eventually(lambda: self.connections == 0, "the end of every downstream connection")

    async def leave(self) -> None:
        """Closes what `connect` opened."""
        with anyio.CancelScope(shield=True):
            for wire in list(self._wires):
                await wire.aclose()


@asynccontextmanager
async def in_memory(
    settings: Mapping[str, Any],
    *,
    plugins: Iterable[ModuleType | str] = (),
    only: Iterable[str] | None = None,
    base_dir: Path | None = None,
    upstreams: Mapping[str, Script] | None = None,
    refused_ok: bool = False,
) -> AsyncIterator[MemoryGateway]:
    """A gateway with `settings`, written as in a settings file, that has no socket and no descriptor.

    Listeners are not bound (one is added if there is none), and endpoints `http://NAME:PORT` are the scripts of
    `upstreams` by `NAME:PORT`; others refuse. Everything between is real: protocols, table, filters, pools. TLS is left
    out. `plugins` are modules that need no entry point, or names of modules or of installed plugins; `only` names the
    installed plugins to load (None: all).

    Leaving the context closes the clients' ends and stops the gateway. Raises `AssertionError` if an exchange, a
    connection, or anything that a plugin holds open stays; `SettingsError` if a route or another object is refused at
    start, unless `refused_ok`; `PluginError` for a plugin that has no hook, or is not there; and what `open_gateway`
    raises.
    """
    manager = _load(plugins, only)
    drain = {"grace_seconds": _GRACE_SECONDS, **settings.get("drain", {})}
    listeners = settings.get("listeners") or [{"name": "http"}]
    listeners = [{"bind": f"memory:{position + 1}", **one} for position, one in enumerate(listeners)]
    decoded = convert({**settings, "listeners": listeners, "drain": drain}, Settings)
    with ungrouped():
        async with anyio.create_task_group() as ends:
            network = MemoryNetwork(upstreams or {}, ends)
            opened = open_gateway(decoded, manager, base_dir or Path.cwd(), listen=network.listen, dial=network.dial)
            async with opened as gateway:
                if not refused_ok:
                    _check(network.parts.table.statuses)
                memory = MemoryGateway(gateway, manager, network, settings)
                try:
                    yield memory
                finally:
                    await memory.leave()
                await memory.settled()
            ends.cancel_scope.cancel()
    late = network.parts.shared.late
    if late:
        raise AssertionError(f"what plugins opened did not close in time, and was cut off: {', '.join(late)}")


def _load(plugins: Iterable[ModuleType | str], only: Iterable[str] | None) -> pluggy.PluginManager:
    """The manager of all plugins; those that are given and installed too are loaded once."""
    known = installed()
    modules = [_module(one, known) if isinstance(one, str) else one for one in plugins]
    points = {point.value: name for name, point in known.items()}
    wanted = None if only is None else {*only, *(points[one.__name__] for one in modules if one.__name__ in points)}
    manager = load_plugins(only=wanted, extra=[one for one in modules if one.__name__ not in points])
    for module in modules:
        if not manager.get_hookcallers(manager.get_plugin(points.get(module.__name__, module.__name__))):
            raise PluginError(f"it has no hook (accepted: {_ACCEPTED})", plugin=module.__name__)
    record(manager)
    time = virtual()
    if time is not None:
        time.tell_modules(one.__name__.partition(".")[0] for one in modules)
    return manager


def _module(word: str, known: Mapping[str, EntryPoint]) -> ModuleType:
    """Of the installed plugin `word`, or of this name."""
    name = known[word].module if word in known else word
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        words = f"neither installed nor a module that can be imported (accepted: {_ACCEPTED}, or one of"
        raise PluginError(f"{words} {', '.join(sorted(known))})", plugin=word) from None


def _check(statuses: Iterable[ObjectStatus]) -> None:
    """Raises `SettingsError` with all that is refused."""
    refused = [f"{one.kind} {one.name} refused: {one.error}" for one in statuses if one.error]
    if refused:
        raise SettingsError("; ".join(refused))


def _bytes(text: str | bytes) -> bytes:
    return text.encode("latin-1") if isinstance(text, str) else text
