"""What belongs to one exchange, whatever becomes of its request: peer, deadline, tasks, lease, stash."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct, field

from daemun.headers import Headers
from daemun.scopes import Lender, Scope
from daemun.stash import Stash

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from daemun.errors import Reason
    from daemun.transport.timers import Timers

__all__ = ["Exchange", "Peer", "Spoken", "clock"]


class Peer:
    """The downstream connection that an exchange came by: facts that do not change while it lasts."""

    __slots__ = (
        "_lender",
        "_scope",
        "_stash",
        "address",
        "client_name",
        "listener",
        "local",
        "port",
        "scheme",
        "server_name",
    )

    def __init__(
        self,
        *,
        listener: str = "",
        address: str = "",
        port: int = 0,
        local: str = "",
        scheme: str = "http",
        server_name: str = "",
        client_name: str = "",
        lender: Lender | None = None,
    ) -> None:
        """`lender` is the gateway's, for the scopes of the connection and of its exchanges."""
        self.listener = listener
        """Name of the listener."""
        self.address = address
        """The peer's IP address without port; "" on a Unix socket. The last hop, trusted or not."""
        self.port = port
        """The peer's port; 0 on a Unix socket."""
        self.local = local
        """Where the listener is bound: `127.0.0.1:8080`, `unix:/run/daemun.sock`."""
        self.scheme = scheme
        """`http` or `https`, of this connection."""
        self.server_name = server_name
        """SNI of the TLS handshake, or ""."""
        self.client_name = client_name
        """Common name of a verified client certificate, or ""."""
        self._lender = lender
        self._scope: Scope | None = None
        self._stash: Stash | None = None

    @property
    def scope(self) -> Scope:
        """What plugins open for as long as the connection lasts."""
        if self._scope is None:
            self._scope = Scope("connection", self._lender)
        return self._scope

    @property
    def stash(self) -> Stash:
        """Private data of plugins, kept until the connection ends."""
        if self._stash is None:
            self._stash = Stash()
        return self._stash

    def leave(self) -> None:
        """The connection has ended."""
        self.scope.close()

    def __repr__(self) -> str:
        return f"Peer({self.scheme} {self.address}:{self.port} on {self.listener})"


class Spoken(Protocol):
    """What an exchange needs of the `Dialect` that it speaks."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def layer(self) -> Callable[[Any], Any] | None:
        """A `Layer` around the handler."""
        ...

    @property
    def outgoing(self) -> Callable[[Any], Any]:
        """The request as it goes out now."""
        ...


clock = partial(monotonic)
"""What `started` is read from; called from C. A test on virtual time has it read another clock."""


class Exchange(Struct, eq=False):
    """One request and its response, seen by every hook that works for it.

    The wire protocol makes it and owns it; handlers read it and may shorten its deadline.
    """

    peer: Peer
    """The connection that it came by."""
    started: float = field(default_factory=clock)
    """`time.monotonic()` when the request's head was complete."""
    deadline: float = math.inf
    """`time.monotonic()` at which the exchange is cancelled; inf: never. Change it by `expire_in`."""
    timeout_reason: Reason | None = None
    """What is reported when the deadline passes."""
    tasks: TaskGroup | None = None
    """Tasks that live as long as the exchange; there only if the request's body streams."""
    timers: Timers | None = None
    """Call-backs at a time; there only where `tasks` is."""
    on_deadline: Callable[[float], None] | None = None
    """Set by the wire protocol: arms its timer."""
    on_half_close: Callable[[], None] | None = None
    """Set by whoever waits without using the connection: called once if the client stops sending."""
    on_drain: Callable[[], None] | None = None
    """Set by who switches protocols: called once when the gateway begins to drain, or after the switch if it has."""
    pumped: bool = False
    """Set by an upstream that sends on what the client says in a tunnel; it closes the request's body in the end."""
    interim: Callable[[int, Headers], Awaitable[None]] | None = None
    """Sends a 1xx response to the client, if its protocol has them."""
    dialect: Spoken | None = None
    """The dialect whose part in the exchange is more than its errors. Set by the wire protocol, from
    `Connection.dialect`, or by a filter that knows better."""
    route: str = ""
    """Name of the route that won."""
    version: str = "HTTP/1.1"
    """The protocol that the client spoke: `HTTP/1.0`, `HTTP/1.1`, `HTTP/2`."""
    endpoint: str = ""
    """Where the request was sent last, `host:port`."""
    status: int = 0
    """Status sent to the client; 0 until then."""
    reason: Reason | None = None
    """Why it failed, if it did."""
    plugin: str = ""
    """Name of the plugin whose fault it was (`PLUGIN_FAULT`), where it is known."""
    received_bytes: int = 0
    """Content that was taken from the client, without framing."""
    sent_bytes: int = 0
    """Content that was given to the client, without framing."""
    cold_start_seconds: float = -1.0
    """How long the request waited for an endpoint to be started; negative: it did not wait."""
    _stash: Stash | None = None
    _scope: Scope | None = None

    @property
    def scope(self) -> Scope:
        """What plugins open for as long as the exchange lasts: until its response is sent, or broken off."""
        if self._scope is None:
            self._scope = Scope("exchange", self.peer._lender)
        return self._scope

    @property
    def stash(self) -> Stash:
        """Private data of plugins, kept until the exchange ends."""
        if self._stash is None:
            self._stash = Stash()
        return self._stash

    def expire_in(self, seconds: float, reason: Reason) -> None:
        """Cancels the exchange in `seconds`, unless it already ends sooner. Costs no task and no scope."""
        deadline = monotonic() + seconds
        if deadline < self.deadline:
            self.deadline = deadline
            self.timeout_reason = reason
            if self.on_deadline is not None:
                self.on_deadline(deadline)

    def remaining_seconds(self) -> float:
        """Time left before the deadline; inf if there is none, never negative."""
        if self.deadline == math.inf:
            return math.inf
        return max(0.0, self.deadline - monotonic())
