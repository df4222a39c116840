"""Open connections to one endpoint, used again in the order last in, first out."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable
from time import monotonic
from typing import Any

import anyio
from anyio.abc import TaskGroup

from daemun.errors import ExchangeError, Reason, Retry
from daemun.extend.wire import WireProtocol
from daemun.transport.open import dial
from daemun.upstream.connection import UpstreamConnection
from daemun.upstream.endpoints import Endpoint

__all__ = ["Pool"]


class Pool:
    """The connections to one endpoint that are open and idle. Taking one costs no await.

    `leave` is called each time an exchange is over, whatever became of its connection.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        protocol: WireProtocol,
        settings: Any,
        *,
        tasks: TaskGroup,
        context: ssl.SSLContext | None,
        connect_timeout_seconds: float,
        max_idle: int,
        idle_timeout_seconds: float,
        leave: Callable[[Endpoint], None],
    ) -> None:
        self.endpoint = endpoint
        self._protocol = protocol
        self._settings = settings
        self._tasks = tasks
        self._context = context
        self._connect_timeout_seconds = connect_timeout_seconds
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
        endpoint = self.endpoint
        try:
            with anyio.fail_after(self._connect_timeout_seconds or None):
                stream = await dial(
                    self._tasks,
                    host=endpoint.host,
                    port=endpoint.port,
                    path=endpoint.path,
                    context=self._context,
                    server_name=endpoint.spec.server_name,
                )
        except TimeoutError:
            raise ExchangeError(
                Reason.CONNECT_TIMEOUT,
                f"no connection to the upstream within {self._connect_timeout_seconds:g} s",
                retry=Retry.UNSENT,
            ) from None
        except OSError as error:
            raise ExchangeError(
                Reason.CONNECT_FAILED, f"cannot connect to the upstream: {_words(error)}", retry=Retry.UNSENT
            ) from error
        connection = await self._protocol.connect(stream, endpoint, self._settings)
        connection.released = self._released
        return connection

    def _released(self, connection: UpstreamConnection) -> None:
        if connection.capacity == 1:
            if self.endpoint.retired or len(self._idle) >= self._max_idle:
                connection.close()
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


def _words(error: OSError) -> str:
    """What a client may know: the text of the error itself can hold an address or a name."""
    if isinstance(error, ssl.SSLError):
        return f"tls: {(error.reason or 'handshake failed').lower().replace('_', ' ')}"
    if isinstance(error, socket.gaierror):
        return "its name is not known"
    return os.strerror(error.errno).lower() if error.errno else "no answer"
