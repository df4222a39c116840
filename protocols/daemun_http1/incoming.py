"""A request as its connection needs it, from the lines of its head: what is ambiguous or forbidden ends here."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from daemun import Dialect, ExchangeError, Headers, Reason, normal_authority, normal_target
from daemun_http1 import grammar
from daemun_http1.lines import MAX_LINE_BYTES, MAX_LINES, Line
from daemun_http1.reader import CHUNKED, MAX_LENGTH_DIGITS
from daemun_http1.roles import (
    CODING,
    CONNECTION,
    EXPECT,
    HOST,
    IDENTITY,
    KEEP_ALIVE,
    KEPT,
    LENGTH,
    REFUSED,
    UPGRADE,
)
from daemun_http1.settings import Http1Settings

__all__ = ["STAYING", "Field", "Incoming", "first_line", "plain_line", "read_request", "tokens"]

Field = tuple[bytes, bytes]

STAYING = frozenset((b"host", b"close", b"keep-alive", b"upgrade", b""))
"""What `Connection` may name without a field being dropped for it."""


class Incoming(Struct, eq=False):
    """A request as its connection needs it: the message's parts, and what the connection does next."""

    method: bytes
    target: bytes
    authority: bytes = b""
    headers: Headers = ()
    """Its fields, without those of framing and of the connection, with those that tell about the client."""
    minor: int = 1
    keep_alive: bool = True
    length: int = 0
    """Bytes of content, or `CHUNKED`."""
    identity: Sequence[Field] = ()
    """Fields about the client that it sent itself."""
    expects_continue: bool = False
    protocol: bytes = b""
    dialect: Dialect | None = None


_plain_lines: dict[bytes, tuple[bytes, bytes]] = {}


def plain_line(line: bytes) -> tuple[bytes, bytes] | None:
    """Method and target of a request line with nothing special in it; None for any other."""
    found = _plain_lines.get(line)
    if found is None:
        match = grammar.PLAIN_REQUEST_LINE.fullmatch(line)
        if match is None:
            return None
        found = match[1], match[2]
        if len(line) <= MAX_LINE_BYTES and b"?" not in line:
            if len(_plain_lines) >= MAX_LINES:
                _plain_lines.clear()
            _plain_lines[line] = found
    return found


def first_line(line: bytes) -> Incoming | None:
    """The request of any other request line; None if it does not match the grammar."""
    match = grammar.REQUEST_LINE.fullmatch(line)
    if match is None:
        return None
    method, target, minor = match.groups()
    return Incoming(method, target, minor=0 if minor == b"0" else 1)


def tokens(value: bytes) -> list[bytes]:
    """The members of a list of tokens, lower-case."""
    return [token.strip(b" \t") for token in value.lower().split(b",")]


def read_request(request: Incoming, lines: list[Line], settings: Http1Settings, scheme: str) -> Incoming:
    """`request`, whose first line was read, with what its field lines say.

    Raises `ExchangeError` for what is ambiguous, forbidden or not spoken here.
    """
    identity: list[Field] = []
    kept: list[Field] = []
    hosts: list[bytes] = []
    lengths: list[bytes] = []
    codings: list[bytes] = []
    connection: list[bytes] = []
    upgrades: list[bytes] = []
    minor = request.minor
    for role, field, _ in lines:
        if role == KEPT:
            kept.append(field)
        elif role == HOST:
            hosts.append(field[1])
        elif role == LENGTH:
            lengths.append(field[1])
        elif role == CODING:
            codings.append(field[1])
        elif role in (CONNECTION, KEEP_ALIVE):
            connection += tokens(field[1])
        elif role == UPGRADE:
            upgrades += tokens(field[1])
        elif role == EXPECT:
            if field[1].lower() != b"100-continue":
                raise ExchangeError(Reason.EXPECTATION_FAILED, "only 100-continue can be expected")
            request.expects_continue = minor == 1
        elif role == IDENTITY:
            identity.append(field)
        elif role == REFUSED:
            raise ExchangeError(Reason.BAD_REQUEST, "field names with an underscore are refused here")
    if lengths or codings:
        request.length = _length(lengths, codings, minor)
    if len(hosts) > 1 or (not hosts and minor == 1):
        raise ExchangeError(Reason.BAD_REQUEST, "a request needs one Host")
    _read_target(request, hosts[0] if hosts else b"", scheme, settings)
    request.keep_alive = minor == 1
    if connection:
        named = set(connection)
        if minor == 0:
            request.keep_alive = b"keep-alive" in named
        if b"close" in named:
            request.keep_alive = False
        if b"upgrade" in named and upgrades and minor == 1 and request.length == 0:
            allowed = [token for token in upgrades if token.decode("latin-1") in settings.upgrades]
            request.protocol = allowed[0] if allowed and b"h2c" not in upgrades else b""
        named -= STAYING
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


def _length(lengths: list[bytes], codings: list[bytes], minor: int) -> int:
    if codings:
        if lengths or minor == 0:
            raise ExchangeError(Reason.BAD_REQUEST, "Transfer-Encoding beside Content-Length or in HTTP/1.0")
        if len(codings) > 1 or codings[0].lower() != b"chunked":
            raise ExchangeError(Reason.NOT_IMPLEMENTED, "the only transfer coding taken is chunked")
        return CHUNKED
    if len(lengths) > 1 or not lengths[0].isdigit() or len(lengths[0]) > MAX_LENGTH_DIGITS:
        raise ExchangeError(Reason.BAD_REQUEST, "malformed Content-Length")
    return int(lengths[0])


def _read_target(request: Incoming, host: bytes, scheme: str, settings: Http1Settings) -> None:
    target = request.target
    if request.method == b"CONNECT":
        if not settings.connect:
            raise ExchangeError(Reason.NOT_IMPLEMENTED, "CONNECT is not taken here")
        request.authority = normal_authority(target)
        if not request.authority.rpartition(b":")[2].isdigit() or request.length:
            raise ExchangeError(Reason.BAD_REQUEST, "CONNECT needs host:port and no content")
        request.target = b""
        request.protocol = b"connect"
        return
    if request.method == b"TRACE":
        raise ExchangeError(Reason.METHOD_REFUSED, "TRACE is not taken here")
    if target[:1] == b"/":
        request.target = normal_target(target)
    elif target == b"*" and request.method == b"OPTIONS":
        pass
    else:
        if host:
            normal_authority(host)
        named, slashes, rest = target.partition(b"://")
        if not slashes or named.lower() not in (b"http", b"https"):
            raise ExchangeError(Reason.BAD_REQUEST, "a target is a path or an absolute http URL")
        if named.lower() != scheme.encode():
            raise ExchangeError(Reason.MISDIRECTED, f"this listener speaks {scheme}")
        size = min(end for end in (rest.find(b"/"), rest.find(b"?"), rest.find(b"#"), len(rest)) if end >= 0)
        host, path = rest[:size], rest[size:]
        if not host:
            raise ExchangeError(Reason.BAD_REQUEST, "an absolute target needs a host")
        request.target = normal_target(path if path[:1] == b"/" else b"/" + path)
    if host or request.minor == 1:
        request.authority = normal_authority(host)
