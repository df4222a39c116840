"""Heads by h11: the reference, always there."""

from __future__ import annotations

import h11

from daemun_http1.codec import Fields, HeadError

__all__ = ["H11Codec"]

_ASKED = h11.Request(
    method="GET", target="/", headers=[("Host", "a"), ("Connection", "upgrade"), ("Upgrade", "websocket")]
)
_ANY_HEAD_BYTES = 1 << 30  # the reader has bounded it before


class H11Codec:
    """Takes heads apart with the reading half of h11, a connection for each head."""

    name = "h11"

    def request_fields(self, block: bytes) -> Fields:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_ANY_HEAD_BYTES)
        return _fields(connection, block)

    def response_fields(self, block: bytes) -> Fields:
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_ANY_HEAD_BYTES)
        connection.send(_ASKED)
        connection.send(h11.EndOfMessage())
        return _fields(connection, block)


def _fields(connection: h11.Connection, block: bytes) -> Fields:
    connection.receive_data(block)
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError as error:
        raise HeadError(str(error)) from None
    if not isinstance(event, (h11.Request, h11.Response, h11.InformationalResponse)):
        raise HeadError("no head")
    return [(bytes(name), bytes(value)) for name, value in event.headers]
