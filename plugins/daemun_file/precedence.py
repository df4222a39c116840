"""Which route wins. The core knows only priority and then order, so the order is made here.

Explicit priority; then the host: exact, one label, any depth (more labels first), any; then the path: the
longer literal text; then the number of further conditions; then the order in which the routes were written.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from daemun import HostKind, HostMatch, PathKind, PathMatch, RouteSpec

__all__ = ["in_order", "literal_start", "per_host_class"]

_HOSTS = {HostKind.EXACT: 0, HostKind.ONE_LABEL: 1, HostKind.ANY_DEPTH: 2, HostKind.ANY: 3}
_PATHS = {PathKind.EXACT: 0, PathKind.REGEX: 1, PathKind.SEGMENT_PREFIX: 2, PathKind.RAW_PREFIX: 3}


def in_order(routes: Iterable[RouteSpec]) -> tuple[RouteSpec, ...]:
    """`routes`, each with hosts of one class, the winner first."""
    return tuple(sorted(routes, key=_key))


def per_host_class(route: RouteSpec) -> tuple[RouteSpec, ...]:
    """`route` once for each class of its hosts, because each class has a place of its own in the order.

    Two exact hosts never match the same request, nor do two one-label hosts: they stay together. The first
    keeps the name, the next are `name#2`, `name#3`.
    """
    classes: dict[tuple[int, int], list[HostMatch]] = {}
    for host in dict.fromkeys(route.hosts):
        classes.setdefault(_host_class(host), []).append(host)
    if len(classes) == 1:
        return (route,)
    return tuple(
        replace(route, name=route.name if number == 1 else f"{route.name}#{number}", hosts=tuple(hosts))
        for number, (_, hosts) in enumerate(sorted(classes.items()), 1)
    )


def _key(route: RouteSpec) -> tuple[int, tuple[int, int], int, int, int]:
    conditions = bool(route.methods) + bool(route.listeners) + len(route.headers) + len(route.query)
    path = route.path
    return (
        -route.priority,
        _host_class(route.hosts[0]),
        -_literal_length(path),
        _PATHS[path.kind],
        -conditions,
    )


def _host_class(host: HostMatch) -> tuple[int, int]:
    depth = host.value.count(".") + 1 if host.kind is HostKind.ANY_DEPTH else 0
    return _HOSTS[host.kind], -depth


def _literal_length(path: PathMatch) -> int:
    if path.kind is PathKind.REGEX:
        return len(literal_start(path.value))
    return len(path.value.rstrip("/") if path.kind is PathKind.SEGMENT_PREFIX else path.value)


def literal_start(pattern: str) -> str:
    """Text that begins all that `pattern` matches: `/u/` for `/u/\\d+`. It may be shorter than it could."""
    literal: list[str] = []
    position = 1 if pattern.startswith("^") else 0
    while position < len(pattern):
        character = pattern[position]
        position += 1
        if character == "\\" and position < len(pattern) and not pattern[position].isalnum():
            character = pattern[position]
            position += 1
        elif character in r"\.^$*+?{}[]|()":
            break
        if pattern[position : position + 1] in ("*", "?", "{"):
            break
        literal.append(character)
    return "" if _has_alternatives(pattern) else "".join(literal)


def _has_alternatives(pattern: str) -> bool:
    """Whether a `|` stands outside of every group."""
    depth = 0
    in_class = False
    position = 0
    while position < len(pattern):
        character = pattern[position]
        if character == "\\":
            position += 1
        elif in_class:
            in_class = character != "]"
        elif character == "[":
            in_class = True
            if pattern[position + 1 : position + 2] == "^":
                position += 1
            if pattern[position + 1 : position + 2] == "]":
                position += 1
        elif character in "()":
            depth += 1 if character == "(" else -1
        elif character == "|" and depth == 0:
            return True
        position += 1
    return False
