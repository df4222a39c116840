"""Pure functions between HTTP/1 heads and our messages."""

from __future__ import annotations

from functools import cache
from http import HTTPStatus

from daemun import Buffered, ExchangeError, Headers, NoContent, Reason, Request, Response
from daemun_http1 import grammar
from daemun_http1.incoming import STAYING, Field, tokens
from daemun_http1.lines import Line
from daemun_http1.reader import CHUNKED, MAX_LENGTH_DIGITS, UNTIL_CLOSE
from daemun_http1.roles import (
    CODING,
    CONNECTION,
    KEEP_ALIVE,
    KEPT,
    LENGTH,
    UPGRADE,
)
from daemun_http1.written import field_lines

__all__ = [
    "BARE_STATUSES",
    "length_of",
    "read_response",
    "read_status",
    "response_head",
    "status_line",
    "upstream_head",
]

BARE_STATUSES = frozenset((204, 304))
"""Statuses of responses without content, whatever their head says (RFC 9112 §6.3)."""

_MAX_STATUS_LINES = 1024
_status_lines: dict[bytes, tuple[int, int]] = {}


def read_status(line: bytes) -> tuple[int, int] | None:
    """Status and minor version of a status line; None if it is none."""
    found = _status_lines.get(line)
    if found is None:
        match = grammar.STATUS_LINE.fullmatch(line)
        if match is None:
            return None
        found = int(match[2]), 0 if match[1] == b"0" else 1
        if len(_status_lines) < _MAX_STATUS_LINES:
            _status_lines[line] = found
    return found


def read_response(
    method: bytes, status: int, minor: int, lines: list[Line]
) -> tuple[Headers, int, bool, bytes, int | None]:
    """A response from its head: fields, length of its content (or `CHUNKED`, `UNTIL_CLOSE`), whether the
    connection may be used again, the protocol that it switches to, the length that it announced.

    Raises `ExchangeError` (upstream protocol) for framing that cannot be trusted.
    """
    kept: list[Field] = []
    lengths: list[bytes] = []
    codings: list[bytes] = []
    connection: list[bytes] = []
    upgrade = b""
    for role, field, _ in lines:
        if role == KEPT:
            kept.append(field)
        elif role == LENGTH:
            lengths.append(field[1])
        elif role == CODING:
            codings.append(field[1])
        elif role in (CONNECTION, KEEP_ALIVE):
            connection += tokens(field[1])
        elif role == UPGRADE:
            upgrade = field[1].lower()
    reusable = minor == 1
    if connection:
        named = set(connection)
        reusable = b"close" not in named and (minor == 1 or b"keep-alive" in named)
        named -= STAYING
        if named:
            kept = [field for field in kept if field[0] not in named]
    announced = None
    if lengths:
        if len(lengths) > 1 or not lengths[0].isdigit() or len(lengths[0]) > MAX_LENGTH_DIGITS:
            raise ExchangeError(Reason.UPSTREAM_PROTOCOL, "the upstream sent a malformed Content-Length")
        announced = int(lengths[0])
    if status < 200 or status in BARE_STATUSES or method == b"HEAD":
        return tuple(kept), 0, reusable and not (codings and method != b"HEAD"), upgrade, announced
    if codings:
        if lengths or minor == 0 or len(codings) > 1 or codings[0].lower() != b"chunked":
            raise ExchangeError(
                Reason.UPSTREAM_PROTOCOL, "the upstream sent a transfer coding that is not chunked alone"
            )
        return tuple(kept), CHUNKED, reusable, upgrade, None
    if announced is not None:
        return tuple(kept), announced, reusable, upgrade, announced
    return tuple(kept), UNTIL_CLOSE, False, upgrade, None


def upstream_head(request: Request) -> bytes:
    """The head of `request` for an HTTP/1.1 upstream. Raises `ExchangeError` for what would break its lines."""
    body = request.body
    framing = b""
    if type(body) is NoContent:
        if request.method in _WITH_CONTENT:
            framing = b"content-length: 0\r\n"
    elif type(body) is Buffered and not body.trailers:
        framing = b"content-length: %d\r\n" % len(body.data)
    elif request.protocol:
        if request.method != b"CONNECT":
            framing = b"connection: upgrade\r\nupgrade: %b\r\n" % request.protocol
    elif body.length is not None and not body.trailers:
        framing = b"content-length: %d\r\n" % body.length
    else:
        framing = b"transfer-encoding: chunked\r\n"
    method, target, authority = request.method, request.target or request.authority, request.authority
    try:
        first = b"%b %b HTTP/1.1\r\nhost: %b\r\n" % (method, target, authority)
    except TypeError:
        raise ExchangeError(Reason.PLUGIN_FAULT, "method, target and authority are bytes") from None
    if first.count(b"\n") != 2 or first.count(b"\r") != 2 or b"\0" in first:
        raise ExchangeError(Reason.PLUGIN_FAULT, "a field or the request line holds a line break or NUL")
    return b"".join((first, field_lines(request.headers), framing, b"\r\n"))


_WITH_CONTENT = frozenset((b"POST", b"PUT", b"PATCH"))


def response_head(response: Response, framing: bytes, *, close: bool, minor: int) -> bytes:
    """The head of `response`; `framing` is its framing field lines. Raises `ExchangeError` for a field that cannot
    be sent."""
    lines = field_lines(response.headers)
    if close:
        framing += b"connection: close\r\n"
    elif minor == 0:
        framing += b"connection: keep-alive\r\n"
    return b"".join((status_line(response.status), lines, framing, b"\r\n"))


def length_of(length: int | None, status: int) -> bytes:
    """The framing field of a response that is not chunked. Raises `ExchangeError` for an interim status."""
    if status < 200:
        raise ExchangeError(Reason.PLUGIN_FAULT, f"status {status} ends no exchange")
    if status == 204 or length is None:
        return b""
    if status == 304 and not length:
        return b""
    return b"content-length: %d\r\n" % length


@cache
def status_line(status: int) -> bytes:
    """The first line of a response. Raises `ExchangeError` for a status that cannot stand there."""
    if not 100 <= status <= 999:
        raise ExchangeError(Reason.PLUGIN_FAULT, f"status {status} does not have three digits")
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}\r\n".encode()
