"""Which route wins, found in a few look-ups whatever the number of routes; an index shares with the one before all that
did not change."""

from __future__ import annotations

import re
import string
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from operator import attrgetter, itemgetter
from typing import Generic, TypeVar
from urllib.parse import parse_qsl

from daemun.message import Request
from daemun.routing.match import host_of, value_test
from daemun.routing.spec import HostKind, HostMatch, PathKind, PathMatch, RouteSpec

__all__ = ["Index", "Rank"]

T = TypeVar("T")

Rank = tuple[int, ...]
"""Orders routes: the lower wins."""


class _Entry(Generic[T]):
    """One route in the index, its conditions prepared."""

    __slots__ = ("full_match", "headers", "listeners", "methods", "query", "rank", "unconditional", "value")

    def __init__(self, rank: Rank, spec: RouteSpec, value: T) -> None:
        self.rank = rank
        self.value = value
        self.full_match = re.compile(spec.path.value.encode()).fullmatch if spec.path.kind is PathKind.REGEX else None
        self.methods = frozenset(method.encode() for method in spec.methods) or None
        self.listeners = frozenset(spec.listeners) or None
        self.headers = tuple(value_test(match, match.name.lower()) for match in spec.headers)
        self.query = tuple(value_test(match, match.name) for match in spec.query)
        self.unconditional = not (self.full_match or self.methods or self.listeners or self.headers or self.query)

    def takes(self, path: bytes, request: Request) -> bool:
        """Whether all holds that the look-up by host and path left open."""
        if self.full_match is not None and self.full_match(path) is None:
            return False
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


_Bucket = tuple[_Entry[T], ...]
"""The routes of one path or prefix, the lowest rank first."""
_Buckets = dict[bytes, _Bucket[T]]
_ByLength = tuple[tuple[int, _Buckets[T]], ...]
"""Buckets of prefixes by their length, the shortest first."""


class _Paths(Generic[T]):
    """The routes of one host, by path."""

    __slots__ = ("always", "exact", "floor", "maker", "raw", "segment")

    def __init__(self, maker: object, floor: Rank) -> None:
        self.maker = maker
        """The draft that may change it; all other indexes only read it."""
        self.floor = floor
        """No rank here is lower."""
        self.always: _Entry[T] | None = None
        """The entry that wins for every path that begins with a slash."""
        self.exact: _Buckets[T] = {}
        self.raw: _ByLength[T] = ()
        """A regular expression is among the prefixes, with the plain characters that it begins with."""
        self.segment: _ByLength[T] = ()

    def copy(self, maker: object) -> _Paths[T]:
        other: _Paths[T] = _Paths(maker, self.floor)
        other.always = self.always
        other.exact = self.exact.copy()
        other.raw = tuple((length, buckets.copy()) for length, buckets in self.raw)
        other.segment = tuple((length, buckets.copy()) for length, buckets in self.segment)
        return other

    def add(self, path: PathMatch, entry: _Entry[T]) -> None:
        buckets, key = self._buckets(path)
        bucket = buckets.get(key, ())
        place = bisect_left(bucket, entry.rank, key=_rank_of)
        buckets[key] = (*bucket[:place], entry, *bucket[place:])
        self.floor = min(self.floor, entry.rank)
        self._note_always()

    def remove(self, path: PathMatch, value: T) -> None:
        buckets, key = self._buckets(path)
        rest = tuple(entry for entry in buckets[key] if entry.value is not value)
        if rest:
            buckets[key] = rest
        else:
            del buckets[key]
            self.raw = tuple(pair for pair in self.raw if pair[1])
            self.segment = tuple(pair for pair in self.segment if pair[1])
        self._note_always()

    def _buckets(self, path: PathMatch) -> tuple[_Buckets[T], bytes]:
        key = path.value.encode()
        match path.kind:
            case PathKind.EXACT:
                return self.exact, key
            case PathKind.SEGMENT_PREFIX:
                key = key.rstrip(b"/")
                self.segment, buckets = _of_length(self.segment, len(key))
                return buckets, key
            case PathKind.RAW_PREFIX | PathKind.REGEX:
                key = key if path.kind is PathKind.RAW_PREFIX else _plain_beginning(path.value)
                self.raw, buckets = _of_length(self.raw, len(key))
                return buckets, key

    def _note_always(self) -> None:
        first: _Entry[T] | None = None
        if not self.exact and not self.raw and len(self.segment) == 1:
            length, buckets = self.segment[0]
            first = buckets[b""][0] if length == 0 else None
        self.always = first if first is not None and first.unconditional else None

    def best(self, path: bytes, request: Request, best: _Entry[T] | None) -> _Entry[T] | None:
        """The entry of the lowest rank that takes the request, or `best` if none is lower."""
        bucket = self.exact.get(path)
        if bucket is not None:
            best = _lowest(bucket, path, request, best)
        size = len(path)
        for length, buckets in self.segment:
            if length >= size:
                if length > size:
                    break
            elif path[length] != 0x2F:
                continue
            bucket = buckets.get(path[:length])
            if bucket is not None:
                best = _lowest(bucket, path, request, best)
        for length, buckets in self.raw:
            if length > size:
                break
            bucket = buckets.get(path[:length])
            if bucket is not None:
                best = _lowest(bucket, path, request, best)
        return best

    def candidates(self, path: bytes) -> Iterator[_Entry[T]]:
        """All entries whose path is not another one."""
        yield from self.exact.get(path, ())
        for length, buckets in self.segment:
            if length == len(path) or path[length : length + 1] == b"/":
                yield from buckets.get(path[:length], ())
        for length, buckets in self.raw:
            if length <= len(path):
                yield from buckets.get(path[:length], ())


def _lowest(bucket: _Bucket[T], path: bytes, request: Request, best: _Entry[T] | None) -> _Entry[T] | None:
    for entry in bucket:
        if best is not None and best.rank < entry.rank:
            break
        if entry.unconditional or entry.takes(path, request):
            return entry
    return best


def _of_length(by_length: _ByLength[T], length: int) -> tuple[_ByLength[T], _Buckets[T]]:
    """`by_length`, with buckets for that length; and these."""
    for other, buckets in by_length:
        if other == length:
            return by_length, buckets
    new: _Buckets[T] = {}
    return tuple(sorted((*by_length, (length, new)), key=itemgetter(0))), new


_rank_of = attrgetter("rank")
_PLAIN = string.ascii_letters + string.digits + "/_-"


def _plain_beginning(pattern: str) -> bytes:
    """What every match of a regular expression begins with, as far as its first plain characters tell."""
    rest = pattern.lstrip(_PLAIN)
    length = len(pattern) - len(rest)
    if "|" in rest:
        return b""
    if rest.startswith(("*", "+", "?", "{")):
        length = max(length - 1, 0)
    return pattern[:length].encode()


class Index(Generic[T]):
    """Finds the value of the route of the lowest rank that matches a request.

    It does not change once it is in use: a `draft` of it does, and shares with it all that stays.
    """

    __slots__ = ("__weakref__", "_any", "_any_depth", "_exact", "_maker", "_one_label")

    def __init__(self, routes: Iterable[tuple[RouteSpec, T]] = ()) -> None:
        """`routes` in order of precedence. Raises `re.error` for a regular expression that is none."""
        self._maker = object()
        self._exact: dict[bytes, _Paths[T]] = {}
        self._one_label: dict[bytes, _Paths[T]] = {}
        self._any_depth: dict[bytes, _Paths[T]] = {}
        self._any: dict[bytes, _Paths[T]] = {}
        for number, (spec, value) in enumerate(routes):
            self.add((number,), spec, value)

    def draft(self) -> Index[T]:
        """An index with the same routes, to be changed before it is used."""
        other: Index[T] = Index()
        other._exact = self._exact.copy()
        other._one_label = self._one_label.copy()
        other._any_depth = self._any_depth.copy()
        other._any = self._any.copy()
        return other

    def add(self, rank: Rank, spec: RouteSpec, value: T) -> None:
        """Adds a route; no other may have its rank. Raises `re.error` as `Index` does, and has not changed then."""
        entry = _Entry(rank, spec, value)
        for host in dict.fromkeys(spec.hosts):
            tables, key = self._tables(host)
            paths = tables.get(key)
            if paths is None:
                paths = tables[key] = _Paths(self._maker, rank)
            elif paths.maker is not self._maker:
                paths = tables[key] = paths.copy(self._maker)
            paths.add(spec.path, entry)

    def remove(self, spec: RouteSpec, value: T) -> None:
        """Removes the route that was added with these."""
        for host in dict.fromkeys(spec.hosts):
            tables, key = self._tables(host)
            paths = tables[key]
            if paths.maker is not self._maker:
                paths = tables[key] = paths.copy(self._maker)
            paths.remove(spec.path, value)
            if not (paths.exact or paths.raw or paths.segment):
                del tables[key]

    def _tables(self, host: HostMatch) -> tuple[dict[bytes, _Paths[T]], bytes]:
        match host.kind:
            case HostKind.EXACT:
                return self._exact, host.value.encode()
            case HostKind.ONE_LABEL:
                return self._one_label, host.value.encode()
            case HostKind.ANY_DEPTH:
                return self._any_depth, host.value.encode()
            case HostKind.ANY:
                return self._any, b""

    def find(self, request: Request) -> T | None:
        """The value of the route that wins, or None."""
        path = request.target
        if 0x3F in path:
            path = path.partition(b"?")[0]
        best: _Entry[T] | None = None
        if self._exact:
            authority = request.authority
            paths = self._exact.get(authority) or self._exact.get(host_of(authority))
            if paths is not None:
                best = paths.always
                if best is None or not path or path[0] != 0x2F:
                    best = paths.best(path, request, None)
        if self._one_label or self._any_depth:
            best = self._best_of_wildcards(path, request, best)
        if self._any:
            paths = self._any[b""]
            if best is None and paths.always is not None and path and path[0] == 0x2F:
                best = paths.always
            elif best is None or paths.floor < best.rank:
                best = paths.best(path, request, best)
        return best.value if best is not None else None

    def every(self, request: Request) -> list[T]:
        """The values of all routes that match, the one that `find` gives first."""
        path, host = request.path, host_of(request.authority)
        tables = [self._exact.get(request.authority) or self._exact.get(host), self._any.get(b"")]
        label, _, rest = host.partition(b".")
        if label:
            tables.append(self._one_label.get(rest))
            while rest:
                tables.append(self._any_depth.get(rest))
                rest = rest.partition(b".")[2]
        entries = [entry for paths in tables if paths is not None for entry in paths.candidates(path)]
        taking = {entry.rank: entry.value for entry in entries if entry.takes(path, request)}
        return [taking[rank] for rank in sorted(taking)]

    def _best_of_wildcards(self, path: bytes, request: Request, best: _Entry[T] | None) -> _Entry[T] | None:
        host = host_of(request.authority)
        if host[:1] == b".":
            return best
        rest = host.partition(b".")[2]
        paths = self._one_label.get(rest)
        if paths is not None:
            best = paths.best(path, request, best)
        if self._any_depth:
            while rest:
                paths = self._any_depth.get(rest)
                if paths is not None:
                    best = paths.best(path, request, best)
                rest = rest.partition(b".")[2]
        return best
