"""What runs in this worker now, for observers."""

from __future__ import annotations

from collections.abc import Iterable

from daemun.downstream.drain import Connections
from daemun.routing.table import Table
from daemun.upstream.endpoints import Endpoints

__all__ = ["View"]


class View:
    """A `GatewayView`."""

    def __init__(self, table: Table, connections: Connections) -> None:
        self._table = table
        self._connections = connections

    @property
    def connections(self) -> int:
        return len(self._connections)

    @property
    def exchanges(self) -> int:
        return self._table.leases

    @property
    def routes(self) -> int:
        return len(self._table.current.routes)

    @property
    def generation(self) -> int:
        return self._table.current.number

    @property
    def draining(self) -> bool:
        return self._connections.draining

    def backends(self) -> Iterable[Endpoints]:
        return self._table.endpoints
