"""Which route wins. The index finds it in a few look-ups, whatever the number of routes; `mismatch` says in words
why a route does not match, by the same rules."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Generic, TypeVar
from urllib.parse import parse_qsl

from daemun.headers import header_values
from daemun.message import Request
from daemun.routing.spec import HostKind, HostMatch, PathKind, PathMatch, RouteSpec, ValueKind, ValueMatch

__all__ = ["Index", "host_of", "mismatch", "path_prefix"]

T = TypeVar("T")


def host_of(authority: bytes) -> bytes:
    """The host of an authority: no port, no dot of the root, brackets kept."""
    host = authority[: authority.find(b"]") + 1] if authority[:1] == b"[" else authority.partition(b":")[0]
    return host[:-1] if host[-1:] == b"." else host


class _Entry(Generic[T]):
    """One route in the index, its conditions prepared."""

    __slots__ = ("headers", "listeners", "methods", "query", "rank", "regex", "unconditional", "value")

    def __init__(self, rank: int, spec: RouteSpec, value: T) -> None:
        self.rank = rank
        self.value = value
        self.methods = frozenset(method.encode() for method in spec.methods) or None
        self.listeners = frozenset(spec.listeners) or None
        self.headers = tuple(_value_test(match, match.name.lower()) for match in spec.headers)
        self.query = tuple(_value_test(match, match.name) for match in spec.query)
        self.unconditional = not (self.methods or self.listeners or self.headers or self.query)
        self.regex = re.compile(spec.path.value.encode()) if spec.path.kind is PathKind.REGEX else None

    def takes(self, request: Request) -> bool:
        if self.methods is not None and request.method not in self.methods:
            return False
        if self.listeners is not None and request.exchange.peer.listener not in self.listeners:
            return False
        for name, test in self.headers:
            if not test.holds([value for key, value in request.headers if key == name]):
                return False
        if self.query:
            pairs = parse_qsl(request.query, keep_blank_values=True)
            for name, test in self.query:
                if not test.holds([value for key, value in pairs if key == name]):
                    return False
        return True


class _ValueTest:
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


def _value_test(match: ValueMatch, name: str) -> tuple[bytes, _ValueTest]:
    return name.encode(), _ValueTest(match)


class _Paths(Generic[T]):
    """The routes of one host, by path."""

    __slots__ = ("exact", "raw", "raw_lengths", "regexes", "segment", "segment_lengths")

    def __init__(self) -> None:
        self.exact: dict[bytes, list[_Entry[T]]] = {}
        self.raw: dict[bytes, list[_Entry[T]]] = {}
        self.segment: dict[bytes, list[_Entry[T]]] = {}
        self.regexes: list[_Entry[T]] = []
        self.raw_lengths: tuple[int, ...] = ()
        self.segment_lengths: tuple[int, ...] = ()

    def add(self, path: PathMatch, entry: _Entry[T]) -> None:
        value = path.value.encode()
        match path.kind:
            case PathKind.EXACT:
                self.exact.setdefault(value, []).append(entry)
            case PathKind.RAW_PREFIX:
                self.raw.setdefault(value, []).append(entry)
                self.raw_lengths = tuple(sorted({len(value), *self.raw_lengths}))
            case PathKind.SEGMENT_PREFIX:
                value = value.rstrip(b"/")
                self.segment.setdefault(value, []).append(entry)
                if len(value) not in self.segment_lengths:
                    self.segment_lengths = tuple(sorted((len(value), *self.segment_lengths)))
            case PathKind.REGEX:
                self.regexes.append(entry)

    def best(self, path: bytes, request: Request, best: _Entry[T] | None) -> _Entry[T] | None:
        """The entry of the lowest rank that takes the request, or `best` if none is lower."""
        entries = self.exact.get(path)
        if entries is not None:
            best = _lowest(entries, request, best)
        size = len(path)
        for length in self.segment_lengths:
            if length > size:
                break
            if length == size or path[length] == 0x2F:
                entries = self.segment.get(path[:length])
                if entries is not None:
                    best = _lowest(entries, request, best)
        for length in self.raw_lengths:
            if length > size:
                break
            entries = self.raw.get(path[:length])
            if entries is not None:
                best = _lowest(entries, request, best)
        for entry in self.regexes:
            if best is not None and entry.rank > best.rank:
                break
            if entry.regex is not None and entry.regex.fullmatch(path) and entry.takes(request):
                return entry
        return best


def _lowest(entries: list[_Entry[T]], request: Request, best: _Entry[T] | None) -> _Entry[T] | None:
    for entry in entries:
        if best is not None and entry.rank > best.rank:
            break
        if entry.unconditional or entry.takes(request):
            return entry
    return best


class Index(Generic[T]):
    """Finds the value of the first route, in the order given, that matches a request."""

    def __init__(self, routes: Iterable[tuple[RouteSpec, T]]) -> None:
        """`routes` in order of precedence. Raises `re.error` for a regular expression that is none."""
        self._exact: dict[bytes, _Paths[T]] = {}
        self._one_label: dict[bytes, _Paths[T]] = {}
        self._any_depth: dict[bytes, _Paths[T]] = {}
        self._any: _Paths[T] | None = None
        for rank, (spec, value) in enumerate(routes):
            entry = _Entry(rank, spec, value)
            for host in dict.fromkeys(spec.hosts):
                self._of(host).add(spec.path, entry)
        self._hosts = bool(self._exact or self._one_label or self._any_depth)

    def _of(self, host: HostMatch) -> _Paths[T]:
        value = host.value.encode()
        match host.kind:
            case HostKind.EXACT:
                return self._exact.setdefault(value, _Paths())
            case HostKind.ONE_LABEL:
                return self._one_label.setdefault(value, _Paths())
            case HostKind.ANY_DEPTH:
                return self._any_depth.setdefault(value, _Paths())
            case HostKind.ANY:
                if self._any is None:
                    self._any = _Paths()
                return self._any

    def find(self, request: Request) -> T | None:
        """The value of the route that wins, or None."""
        path = request.target.partition(b"?")[0]
        best: _Entry[T] | None = None
        if self._hosts:
            best = self._best_of_hosts(request, path)
        if self._any is not None:
            best = self._any.best(path, request, best)
        return best.value if best is not None else None

    def _best_of_hosts(self, request: Request, path: bytes) -> _Entry[T] | None:
        authority = request.authority
        host = authority if authority in self._exact else host_of(authority)
        paths = self._exact.get(host)
        best = paths.best(path, request, None) if paths is not None else None
        if self._one_label:
            paths = self._one_label.get(host.partition(b".")[2])
            if paths is not None and host[:1] != b".":
                best = paths.best(path, request, best)
        if self._any_depth and host[:1] != b".":
            rest = host
            while rest:
                rest = rest.partition(b".")[2]
                paths = self._any_depth.get(rest)
                if paths is not None:
                    best = paths.best(path, request, best)
        return best


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
        return f"listener {request.exchange.peer.listener} is not one of {', '.join(spec.listeners)}"
    for match in spec.headers:
        if not _ValueTest(match).holds(header_values(request.headers, match.name.lower().encode())):
            return f"header {match.name} is not {match.kind.value} {match.value}".rstrip()
    pairs = parse_qsl(request.query, keep_blank_values=True)
    for match in spec.query:
        if not _ValueTest(match).holds([value for name, value in pairs if name == match.name.encode()]):
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
