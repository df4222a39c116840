"""Heads by h11: the reference, always there."""

from __future__ import annotations

import re

import h11

from daemun_http1.codec import Fields, HeadError, checked

__all__ = ["H11Codec"]

_ASKED = h11.Request(method="GET", target="/", headers=[("Host", "a")])
_ANY_HEAD_BYTES = 1 << 30  # the reader has bounded it before
_MENDED = re.compile(rb"content-length:.*,", re.IGNORECASE)


class H11Codec:
    """Takes heads apart with the reading half of h11, a connection for each head.

    h11 mends a `Content-Length` that is said twice; we refuse it, as the others do.
    """

    name = "h11"

    def request_fields(self, lines: list[bytes]) -> Fields:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_ANY_HEAD_BYTES)
        return _fields(connection, b"GET / HTTP/1.0", lines)

    def response_fields(self, lines: list[bytes]) -> Fields:
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_ANY_HEAD_BYTES)
        connection.send(_ASKED)
        connection.send(h11.EndOfMessage())
        return _fields(connection, b"HTTP/1.1 200 OK", lines)


def _fields(connection: h11.Connection, first: bytes, lines: list[bytes]) -> Fields:
    connection.receive_data(b"\r\n".join((first, *checked(lines), b"", b"")))
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError as error:
        raise HeadError(str(error), coding=error.error_status_hint == 501) from None
    if not isinstance(event, (h11.Request, h11.Response)):
        raise HeadError("no head")
    if len(event.headers) != len(lines) or any(map(_MENDED.match, lines)):
        raise HeadError("a Content-Length is said twice")
    return [(bytes(name), bytes(value)) for name, value in event.headers]
