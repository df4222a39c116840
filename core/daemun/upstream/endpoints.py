"""The live view of a back end's endpoints. It changes under traffic; no route is recompiled for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import monotonic

from anyio.abc import TaskGroup

from daemun.routing.spec import EndpointSpec
from daemun.transport.timers import Timers
from daemun.upstream.connection import ConnectionPool

__all__ = ["Endpoint", "Endpoints", "parse_address"]


class Endpoint:
    """One address, with what runs on it now."""

    __slots__ = (
        "active",
        "address",
        "capacity",
        "host",
        "path",
        "pool",
        "port",
        "response_timeout_seconds",
        "retired",
        "spec",
        "tasks",
        "timers",
        "weight",
    )

    def __init__(self, spec: EndpointSpec) -> None:
        self.spec = spec
        self.address = spec.address
        self.host, self.port, self.path = parse_address(spec.address)
        self.weight = spec.weight
        self.capacity = spec.capacity
        self.active = 0
        """Exchanges that run on it, upgraded ones included."""
        self.retired = False
        """It was taken out of the view; what runs on it ends in peace."""
        self.pool: ConnectionPool
        """Open connections to it; lent by the back end that owns the view."""
        self.tasks: TaskGroup
        """Tasks that live as long as the back end; one that raises ends it."""
        self.timers: Timers
        self.response_timeout_seconds = 0.0
        """How long it may be silent before the head of a response; 0: for ever."""

    @property
    def available(self) -> bool:
        """Whether it would take one more exchange."""
        return self.capacity == 0 or self.active < self.capacity

    def __repr__(self) -> str:
        return f"Endpoint({self.address}, active={self.active})"


class Endpoints:
    """The endpoints of one back end, in use now. `ready` is replaced as a whole, never changed in place."""

    def __init__(self, name: str, lend_pool: Callable[[Endpoint], ConnectionPool]) -> None:
        self.name = name
        self.ready: tuple[Endpoint, ...] = ()
        self.only: Endpoint | None = None
        """The one endpoint that there is, if it takes any number of exchanges: there is nothing to pick."""
        self.in_flight = 0
        """Exchanges that run on any endpoint, retired ones included."""
        self.waiting = 0
        """Requests in the waiting room: the signal to scale up."""
        self.idle_since = monotonic()
        """When `in_flight` last became 0; meaningful only while it is 0."""
        self.on_change: Callable[[], None] | None = None
        """Set by the waiting room: something became available, or everything went away."""
        self._lend_pool = lend_pool

    def update(self, specs: Iterable[EndpointSpec]) -> None:
        """Uses exactly `specs` from now on. Those that were there keep their connections and counts; the others
        take no new exchange and finish what they have."""
        kept = {endpoint.spec: endpoint for endpoint in self.ready}
        ready = []
        for spec in dict.fromkeys(specs):
            endpoint = kept.pop(spec, None)
            if endpoint is None:
                endpoint = Endpoint(spec)
                endpoint.pool = self._lend_pool(endpoint)
            ready.append(endpoint)
        self.ready = tuple(ready)
        single = len(ready) == 1 and ready[0].weight > 0 and ready[0].capacity == 0
        self.only = ready[0] if single else None
        for endpoint in kept.values():
            endpoint.retired = True
            endpoint.pool.close_idle()
        if self.on_change is not None:
            self.on_change()

    def enter(self, endpoint: Endpoint) -> None:
        """Counts one exchange on `endpoint`."""
        endpoint.active += 1
        self.in_flight += 1

    def leave(self, endpoint: Endpoint) -> None:
        """Counts it off, and lets in one who waits."""
        endpoint.active -= 1
        self.in_flight -= 1
        if self.in_flight == 0:
            self.idle_since = monotonic()
        if self.waiting and self.on_change is not None:
            self.on_change()


def parse_address(address: str) -> tuple[str, int, str]:
    """`host:port`, `[v6]:port` or `unix:/path` as (host, port, path). Raises `ValueError` in words."""
    if address.startswith("unix:"):
        path = address[5:]
        if not path:
            raise ValueError(f"address {address!r} names no path; use unix:/path/to.sock")
        return "", 0, path
    host, colon, digits = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"address {address!r}: write an IPv6 address as [{host}]:{digits}")
    if not colon or not host or not (digits.isascii() and digits.isdigit()) or not 0 < int(digits) < 65536:
        raise ValueError(f"address {address!r} is not host:port, [v6]:port or unix:/path")
    return host, int(digits), ""
