"""Whether a route matches, condition by condition; `mismatch` says in words why not, by the rules of the index."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

from daemun.headers import header_values
from daemun.message import Request
from daemun.routing.spec import HostKind, HostMatch, PathKind, PathMatch, RouteSpec, ValueKind, ValueMatch

__all__ = ["ValueTest", "host_of", "mismatch", "path_prefix", "value_test"]


def host_of(authority: bytes) -> bytes:
    """The host of an authority: no port, no dot of the root, brackets kept."""
    host = authority[: authority.find(b"]") + 1] if authority[:1] == b"[" else authority.partition(b":")[0]
    return host[:-1] if host[-1:] == b"." else host


class ValueTest:
    __slots__ = ("_kind", "_regex", "_value")

    def __init__(self, match: ValueMatch) -> None:
        self._kind = match.kind
        self._value = match.value.encode()
        self._regex = re.compile(self._value) if match.kind is ValueKind.REGEX else None

    def holds(self, values: list[bytes]) -> bool:
        match self._kind:
            case ValueKind.PRESENT:
                return bool(values)
            case ValueKind.ABSENT:
                return not values
            case ValueKind.EXACT:
                return self._value in values
            case ValueKind.PREFIX:
                return any(value.startswith(self._value) for value in values)
            case ValueKind.REGEX:
                assert self._regex is not None
                return any(self._regex.fullmatch(value) for value in values)


def value_test(match: ValueMatch, name: str) -> tuple[bytes, ValueTest]:
    return name.encode(), ValueTest(match)


def path_prefix(match: PathMatch) -> bytes | None:
    """The prefix that a path match consumes, for rewrites; None if it is no prefix match."""
    match match.kind:
        case PathKind.SEGMENT_PREFIX:
            return match.value.encode().rstrip(b"/")
        case PathKind.RAW_PREFIX | PathKind.EXACT:
            return match.value.encode()
        case PathKind.REGEX:
            return None


def mismatch(spec: RouteSpec, request: Request) -> str:
    """Why the route does not match, in words; "" if it does."""
    host = host_of(request.authority)
    if not any(_host_matches(match, host) for match in spec.hosts):
        return f"host {host.decode('latin-1')} is none of its hosts"
    path = request.path
    if not _path_matches(spec.path, path):
        return f"path {path.decode('latin-1')} is not {spec.path.kind.value} {spec.path.value}"
    if spec.methods and request.method.decode("latin-1") not in spec.methods:
        return f"method {request.method.decode('latin-1')} is not one of {', '.join(spec.methods)}"
    if spec.listeners and request.exchange.peer.listener not in spec.listeners:
        listener = request.exchange.peer.listener
        came = f"listener {listener} is" if listener else "no listener is named (--listener), which would be"
        return f"{came} {'not ' if listener else ''}one of {', '.join(spec.listeners)}"
    for match in spec.headers:
        if not ValueTest(match).holds(header_values(request.headers, match.name.lower().encode())):
            return f"header {match.name} is not {match.kind.value} {match.value}".rstrip()
    pairs = parse_qsl(request.query, keep_blank_values=True)
    for match in spec.query:
        if not ValueTest(match).holds([value for name, value in pairs if name == match.name.encode()]):
            return f"query parameter {match.name} is not {match.kind.value} {match.value}".rstrip()
    return ""


def _host_matches(match: HostMatch, host: bytes) -> bool:
    value = match.value.encode()
    match match.kind:
        case HostKind.ANY:
            return True
        case HostKind.EXACT:
            return host == value
        case HostKind.ONE_LABEL:
            label, dot, rest = host.partition(b".")
            return bool(label and dot) and rest == value
        case HostKind.ANY_DEPTH:
            return host[:1] != b"." and host.endswith(b"." + value)


def _path_matches(match: PathMatch, path: bytes) -> bool:
    value = match.value.encode()
    match match.kind:
        case PathKind.EXACT:
            return path == value
        case PathKind.RAW_PREFIX:
            return path.startswith(value)
        case PathKind.SEGMENT_PREFIX:
            value = value.rstrip(b"/")
            return path == value or path.startswith(value + b"/")
        case PathKind.REGEX:
            return re.fullmatch(value, path) is not None
