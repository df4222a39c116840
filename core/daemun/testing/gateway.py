"""A gateway in the test's own event loop, on a free port of the loopback interface."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
from anyio.abc import SocketStream

from daemun.extend.loading import load_plugins
from daemun.process.gateway import Gateway, open_gateway
from daemun.settings import Settings
from daemun.strict import convert
from daemun.testing.recording import record

__all__ = ["RunningGateway", "running"]

_LISTENER = {"name": "http", "bind": "127.0.0.1:0"}


class RunningGateway:
    """A gateway under test."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        """The real gateway."""

    @property
    def url(self) -> str:
        """Of its first listener."""
        return self.gateway.info.listeners[0].url

    @property
    def port(self) -> int:
        """Of its first listener."""
        return int(self.url.rpartition(":")[2])

    async def connect(self) -> SocketStream:
        """A plain connection to its first listener."""
        return await anyio.connect_tcp("127.0.0.1", self.port)

    async def exchange(self, data: bytes) -> bytes:
        """Everything that comes back for `data` on a connection of its own, until the gateway closes it."""
        async with await self.connect() as stream:
            await stream.send(data)
            received = b""
            try:
                while True:
                    received += await stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return received


@asynccontextmanager
async def running(
    settings: dict[str, Any],
    base_dir: Path | None = None,
    *,
    only: Iterable[str] | None = None,
    extra: Iterable[ModuleType] = (),
) -> AsyncIterator[RunningGateway]:
    """A gateway with `settings`, written as in a settings file; a listener on a free port is added if there is none.

    `only` names the installed plugins to load (None: all), `extra` are modules that need no entry point. Leaving the
    context drains. Raises what `open_gateway` raises.
    """
    decoded = convert({"listeners": [_LISTENER], **settings}, Settings)
    manager = load_plugins(only=only, extra=extra)
    record(manager)
    async with open_gateway(decoded, manager, base_dir or Path.cwd()) as gateway:
        yield RunningGateway(gateway)
