"""The live view of a back end that several workers use: an activator publishes into it and reads their sums."""

from __future__ import annotations

from collections.abc import Iterable
from time import monotonic
from typing import Protocol

from daemun.errors import ExchangeError, Reason
from daemun.process.workers.frames import Usage, Use, encode
from daemun.routing.spec import EndpointSpec
from daemun.upstream.connection import UpstreamConnection
from daemun.upstream.endpoints import Endpoint, Endpoints

__all__ = ["Asker", "Place", "PooledEndpoints"]


class Asker(Protocol):
    """A worker, as activators see it."""

    def post(self, frame: bytes) -> None:
        """Sends an encoded frame."""
        ...


Place = tuple[Asker, int]
"""A back end of a worker, by the worker's number of it."""


class _NoPool:
    """The supervisor connects to nobody."""

    idle_connections = 0

    def take(self) -> UpstreamConnection | None:
        return None

    async def connect(self) -> UpstreamConnection:
        raise ExchangeError(Reason.CONNECT_FAILED, "the supervisor connects to nobody")

    def close_idle(self) -> None:
        """There is none."""


class PooledEndpoints(Endpoints):
    """An update goes to all workers, and the counts are their sums, at most 100 ms old.

    A worker that has not confirmed an update may have begun an exchange on what the update took away. Until it
    has, it counts as one exchange there, so that an activator that waits for the last one waits long enough.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name, lambda endpoint: _NoPool())
        self._version = 0
        self._numbers: dict[Endpoint, int] = {}
        self._retired_at: dict[Endpoint, int] = {}
        self._usages: dict[Place, Usage] = {}
        self._last_number = 0

    def update(self, specs: Iterable[EndpointSpec]) -> None:
        super().update(specs)
        self._version += 1
        for endpoint in self.ready:
            if endpoint not in self._numbers:
                self._last_number += 1
                self._numbers[endpoint] = self._last_number
        for endpoint in self._numbers:
            if endpoint.retired:
                self._retired_at.setdefault(endpoint, self._version)
        for place in self._usages:
            self._tell(place)
        self._add_up()

    def join(self, place: Place) -> None:
        """A worker uses the endpoints from now on."""
        self._usages[place] = Usage(place[1], 0, 0, 0, self.idle_since, ())
        self._tell(place)

    def part(self, place: Place) -> None:
        """It does not any more."""
        usage = self._usages.pop(place, None)
        if usage is not None:
            if usage.in_flight:
                self.idle_since = monotonic()
            self._add_up()

    def take(self, place: Place, usage: Usage) -> None:
        """What a worker counts now."""
        if place in self._usages:
            self._usages[place] = usage
            self._add_up()

    def _tell(self, place: Place) -> None:
        endpoints = tuple((self._numbers[endpoint], endpoint.spec) for endpoint in self.ready)
        place[0].post(encode(Use(place[1], self._version, endpoints)))

    def _add_up(self) -> None:
        usages = list(self._usages.values())
        self.waiting = sum(usage.waiting for usage in usages)
        self.in_flight = sum(usage.in_flight for usage in usages)
        self.idle_since = max((usage.idle_since for usage in usages), default=self.idle_since)
        active: dict[int, int] = {}
        for usage in usages:
            for count in usage.active:
                active[count.endpoint] = active.get(count.endpoint, 0) + count.active
        for endpoint, number in list(self._numbers.items()):
            endpoint.active = active.get(number, 0)
            if endpoint.retired:
                retired_at = self._retired_at[endpoint]
                endpoint.active += sum(1 for usage in usages if usage.version < retired_at)
                if not endpoint.active:
                    del self._numbers[endpoint], self._retired_at[endpoint]
