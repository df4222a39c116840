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
        "healthy",
        "host",
        "last_check",
        "on_retired",
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
        """What was published."""
        self.address = spec.address
        """`host:port`, `[v6]:port` or `unix:/path`."""
        self.host, self.port, self.path = parse_address(spec.address)
        """The parts of the address: `host` and `port`, or the `path` of a Unix socket."""
        self.weight = spec.weight
        """Its share of requests relative to the others; 0: none."""
        self.capacity = spec.capacity
        """Exchanges it takes at once; 0: no limit."""
        self.active = 0
        """Exchanges that run on it, upgraded ones included."""
        self.retired = False
        """It was taken out of the view; what runs on it ends in peace."""
        self.on_retired: Callable[[], None] | None = None
        """Called once when it is."""
        self.healthy = True
        """What its health checks say; stays True where there are none."""
        self.last_check: str | None = None
        """What the last check found wrong; "": nothing; None: it was not checked yet, or never is."""
        self.pool: ConnectionPool
        """Open connections to it; lent by the back end that owns the view."""
        self.tasks: TaskGroup
        """Tasks that live as long as the back end; one that raises ends it."""
        self.timers: Timers
        """Call-backs at a time."""
        self.response_timeout_seconds = 0.0
        """How long it may be silent before the head of a response; 0: for ever."""

    @property
    def authority(self) -> bytes:
        """What a request of the gateway's own calls it: its name for TLS, else its address."""
        if self.path:
            return b"localhost"
        return (self.spec.server_name or self.address).encode()

    @property
    def available(self) -> bool:
        """Whether it would take one more exchange."""
        return self.capacity == 0 or self.active < self.capacity

    def __repr__(self) -> str:
        return f"Endpoint({self.address}, active={self.active})"


class Endpoints:
    """The endpoints of one back end, in use now. `all` and `ready` are replaced as a whole, never changed in place."""

    def __init__(self, name: str, lend_pool: Callable[[Endpoint], ConnectionPool]) -> None:
        self.name = name
        """Name of the back end."""
        self.all: tuple[Endpoint, ...] = ()
        """Those that were published last."""
        self.ready: tuple[Endpoint, ...] = ()
        """Those of them that requests are sent to: the healthy ones. If none is healthy, see `use_all`."""
        self.only: Endpoint | None = None
        """The one endpoint that is ready, if it takes any number of exchanges: there is nothing to pick."""
        self.use_all = True
        """Whether all are ready again when none is healthy, or none."""
        self.in_flight = 0
        """Exchanges that run on any endpoint, retired ones included."""
        self.waiting = 0
        """Requests in the waiting room: the signal to scale up."""
        self.idle_since = monotonic()
        """When `in_flight` last became 0; meaningful only while it is 0."""
        self.on_change: Callable[[], None] | None = None
        """Set by the waiting room: something became available, or everything went away."""
        self.on_new: Callable[[Endpoint], None] | None = None
        """Set by health checks: an endpoint is in use from now on."""
        self._lend_pool = lend_pool

    def update(self, specs: Iterable[EndpointSpec]) -> None:
        """Uses exactly `specs` from now on. Those that were there keep their connections and counts; the others
        take no new exchange and finish what they have."""
        kept = {endpoint.spec: endpoint for endpoint in self.all}
        used, new = [], []
        for spec in dict.fromkeys(specs):
            endpoint = kept.pop(spec, None)
            if endpoint is None:
                new.append(endpoint := Endpoint(spec))
            used.append(endpoint)
        try:
            for endpoint in new:
                endpoint.pool = self._lend_pool(endpoint)
        except BaseException:
            for endpoint in new:
                endpoint.retired = True
            raise
        self.all = tuple(used)
        if self.on_new is not None:
            for endpoint in new:
                self.on_new(endpoint)
        self._choose()
        for endpoint in kept.values():
            endpoint.retired = True
            endpoint.pool.close_idle()
            if endpoint.on_retired is not None:
                endpoint.on_retired()
        if self.on_change is not None:
            self.on_change()

    def health_changed(self) -> None:
        """Chooses `ready` anew. Requests that wait are told if there is something for them; no activator is woken."""
        self._choose()
        if self.waiting and self.ready and self.on_change is not None:
            self.on_change()

    @property
    def none_healthy(self) -> bool:
        """Whether there are endpoints that may have traffic, and not one of them is healthy."""
        weighted = [one for one in self.all if one.weight]
        return bool(weighted) and not any(one.healthy for one in weighted)

    def _choose(self) -> None:
        if self.use_all and self.none_healthy:
            ready = tuple(one for one in self.all if one.healthy or one.last_check is not None)
        else:
            ready = tuple(one for one in self.all if one.healthy)
        if ready != self.ready:
            self.ready = ready
        single = len(ready) == 1 and ready[0].weight > 0 and ready[0].capacity == 0
        self.only = ready[0] if single else None

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
