"""Open connections to one endpoint that take several exchanges at once, each filled before another is opened."""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic

import anyio

from daemun.errors import ExchangeError, Reason, Retry
from daemun.upstream.connection import UpstreamConnection
from daemun.upstream.dialling import Dialler
from daemun.upstream.endpoints import Endpoint

__all__ = ["SharedPool"]


log = logging.getLogger("daemun.pool")


class _Dial:
    """A connection that is being opened, for all who wait for it."""

    __slots__ = ("error", "over")

    def __init__(self) -> None:
        self.over = anyio.Event()
        self.error: ExchangeError | None = None
        """Why there is none."""


class SharedPool:
    """The connections to one endpoint, whether exchanges run on them or not. Taking one costs no await.

    Who finds no room while a connection is being opened waits for it. `leave` is called each time an exchange is over.
    """

    def __init__(
        self, dialler: Dialler, *, max_idle: int, idle_timeout_seconds: float, leave: Callable[[Endpoint], None]
    ) -> None:
        self.endpoint = dialler.endpoint
        self._dialler = dialler
        self._max_idle = max_idle
        self._idle_timeout_seconds = idle_timeout_seconds
        self._leave = leave
        self._open: dict[UpstreamConnection, int] = {}
        """How many exchanges run on each, in the order in which they were opened."""
        self._idle_since: dict[UpstreamConnection, float] = {}
        self._dial: _Dial | None = None
        """There while a connection is being opened."""

    @property
    def idle_connections(self) -> int:
        """Open connections that nobody uses."""
        return len(self._idle_since)

    def take(self) -> UpstreamConnection | None:
        """The first connection that has room, or None. Its next `send` is counted already."""
        for connection in self._open:
            if connection.capacity:
                self._enter(connection)
                return connection
        return None

    async def connect(self) -> UpstreamConnection:
        """A connection with room, a new one if need be. Raises `ExchangeError` (nothing was sent)."""
        while True:
            dial = self._dial
            if dial is None:
                self._dial = dial = _Dial()
                self._dialler.tasks.start_soon(self._run, dial)
            await dial.over.wait()
            connection = self.take()
            if connection is not None:
                return connection
            if dial.error is not None:
                raise ExchangeError(dial.error.reason, dial.error.message, retry=dial.error.retry)

    async def _run(self, dial: _Dial) -> None:
        """Opens a connection for all who wait: in a task of the back end, so that none of them who leaves ends it."""
        try:
            connection = await self._dialler.connect()
        except ExchangeError as error:
            dial.error = error
        except Exception as error:
            log.exception("endpoint %s: no connection", self.endpoint.address)
            dial.error = ExchangeError(Reason.CONNECT_FAILED, f"cannot connect to the upstream: {type(error).__name__}")
        else:
            connection.released = self._released
            self._open[connection] = 0
            self._idle_since[connection] = monotonic()
            if not connection.capacity:
                dial.error = ExchangeError(
                    Reason.UPSTREAM_CLOSED, "the upstream takes no exchanges", retry=Retry.UNSENT
                )
        finally:
            self._dial = None
            dial.over.set()

    def _enter(self, connection: UpstreamConnection) -> None:
        self._open[connection] = self._open.get(connection, 0) + 1
        self._idle_since.pop(connection, None)

    def _released(self, connection: UpstreamConnection) -> None:
        running = self._open[connection] - 1
        self._open[connection] = running
        if running == 0:
            if connection.capacity and not self.endpoint.retired and len(self._idle_since) < self._max_idle:
                self._idle_since[connection] = monotonic()
            else:
                self._forget(connection)
        self._leave(self.endpoint)

    def _forget(self, connection: UpstreamConnection) -> None:
        del self._open[connection]
        self._idle_since.pop(connection, None)
        connection.close()

    def sweep(self, now: float) -> None:
        """Closes what was idle for too long, or was closed by the peer. Called now and then by the back end."""
        oldest = now - self._idle_timeout_seconds
        stale = [one for one, since in self._idle_since.items() if since <= oldest or not one.capacity]
        for connection in stale:
            self._forget(connection)

    def close_idle(self) -> None:
        """Closes every idle connection. Those in use are closed when they come back."""
        for connection in list(self._idle_since):
            self._forget(connection)
