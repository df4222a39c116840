"""Which wire protocol a connection speaks: ALPN says it on TLS, the first bytes on plaintext."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import anyio
from anyio.streams.tls import TLSAttribute

from daemun.errors import SettingsError
from daemun.extend.wire import Connection, Sniff, WireProtocol
from daemun.transport.stream import Stream

__all__ = ["Conversation", "Spoken", "negotiate"]

_GONE = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)

_ENOUGH_BYTES = 24
"""The longest preface that tells a protocol (HTTP/2: RFC 9113 §3.4)."""
_SNIFF_SECONDS = 10.0
"""From the first byte to enough of them."""


class Spoken:
    """What a listener speaks, with all that plugins have to say of it."""

    __slots__ = ("protocols", "settings", "silence_seconds")

    def __init__(self, listener: str, protocols: Sequence[WireProtocol], settings: Mapping[str, Any]) -> None:
        """`settings` are those of each wire protocol by its name. Raises `SettingsError` where there is no protocol,
        and whatever a protocol raises."""
        if not protocols:
            words = f"listener {listener} speaks nothing: no plugin brought a wire protocol that TLS can name"
            raise SettingsError(words, path="$.listeners")
        self.protocols = tuple(protocols)
        self.settings = settings
        self.silence_seconds = max(one.silence_seconds(settings[one.name]) for one in protocols)
        """How long a client is waited for that says nothing."""


class Conversation:
    """`async with Conversation(stream)`: what is done inside ends in peace when the peer goes; `stream` is then closed.

    A coroutine around it would be resumed with the connection, for each request.
    """

    __slots__ = ("_stream",)

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, _: object, error: BaseException | None, trace: object) -> bool:
        await self._stream.aclose()
        return isinstance(error, _GONE)


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
    if connection.draining:
        return None
    timer = connection.timers.timer(stream.abort)
    timer.start(silence_seconds)
    connection.on_drain = stream.abort
    seen = b""
    try:
        while True:
            while not (data := stream.receive_nowait()):
                await stream.wait_readable()
            connection.on_drain = None
            seen += data
            found = _claimed(seen[:_ENOUGH_BYTES], protocols)
            if isinstance(found, WireProtocol):
                stream.unread(seen)
                return found
            if found is Sniff.NO or len(seen) >= _ENOUGH_BYTES:
                return None
            timer.start(_SNIFF_SECONDS)
    finally:
        timer.cancel()
        connection.on_drain = None


def _claimed(start: bytes, protocols: Sequence[WireProtocol]) -> WireProtocol | Sniff:
    """The first protocol that says yes to what came; otherwise whether more would tell."""
    undecided = False
    for protocol in protocols:
        answer = protocol.sniff(start)
        if answer is Sniff.YES:
            return protocol
        undecided = undecided or answer is Sniff.MORE
    return Sniff.MORE if undecided else Sniff.NO
