"""What there is instead of a network: listeners that nobody binds, and upstreams that are dialled by name."""

from __future__ import annotations

import errno
import logging
import os
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path

import anyio
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint

from daemun.downstream.exchange import DownstreamConnection
from daemun.downstream.forwarded import Forwarding
from daemun.downstream.negotiate import Conversation, Spoken, negotiate
from daemun.downstream.services import Services
from daemun.errors import SettingsError, is_fault
from daemun.exchange import Peer
from daemun.process.gateway import lend_services
from daemun.process.parts import Parts
from daemun.settings import ListenerSettings, Settings
from daemun.testing.pair import MemoryEnd, memory_pair
from daemun.testing.upstreams import Script, ScriptedUpstream
from daemun.transport.stream import Stream
from daemun.transport.watched import WatchedStream

__all__ = ["MemoryListener", "MemoryNetwork"]

log = logging.getLogger("daemun.listener")

_FIRST_PORT = 40_000


class MemoryListener:
    """A listener without a socket; who calls `connect` is its client."""

    def __init__(self, settings: ListenerSettings, parts: Parts, services: Services) -> None:
        if settings.tls is not None:
            raise SettingsError(f"listener {settings.name}: TLS is not spoken in memory", path="$.listeners")
        self.settings = settings
        self._connections = parts.connections
        self._services = services
        self.speak(Spoken(settings.name, parts.registry.spoken(settings.protocols), parts.protocols))
        self._tasks: TaskGroup | None = None
        self._begun = anyio.Event()
        self._clients = 0

    @property
    def url(self) -> str:
        """Where it would listen."""
        return f"http://{self.settings.bind}"

    def speak(self, spoken: Spoken) -> None:
        """Has connections that come from now on speak it."""
        self._spoken = spoken

    async def accept(self, tasks: TaskGroup) -> None:
        """Accepts until cancelled; each connection is served in a task of `tasks`."""
        self._tasks = tasks
        self._begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            self.close()

    def close(self) -> None:
        """Accepts no more."""
        self._tasks = None
        self._begun.set()

    async def connect(self) -> MemoryEnd:
        """The client's end of a new connection. Raises `ConnectionRefusedError` if it does not accept (any more)."""
        await self._begun.wait()
        await checkpoint()
        if self._tasks is None:
            raise _refused()
        near, far = memory_pair()
        self._clients += 1
        peer = Peer(
            listener=self.settings.name,
            address="127.0.0.1",
            port=_FIRST_PORT + self._clients,
            local=self.settings.bind,
            lender=self._services.lender,
        )
        connection = DownstreamConnection(self._services, peer, Forwarding(peer, self.settings.forwarded))
        self._connections.add(connection)
        self._tasks.start_soon(self._serve, near, connection, self._tasks)
        return far

    async def _serve(self, end: MemoryEnd, connection: DownstreamConnection, tasks: TaskGroup) -> None:
        spoken = self._spoken
        try:
            stream = WatchedStream(end, tasks)
            async with Conversation(stream):
                protocol = await negotiate(stream, connection, spoken.protocols, spoken.silence_seconds)
                if protocol is not None and protocol.serve is not None:
                    await protocol.serve(stream, connection, spoken.settings[protocol.name])
        except BaseException as error:
            if not is_fault(error):
                raise
            log.exception("listener %s: a connection failed", self.settings.name)
        finally:
            self._connections.remove(connection)
            connection.peer.leave()


class MemoryNetwork:
    """Upstreams by `name:port` (or `unix:/path`), and the listeners of one gateway."""

    def __init__(self, upstreams: Mapping[str, Script], tasks: TaskGroup) -> None:
        """Scripts run in `tasks`."""
        self.upstreams = {name: _upstream(name, script) for name, script in upstreams.items()}
        self.listeners: dict[str, MemoryListener] = {}
        self.parts: Parts
        self._tasks = tasks

    async def dial(
        self,
        tasks: TaskGroup,
        *,
        host: str = "",
        port: int = 0,
        path: str = "",
        context: ssl.SSLContext | None = None,
        server_name: str = "",
    ) -> Stream:
        """A connection to one of the upstreams; those that nobody named refuse."""
        await checkpoint()
        upstream = self.upstreams.get(f"unix:{path}" if path else f"{host}:{port}")
        if upstream is None or upstream.script is None:
            raise _refused()
        if context is not None:
            raise OSError(errno.EPROTONOSUPPORT, "TLS is not spoken in memory")
        near, far = memory_pair()
        self._tasks.start_soon(upstream.run, upstream.script, far)
        return WatchedStream(near, tasks)

    def listen(self, settings: Settings, parts: Parts, _: Path) -> Sequence[MemoryListener]:
        """The listeners of `settings`, which do not accept yet."""
        self.parts = parts
        services = lend_services(parts)
        self.listeners = {one.name: MemoryListener(one, parts, services) for one in settings.listeners}
        return list(self.listeners.values())


def _upstream(name: str, script: Script) -> ScriptedUpstream:
    host, _, port = name.rpartition(":")
    return ScriptedUpstream(int(port) if port.isdigit() else 0, host, script)


def _refused() -> ConnectionRefusedError:
    return ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
