"""What a wire protocol registers, and what the core lends to it: one downstream connection."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from msgspec import Struct

from daemun.downstream.forwarded import Forwarding
from daemun.errors import ExchangeError
from daemun.exchange import Exchange, Peer
from daemun.extend.types import Dialect
from daemun.message import Request, Response
from daemun.transport.stream import Stream
from daemun.transport.timers import Timers
from daemun.upstream.connection import UpstreamConnection
from daemun.upstream.endpoints import Endpoint

__all__ = ["Connection", "Sniff", "WireProtocol"]


class Sniff(enum.Enum):
    """What a wire protocol says of a connection's first bytes."""

    YES = "yes"
    """The connection is its own."""
    NO = "no"
    """The next protocol is asked."""
    MORE = "more"
    """More bytes are needed to tell."""


class Connection(Protocol):
    """A downstream connection: what the core lends to the protocol that serves it."""

    peer: Peer
    """Who is at its other end."""
    forwarding: Forwarding
    """The fields that tell the upstream about the client."""
    timers: Timers
    """Deadlines that cost no scope."""
    leaving: bool
    """The gateway drains soon (`drain.delay_seconds`): what begins now is answered, and should be the last."""
    on_drain: Callable[[], None] | None
    """Set by the protocol: called when the gateway begins to drain, to end what is idle."""

    @property
    def draining(self) -> bool:
        """No further exchange should begin on this connection."""
        ...

    async def run_exchange(self, request: Request, respond: Callable[[Response], Awaitable[None] | None]) -> None:
        """Runs the handler for `request` and passes its response, or one that renders its error, to `respond`.

        `respond` returns None if it is done, else what is to be awaited. Closes the response's body whatever happens.
        Raises `ExchangeError` only if `respond` did: the response was broken off, and the client must be able to tell.
        """
        ...

    async def run_streaming(
        self,
        request: Request,
        respond: Callable[[Response], Awaitable[None] | None],
        unanswered: Callable[[], bool],
    ) -> None:
        """`run_exchange` for a request whose body is not in memory: it has a task group in `exchange.tasks`, and
        `exchange.timers`, as long as it runs.

        `unanswered` says whether an answer can still be sent. It is asked where a plugin has cancelled these tasks: its
        client is told so instead of being left to wait.
        """
        ...

    def refused(self, error: ExchangeError) -> None:
        """Tells observers of a request that was refused before it became an exchange."""
        ...

    def dialect(self, content_type: bytes | None, protocol: bytes = b"") -> Dialect | None:
        """The dialect that has a part in requests with this `content-type`, or that want to switch to `protocol`; to
        be set in their exchange."""
        ...

    def render(self, request: Request, error: ExchangeError) -> Response:
        """`error` as a response in the dialect of `request`."""
        ...

    def stuck(self, exchange: Exchange) -> None:
        """Logs who does not heed that the exchange was cancelled, and where."""
        ...

    def fault(self, exchange: Exchange, error: BaseException, giver: object = None) -> ExchangeError:
        """What the client is told of a plugin's fault, which is logged with the plugin's name. `giver` is what it gave
        that cannot be used, such as a body."""
        ...


def _ten_seconds(settings: Any) -> float:
    return 10.0


class WireProtocol(Struct, frozen=True):
    """Something that owns bytes: `http1`, `http2`."""

    name: str
    """What listeners and endpoints call it."""
    settings: type[Struct]
    """Section of the settings file with the same name."""
    alpn: tuple[str, ...]
    """Its names in TLS handshakes (RFC 7301), the preferred one first; none: TLS does not tell it."""
    sniff: Callable[[bytes], Sniff]
    """Says by the first bytes of a plaintext connection whether it is this protocol; asked in the order of
    `Listener.protocols`; MORE with enough bytes to tell is a fault."""
    serve: Callable[[Stream, Connection, Any], Awaitable[None]] | None
    """`serve(stream, connection, settings)`: the downstream half. Owns the connection until it returns. None: there is
    none, and no listener can speak it."""
    connect: Callable[[Stream, Endpoint, Any], Awaitable[UpstreamConnection]] | None
    """`connect(stream, endpoint, settings)`: the upstream half. None: there is none, and no endpoint can speak it."""
    preference: int = 0
    """Listeners that name no protocols offer all that have ALPN names; those that prefer themselves more come first."""
    silence_seconds: Callable[[Any], float] = _ten_seconds
    """How long a client is waited for that says nothing, by the settings: where a listener speaks several protocols,
    the longest counts until the first byte tells them apart."""
    multiplexed: bool = False
    """Whether an upstream connection takes several exchanges at once: such connections are shared up to `capacity`."""
