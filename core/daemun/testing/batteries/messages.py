"""What makes a message one that can be sent, and bodies that know what was done to them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import anyio
import anyio.lowlevel

from daemun.headers import Headers
from daemun.message import Body, Request, Response

__all__ = ["FRAMING", "ListenedBody", "WaitingBody", "field_fault", "framing_fault", "request_fault", "response_fault"]

FRAMING = frozenset(
    (
        b"connection",
        b"content-length",
        b"http2-settings",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"transfer-encoding",
        b"upgrade",
    )
)
"""Fields that belong to a connection (RFC 9110 §7.6.1), and not to a message."""
_SWITCHING = (b"connection", b"upgrade")
_SWITCHING_STATUSES = (101, 426)
"""These say what may be switched to (RFC 9110 §7.8, §15.5.22)."""
_TAKES_TRAILERS = (b"te", b"trailers")
"""The one that a request may have in HTTP/2 (RFC 9113 §8.2.2)."""
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+\Z")
_METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_TARGET = re.compile(rb"[!-~\x80-\xff]*\Z")


def field_fault(headers: object) -> str:
    """What is wrong with fields, in words; "": nothing."""
    if not isinstance(headers, tuple):
        return f"the fields are a {type(headers).__name__}, not a tuple of pairs"
    for pair in headers:
        if not (isinstance(pair, tuple) and len(pair) == 2 and all(isinstance(part, bytes) for part in pair)):
            return f"the field {pair!r} is no pair of bytes"
        name, value = pair
        if name != name.lower():
            return f"the field {name!r} is not lower-case"
        if not _TOKEN.match(name):
            return f"the field name {name!r} is no token"
        if any(byte in value for byte in b"\r\n\0"):
            return f"the field {name!r} holds a line end or NUL: {value[:40]!r}"
    return ""


def framing_fault(message: Request | Response) -> str:
    """Which field of framing or of a connection a message has; "": none."""
    allowed = _SWITCHING if isinstance(message, Response) and message.status in _SWITCHING_STATUSES else ()
    found = sorted(
        name
        for name, value in message.headers
        if name in FRAMING and name not in allowed and (name, value) != _TAKES_TRAILERS
    )
    return f"the field {found[0]!r}" if found else ""


def request_fault(request: object) -> str:
    """What keeps a request from being sent; "": nothing."""
    if not isinstance(request, Request):
        return f"{type(request).__name__} in the place of a Request"
    if not (isinstance(request.method, bytes) and _METHOD.match(request.method)):
        return f"the method is {request.method!r}"
    target = request.target
    if not (isinstance(target, bytes) and _TARGET.match(target)) or (target[:1] not in (b"/", b"") and target != b"*"):
        return f"the target is {target!r}"
    if not isinstance(request.authority, bytes) or request.authority != request.authority.lower():
        return f"the authority is {request.authority!r}"
    return field_fault(request.headers) or _body_fault(request.body)


def response_fault(response: object) -> str:
    """What keeps a response from being sent; "": nothing."""
    if not isinstance(response, Response):
        return f"{type(response).__name__} in the place of a Response"
    if not isinstance(response.status, int) or not 100 <= response.status <= 999:
        return f"the status is {response.status!r}"
    return field_fault(response.headers) or _body_fault(response.body)


def _body_fault(body: object) -> str:
    if not isinstance(body, Body):
        return f"the body {body!r} has not all of length, trailers, read() and aclose()"
    if body.length is not None and (not isinstance(body.length, int) or body.length < 0):
        return f"the body's length is {body.length!r}"
    return ""


class ListenedBody:
    """A body that counts what is done to it; a piece may be an error to raise."""

    def __init__(
        self, pieces: Iterable[bytes | Exception] = (), *, trailers: Headers = (), length: int | None = None
    ) -> None:
        self.length = length
        self.trailers: Headers = ()
        self.reads = 0
        """How often it was read."""
        self.ended = False
        """Its end was read."""
        self.closed = 0
        """How often it was closed."""
        self._pieces: Iterator[bytes | Exception] = iter(pieces)
        self._trailers = trailers

    async def read(self) -> bytes:
        self.reads += 1
        if self.reads % 64 == 0:
            await anyio.lowlevel.checkpoint()  # who reads without end can be cancelled
        piece = next(self._pieces, b"")
        if isinstance(piece, Exception):
            raise piece
        if not piece:
            self.ended, self.trailers = True, self._trailers
        return piece

    async def aclose(self) -> None:
        self.closed += 1


class WaitingBody(ListenedBody):
    """A body whose next piece never comes."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = anyio.Event()
        """Somebody waits for it."""

    async def read(self) -> bytes:
        self.reads += 1
        self.asked.set()
        await anyio.sleep_forever()
        raise AssertionError
