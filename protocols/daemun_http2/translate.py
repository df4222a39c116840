"""Pure functions between HTTP/2 field sections and our messages."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Sequence
from functools import cache

from msgspec import Struct

from daemun import (
    Dialect,
    ExchangeError,
    Headers,
    Reason,
    Request,
    Response,
    header,
    normal_authority,
    normal_target,
)
from daemun_http2.decoding import Field
from daemun_http2.encoding import encode, encode_pseudo, length_block, literal
from daemun_http2.fields import (
    CONTENT_TYPE,
    COOKIE,
    DROPPED,
    EXPECT,
    HOST,
    IDENTITY,
    KEPT,
    LENGTH,
    PSEUDO,
    UNDERSCORE,
    Malformed,
    role_of,
)
from daemun_http2.settings import Http2Settings

__all__ = [
    "BARE_STATUSES",
    "Incoming",
    "read_request",
    "read_response",
    "read_trailers",
    "request_block",
    "response_block",
    "status_block",
    "switched",
    "switching",
]

BARE_STATUSES = frozenset((204, 304))
"""Statuses of responses without content (RFC 9110 §6.4.1)."""
_MAX_LENGTH_DIGITS = 18
_WEBSOCKET = b"websocket"
_ACCEPT_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_NOT_IN_TRAILERS = frozenset(
    (
        b"authorization",
        b"cache-control",
        b"content-encoding",
        b"content-length",
        b"content-range",
        b"content-type",
        b"cookie",
        b"expect",
        b"host",
        b"max-forwards",
        b"range",
        b"set-cookie",
        b"te",
        b"trailer",
    )
)
"""Fields that route, frame or authenticate: not taken when everybody has decided already (RFC 9110 §6.5.1)."""


class Incoming(Struct, eq=False):
    """A request as its connection needs it."""

    method: bytes
    target: bytes
    authority: bytes
    headers: Headers
    """Its fields, without those of the connection."""
    length: int | None = None
    """What `content-length` says."""
    identity: Sequence[Field] = ()
    """Fields about the client that it sent itself."""
    expects_continue: bool = False
    content_type: bytes | None = None
    protocol: bytes = b""
    """What is to be switched to."""
    dialect: Dialect | None = None


def read_request(fields: Sequence[Field], settings: Http2Settings, scheme: str, server_name: str) -> Incoming:
    """The request that `fields` are (RFC 9113 §8.3.1). Any of the schemes of HTTP will do if `scheme` is "".

    Raises `Malformed`, or `ExchangeError` for what is well formed and not taken here.
    """
    pseudo: dict[bytes, bytes] = {}
    kept: list[Field] = []
    identity: list[Field] = []
    cookies: list[bytes] = []
    hosts: list[bytes] = []
    length: int | None = None
    content_type: bytes | None = None
    expects_continue = ended = False
    for field in fields:
        role = role_of(field)
        if role == PSEUDO:
            if ended or field[0] in pseudo or field[0] == b":status":
                raise Malformed("a pseudo-header field that stands twice, too late, or in the wrong message")
            pseudo[field[0]] = field[1]
            continue
        ended = True
        if role == KEPT:
            kept.append(field)
        elif role == CONTENT_TYPE:
            content_type = content_type or field[1]
            kept.append(field)
        elif role == LENGTH:
            length = _length(field[1], length)
        elif role == COOKIE:
            cookies.append(field[1])
        elif role == HOST:
            hosts.append(field[1])
        elif role == EXPECT:
            if field[1].lower() != b"100-continue":
                raise ExchangeError(Reason.EXPECTATION_FAILED, "only 100-continue can be expected")
            expects_continue = True
        elif role == IDENTITY:
            identity.append(field)
        else:
            assert role in (UNDERSCORE, DROPPED)
    if cookies:
        kept.append((b"cookie", b"; ".join(cookies)))
    method = pseudo.get(b":method", b"")
    protocol = _protocol(pseudo, method, settings)
    if method == b"CONNECT" and not protocol:
        return _connect(pseudo, settings, kept)
    authority = _authority(pseudo, hosts)
    target = _target(pseudo, method)
    named = pseudo[b":scheme"].lower()
    if named not in (b"http", b"https"):
        raise Malformed("a scheme that is not of HTTP")
    if scheme and named != scheme.encode():
        raise ExchangeError(Reason.MISDIRECTED, f"this listener speaks {scheme}")
    if settings.strict_server_name and server_name and _host(authority) != server_name.encode().lower():
        raise ExchangeError(Reason.MISDIRECTED, "the TLS handshake named another host")
    if method == b"TRACE":
        raise ExchangeError(Reason.METHOD_REFUSED, "TRACE is not taken here")
    if protocol:
        method = b"GET"
        kept = [field for field in kept if field[0] != b"sec-websocket-key"]
        kept.append((b"sec-websocket-key", base64.b64encode(os.urandom(16))))
    elif expects_continue:
        kept.append((b"expect", b"100-continue"))
    return Incoming(method, target, authority, tuple(kept), length, identity, expects_continue, content_type, protocol)


def _protocol(pseudo: dict[bytes, bytes], method: bytes, settings: Http2Settings) -> bytes:
    protocol = pseudo.get(b":protocol")
    if protocol is None:
        return b""
    if method != b"CONNECT":
        raise Malformed("a protocol without CONNECT")
    if protocol.decode("latin-1") not in settings.upgrades or protocol != _WEBSOCKET:
        raise ExchangeError(Reason.NOT_IMPLEMENTED, "this protocol is not spoken here")
    return protocol


def _connect(pseudo: dict[bytes, bytes], settings: Http2Settings, kept: list[Field]) -> Incoming:
    if b":path" in pseudo or b":scheme" in pseudo:
        raise Malformed("CONNECT has neither scheme nor path")
    if not settings.connect:
        raise ExchangeError(Reason.NOT_IMPLEMENTED, "CONNECT is not taken here")
    authority = normal_authority(pseudo.get(b":authority", b""))
    if not authority.rpartition(b":")[2].isdigit():
        raise ExchangeError(Reason.BAD_REQUEST, "CONNECT needs host:port")
    return Incoming(b"CONNECT", b"", authority, tuple(kept), protocol=b"connect")


def _authority(pseudo: dict[bytes, bytes], hosts: list[bytes]) -> bytes:
    named = pseudo.get(b":authority")
    if named is not None:
        hosts = [named, *hosts]
    if not hosts:
        raise ExchangeError(Reason.BAD_REQUEST, "a request needs an authority")
    found = {normal_authority(host) for host in hosts}
    if len(found) > 1:
        raise Malformed("host is not what :authority says")
    return found.pop()


def _target(pseudo: dict[bytes, bytes], method: bytes) -> bytes:
    path = pseudo.get(b":path")
    if not method or not path or b":scheme" not in pseudo:
        raise Malformed("a request needs :method, :scheme and :path")
    if not _is_token(method):
        raise Malformed("a method that is none")
    if path == b"*" and method == b"OPTIONS":
        return path
    if path[:1] != b"/" or not _is_path(path):
        raise Malformed("a path begins with / and holds no blanks and no controls")
    return normal_target(path)


def _host(authority: bytes) -> bytes:
    host, colon, port = authority.rpartition(b":")
    return host if colon and port.isdigit() else authority


def _is_token(value: bytes) -> bool:
    return len(value) <= 64 and not value.translate(None, _TOKEN)


def _is_path(value: bytes) -> bool:
    return not value.translate(None, _VISIBLE)


_TOKEN = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_VISIBLE = bytes(range(0x21, 0x7F))


def _length(value: bytes, before: int | None) -> int:
    if not value.isdigit() or len(value) > _MAX_LENGTH_DIGITS or before not in (None, int(value)):
        raise Malformed("a content-length that is none, or two that differ")
    return int(value)


def read_trailers(fields: Sequence[Field], *, of_request: bool = False) -> Headers:
    """The trailer section that `fields` are. Raises `Malformed`. What may not stand there is left out."""
    kept = []
    for field in fields:
        role = role_of(field)
        if role == PSEUDO:
            raise Malformed("a pseudo-header field in trailers")
        if (role == KEPT or (role == UNDERSCORE and not of_request)) and field[0] not in _NOT_IN_TRAILERS:
            kept.append(field)
    return tuple(kept)


def read_response(fields: Sequence[Field]) -> tuple[int, Headers, int | None]:
    """Status, fields and announced length of a response (RFC 9113 §8.3.2). Raises `Malformed`."""
    if not fields or fields[0][0] != b":status":
        raise Malformed("a response needs :status")
    status = fields[0][1]
    if len(status) != 3 or not status.isdigit() or status[:1] == b"0":
        raise Malformed("a status that is none")
    kept: list[Field] = []
    length: int | None = None
    for field in fields[1:]:
        role = role_of(field)
        if role == PSEUDO:
            raise Malformed("a second pseudo-header field in a response")
        if role == LENGTH:
            length = _length(field[1], length)
        elif role != DROPPED and role != HOST:
            kept.append(field)
    return int(status), tuple(kept), length


def request_block(request: Request, scheme: bytes, *, connects: bool) -> bytes:
    """The field block of `request`. Raises `ExchangeError` for what cannot be sent, or the peer cannot take."""
    method, headers = request.method, request.headers
    block = []
    if request.protocol and method != b"CONNECT":
        if not connects:
            switch = request.protocol.decode("latin-1")
            raise ExchangeError(
                Reason.UPSTREAM_PROTOCOL,
                f"the upstream takes no extended CONNECT (RFC 8441), which {switch} over HTTP/2 needs",
            )
        headers = tuple(field for field in headers if field[0] not in (b"sec-websocket-key", b"sec-websocket-accept"))
        block.append(encode_pseudo(b":protocol", request.protocol))
        method = b"CONNECT"
    block.append(encode_pseudo(b":method", method))
    if request.target:
        block += (encode_pseudo(b":scheme", scheme), encode_pseudo(b":path", request.target))
    if request.authority:
        block.append(encode_pseudo(b":authority", request.authority))
    block.append(encode(headers))
    content_type = header(headers, b"content-type")
    if content_type is not None and content_type.startswith(b"application/grpc"):
        block.append(_TE_TRAILERS)
        return b"".join(block)
    length = request.body.length
    if length is not None and not request.protocol and (length or method in _WITH_CONTENT):
        block.append(length_block(length))
    return b"".join(block)


_TE_TRAILERS = literal(b"te", b"trailers")
_WITH_CONTENT = frozenset((b"POST", b"PUT", b"PATCH"))


@cache
def status_block(status: int) -> bytes:
    """The part of a field block that says the status. Raises `ExchangeError` for one that cannot stand there."""
    if not 100 <= status <= 999 or status == 101:
        raise ExchangeError(Reason.PLUGIN_FAULT, f"status {status} cannot be sent over HTTP/2")
    return encode_pseudo(b":status", b"%d" % status)


def response_block(response: Response, length: int | None) -> bytes:
    """The field block of `response`, whose content has `length` bytes (None: not known, or not to be said)."""
    if length is None:
        return status_block(response.status) + encode(response.headers)
    return b"%b%b%b" % (
        status_block(response.status),
        encode(response.headers),
        length_block(length),
    )


def switched(response: Response) -> Response:
    """A response that switches to WebSocket as HTTP/2 says it: 200, and no accepted key (RFC 8441 §5)."""
    return Response(
        200, tuple(field for field in response.headers if field[0] != b"sec-websocket-accept"), response.body
    )


def switching(request: Request, response: Response) -> Response:
    """A 200 to an extended CONNECT as HTTP/1 says it: 101, with the key accepted that the client sent."""
    key = header(request.headers, b"sec-websocket-key") or b""
    accept = base64.b64encode(hashlib.sha1(key + _ACCEPT_GUID, usedforsecurity=False).digest())
    return Response(101, (*response.headers, (b"sec-websocket-accept", accept)), response.body)
