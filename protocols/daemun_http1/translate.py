"""Pure functions between HTTP/1 heads and our messages."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from http import HTTPStatus

from msgspec import Struct

from daemun import (
    IDENTITY_FIELDS,
    Body,
    Buffered,
    ExchangeError,
    Headers,
    NoContent,
    Reason,
    Request,
    Response,
)
from daemun_http1 import grammar
from daemun_http1.codec import Fields
from daemun_http1.reader import CHUNKED, UNTIL_CLOSE
from daemun_http1.settings import Http1Settings

__all__ = [
    "Incoming",
    "field_lines",
    "length_of",
    "read_request",
    "read_response",
    "response_head",
    "status_line",
    "upstream_head",
]

_HOP = frozenset(
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
"""Fields of the connection and of framing (RFC 9110 §7.6.1)."""
_TAKEN = _HOP | IDENTITY_FIELDS | {b"host", b"proxy", b"proxy-authorization", b"expect"}
"""Fields of a request that we read and do not hand on as they came. `Proxy` is CGI's HTTP_PROXY."""
_KEPT = frozenset((b"host", b"close", b"keep-alive", b"upgrade", b""))


class Incoming(Struct, eq=False):
    """A request as its connection needs it: the message's parts, and what the connection does next."""

    method: bytes
    target: bytes
    minor: int
    keep_alive: bool
    authority: bytes = b""
    headers: Headers = ()
    identity: Sequence[tuple[bytes, bytes]] = ()
    """Fields about the client that it sent itself."""
    length: int = 0
    """Bytes of content, or `CHUNKED`."""
    expects_continue: bool = False
    protocol: bytes = b""


def read_request(
    method: bytes, target: bytes, minor: int, fields: Fields, scheme: str, settings: Http1Settings
) -> Incoming:
    """A request from its head. Raises `ExchangeError` for what is ambiguous, forbidden or not spoken here."""
    request = Incoming(method, target, minor, minor == 1)
    identity: Fields = []
    kept: Fields = []
    hosts: list[bytes] = []
    lengths: list[bytes] = []
    codings: list[bytes] = []
    connection: list[bytes] = []
    upgrades: list[bytes] = []
    for field in fields:
        name = field[0]
        if name not in _TAKEN:
            kept.append(field)
        elif name == b"host":
            hosts.append(field[1])
        elif name == b"content-length":
            lengths.append(field[1])
        elif name == b"transfer-encoding":
            codings.append(field[1])
        elif name == b"connection":
            connection += [token.strip(b" \t").lower() for token in field[1].split(b",")]
        elif name == b"upgrade":
            upgrades += [token.strip(b" \t").lower() for token in field[1].split(b",")]
        elif name == b"expect":
            if field[1].lower() != b"100-continue":
                raise ExchangeError(Reason.EXPECTATION_FAILED, "only 100-continue can be expected")
            request.expects_continue = minor == 1
        elif name in IDENTITY_FIELDS:
            identity.append(field)
    if lengths or codings:
        request.length = _request_length(lengths, codings, minor)
    if len(hosts) > 1 or (not hosts and minor == 1):
        raise ExchangeError(Reason.BAD_REQUEST, "a request needs one Host")
    _read_target(request, target, hosts[0] if hosts else b"", scheme, settings)
    if connection:
        named = set(connection)
        if minor == 0:
            request.keep_alive = b"keep-alive" in named
        if b"close" in named:
            request.keep_alive = False
        if b"upgrade" in named and upgrades and minor == 1 and request.length == 0:
            allowed = [token for token in upgrades if token.decode("latin-1") in settings.upgrades]
            request.protocol = allowed[0] if allowed and b"h2c" not in upgrades else b""
        named -= _KEPT
        if named:
            kept = [field for field in kept if field[0] not in named]
            identity = [field for field in identity if field[0] not in named]
    if request.expects_continue:
        if request.length:
            kept.append((b"expect", b"100-continue"))
        else:
            request.expects_continue = False
    request.identity = identity
    request.headers = tuple(kept)
    return request


def _request_length(lengths: list[bytes], codings: list[bytes], minor: int) -> int:
    if codings:
        if lengths or minor == 0:
            raise ExchangeError(Reason.BAD_REQUEST, "Transfer-Encoding beside Content-Length or in HTTP/1.0")
        if len(codings) > 1 or codings[0].lower() != b"chunked":
            raise ExchangeError(Reason.NOT_IMPLEMENTED, "the only transfer coding taken is chunked")
        return CHUNKED
    if len(lengths) > 1 or not lengths[0].isdigit() or len(lengths[0]) > 18:
        raise ExchangeError(Reason.BAD_REQUEST, "malformed Content-Length")
    return int(lengths[0])


def _read_target(request: Incoming, target: bytes, host: bytes, scheme: str, settings: Http1Settings) -> None:
    if request.method == b"CONNECT":
        if not settings.connect:
            raise ExchangeError(Reason.NOT_IMPLEMENTED, "CONNECT is not taken here")
        request.authority = grammar.authority(target)
        if not request.authority.rpartition(b":")[2].isdigit() or request.length:
            raise ExchangeError(Reason.BAD_REQUEST, "CONNECT needs host:port and no content")
        request.target = b""
        request.protocol = b"connect"
        return
    if request.method == b"TRACE":
        raise ExchangeError(Reason.METHOD_REFUSED, "TRACE is not taken here")
    if target[:1] == b"/":
        request.target = grammar.origin_form(target)
    elif target == b"*" and request.method == b"OPTIONS":
        pass
    else:
        if host:
            grammar.authority(host)
        named, slashes, rest = target.partition(b"://")
        if not slashes or named.lower() not in (b"http", b"https"):
            raise ExchangeError(Reason.BAD_REQUEST, "a target is a path or an absolute http URL")
        if named.lower() != scheme.encode():
            raise ExchangeError(Reason.MISDIRECTED, f"this listener speaks {scheme}")
        size = min(end for end in (rest.find(b"/"), rest.find(b"?"), rest.find(b"#"), len(rest)) if end >= 0)
        host, path = rest[:size], rest[size:]
        if not host:
            raise ExchangeError(Reason.BAD_REQUEST, "an absolute target needs a host")
        request.target = grammar.origin_form(path if path[:1] == b"/" else b"/" + path)
    if host or request.minor == 1:
        request.authority = grammar.authority(host)


def read_response(
    method: bytes, status: int, minor: int, fields: Fields
) -> tuple[Headers, int, bool, bytes, int | None]:
    """A response from its head: fields, length of its content (or `CHUNKED`, `UNTIL_CLOSE`), whether the
    connection may be used again, the protocol that it switches to, the length that it announced.

    Raises `ExchangeError` (upstream protocol) for framing that cannot be trusted.
    """
    kept: Fields = []
    lengths: list[bytes] = []
    codings: list[bytes] = []
    connection: list[bytes] = []
    upgrade = b""
    for field in fields:
        name = field[0]
        if name not in _HOP:
            kept.append(field)
        elif name == b"content-length":
            lengths.append(field[1])
        elif name == b"transfer-encoding":
            codings.append(field[1])
        elif name == b"connection":
            connection += [token.strip(b" \t").lower() for token in field[1].split(b",")]
        elif name == b"upgrade":
            upgrade = field[1].lower()
    reusable = minor == 1
    if connection:
        named = set(connection)
        reusable = b"close" not in named and (minor == 1 or b"keep-alive" in named)
        named -= _KEPT
        if named:
            kept = [field for field in kept if field[0] not in named]
    announced = None
    if lengths:
        if len(lengths) > 1 or not lengths[0].isdigit() or len(lengths[0]) > 18:
            raise ExchangeError(Reason.UPSTREAM_PROTOCOL, "the upstream sent a malformed Content-Length")
        announced = int(lengths[0])
    if status < 200 or status == 204 or status == 304 or method == b"HEAD":
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
    headers = request.headers
    target = request.target or request.authority
    framing, breaks = b"", len(headers) + 3
    if type(body) is Buffered and not body.trailers:
        framing, breaks = b"content-length: %d\r\n" % len(body.data), breaks + 1
    elif type(body) is NoContent:
        if request.method in _WITH_CONTENT:
            framing, breaks = b"content-length: 0\r\n", breaks + 1
    elif request.protocol:
        if request.method != b"CONNECT":
            framing, breaks = b"connection: upgrade\r\nupgrade: %b\r\n" % request.protocol, breaks + 2
    elif body.length is not None and not body.trailers:
        framing, breaks = b"content-length: %d\r\n" % body.length, breaks + 1
    else:
        framing, breaks = b"transfer-encoding: chunked\r\n", breaks + 1
    try:
        lines = b"\r\n".join((b"host: %b" % request.authority, *map(b": ".join, headers)))
        head = b"%b %b HTTP/1.1\r\n%b\r\n%b\r\n" % (request.method, target, lines, framing)
    except TypeError:
        raise ExchangeError(Reason.PLUGIN_FAULT, "a field is not a pair of bytes") from None
    if head.count(b"\n") != breaks or head.count(b"\r") != breaks or b"\0" in head:
        raise ExchangeError(Reason.PLUGIN_FAULT, "a field or the request line holds a line break or NUL")
    return head


_WITH_CONTENT = frozenset((b"POST", b"PUT", b"PATCH"))


def field_lines(headers: Headers) -> bytes:
    """Fields as they stand in a head or a trailer section. Raises `ExchangeError` for what would break its line."""
    if not headers:
        return b""
    try:
        block = b"\r\n".join(map(b": ".join, headers))
    except TypeError:
        raise ExchangeError(Reason.PLUGIN_FAULT, "a field is not a pair of bytes") from None
    breaks = len(headers) - 1
    if block.count(b"\n") != breaks or block.count(b"\r") != breaks or b"\0" in block:
        raise ExchangeError(Reason.PLUGIN_FAULT, "a field holds a line break or NUL")
    return block + b"\r\n"


def response_head(response: Response, framing: bytes, *, close: bool, minor: int) -> bytes:
    """The head of `response`; `framing` is its framing field lines. Raises `ExchangeError` for a field that cannot
    be sent."""
    lines = field_lines(response.headers)
    if close:
        framing += b"connection: close\r\n"
    elif minor == 0:
        framing += b"connection: keep-alive\r\n"
    return b"%b%b%b\r\n" % (status_line(response.status), lines, framing)


def length_of(body: Body, status: int) -> bytes:
    """The framing field of a response that is not chunked. Raises `ExchangeError` for an interim status."""
    if status < 200:
        raise ExchangeError(Reason.PLUGIN_FAULT, f"status {status} ends no exchange")
    if status == 204 or body.length is None:
        return b""
    if status == 304 and not body.length:
        return b""
    return b"content-length: %d\r\n" % body.length


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
