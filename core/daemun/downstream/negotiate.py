"""Which wire protocol a connection speaks: ALPN says it on TLS, the first bytes on plaintext."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
from anyio.streams.tls import TLSAttribute

from daemun.extend.wire import Connection, Sniff, WireProtocol
from daemun.transport.stream import Stream

__all__ = ["negotiate"]

_ENOUGH_BYTES = 24
"""The longest preface that tells a protocol (HTTP/2: RFC 9113 §3.4)."""
_SNIFF_SECONDS = 10.0
"""From the first byte to enough of them."""


async def negotiate(
    stream: Stream, connection: Connection, protocols: Sequence[WireProtocol], silence_seconds: float
) -> WireProtocol | None:
    """The protocol of the connection, or None if nobody claims it. Costs nothing where a listener has only one.

    A client that says nothing is waited for `silence_seconds`, and no longer than until the gateway drains.
    """
    if len(protocols) == 1:
        return protocols[0]
    chosen = stream.extra(TLSAttribute.alpn_protocol, None)
    if chosen is not None:
        return next((protocol for protocol in protocols if chosen in protocol.alpn), None)
    seen = b""
    with anyio.move_on_after(silence_seconds) as scope:
        connection.on_drain = scope.cancel
        if connection.draining:
            return None
        while True:
            seen += await stream.receive(_ENOUGH_BYTES)
            connection.on_drain = None
            undecided = False
            for protocol in protocols:
                answer = protocol.sniff(seen)
                if answer is Sniff.YES:
                    stream.unread(seen)
                    return protocol
                undecided = undecided or answer is Sniff.MORE
            if not undecided or len(seen) >= _ENOUGH_BYTES:
                return None
            scope.deadline = min(scope.deadline, anyio.current_time() + _SNIFF_SECONDS)
    return None
