"""Open connections to one endpoint, used again in the order last in, first out."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from daemun.upstream.connection import UpstreamConnection
from daemun.upstream.dialling import Dialler
from daemun.upstream.endpoints import Endpoint

__all__ = ["Pool"]


class Pool:
    """The connections to one endpoint that are open and idle. Taking one costs no await.

    `leave` is called each time an exchange is over, whatever became of its connection.
    """

    def __init__(
        self, dialler: Dialler, *, max_idle: int, idle_timeout_seconds: float, leave: Callable[[Endpoint], None]
    ) -> None:
        self.endpoint = dialler.endpoint
        self._dialler = dialler
        self._max_idle = max_idle
        self._idle_timeout_seconds = idle_timeout_seconds
        self._leave = leave
        self._idle: list[tuple[UpstreamConnection, float]] = []

    @property
    def idle_connections(self) -> int:
        """Open connections that nobody uses."""
        return len(self._idle)

    def take(self) -> UpstreamConnection | None:
        """An idle connection that is still open, or None."""
        idle = self._idle
        while idle:
            connection = idle.pop()[0]
            if connection.capacity:
                return connection
        return None

    async def connect(self) -> UpstreamConnection:
        """A new connection. Raises `ExchangeError` (nothing was sent: any method may be tried again)."""
        connection = await self._dialler.connect()
        connection.released = self._released
        return connection

    def _released(self, connection: UpstreamConnection) -> None:
        if connection.capacity == 1:
            idle, endpoint = len(self._idle), self.endpoint
            if endpoint.retired or (idle >= self._max_idle and idle >= endpoint.active):
                connection.close()  # but under a load that needs more of them they stay
            else:
                self._idle.append((connection, monotonic()))
        self._leave(self.endpoint)

    def sweep(self, now: float) -> None:
        """Closes what was idle for too long. Called now and then by the back end."""
        oldest = now - self._idle_timeout_seconds
        stale = 0
        for connection, since in self._idle:
            if since > oldest and connection.capacity:
                break
            connection.close()
            stale += 1
        if stale:
            del self._idle[:stale]

    def close_idle(self) -> None:
        """Closes every idle connection. Those in use are closed when they come back."""
        for connection, _ in self._idle:
            connection.close()
        self._idle.clear()
