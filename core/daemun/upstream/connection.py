"""What an open upstream connection is, and what a pool of them gives: the seam that wire protocols fill."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from daemun.message import Request, Response

__all__ = ["ConnectionPool", "UpstreamConnection"]


class UpstreamConnection(Protocol):
    """One open connection to an endpoint."""

    @property
    def capacity(self) -> int:
        """Exchanges it would take now; 0 once it is of no more use."""
        ...

    released: Callable[[UpstreamConnection], None]
    """Set by the pool; to be called once for each `send`, when its exchange is over, however it ended."""

    async def send(self, request: Request) -> Response:
        """Sends one exchange. Raises `ExchangeError` with `retry` set by what was sent."""
        ...

    def close(self) -> None:
        """Ends it at once. Idempotent, never raises."""
        ...


class ConnectionPool(Protocol):
    """The connections to one endpoint."""

    @property
    def idle_connections(self) -> int:
        """Open connections that nobody uses."""
        ...

    def take(self) -> UpstreamConnection | None:
        """An idle connection that is still open, or None."""
        ...

    async def connect(self) -> UpstreamConnection:
        """A new connection. Raises `ExchangeError`: nothing was sent."""
        ...

    def close_idle(self) -> None:
        """Closes every idle connection. Those in use are closed when they come back."""
        ...
