"""The connections that are open, and how they end: told to finish, then a deadline on their scope."""

from __future__ import annotations

import anyio

from daemun.extend.wire import Connection

__all__ = ["Connections"]


class Connections:
    """Every downstream connection of a worker."""

    def __init__(self) -> None:
        self._open: set[Connection] = set()
        self._change = anyio.Event()
        self._leaving = False
        self.draining = False
        """No further exchange should begin on any of them."""

    def __len__(self) -> int:
        return len(self._open)

    def add(self, connection: Connection) -> None:
        """It is open."""
        connection.leaving = self._leaving
        self._open.add(connection)

    def remove(self, connection: Connection) -> None:
        """It is closed."""
        self._open.discard(connection)
        self._change.set()

    async def below(self, count: int) -> None:
        """Waits until fewer than `count` are open."""
        while len(self._open) >= count:
            self._change = anyio.Event()
            await self._change.wait()

    def leave(self) -> None:
        """The gateway drains soon: exchanges run and begin as before, and clients are told to connect elsewhere."""
        self._leaving = True
        for connection in self._open:
            connection.leaving = True

    async def drain(self, grace_seconds: float) -> None:
        """Tells all to finish what runs, and waits until they did or the grace is over."""
        self.draining = True
        for connection in list(self._open):
            if connection.on_drain is not None:
                connection.on_drain()
        with anyio.move_on_after(grace_seconds):
            await self.below(1)
