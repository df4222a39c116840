"""The objects of a document of routes: found one by one, decoded one by one, put together as a snapshot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from daemun import BackendSpec, ObjectStatus, RouteSpec, Snapshot
from daemun_file.document import BackendDocument, Document, Name, RouteDocument
from daemun_file.explain import ObjectError, decode, suggest
from daemun_file.load import Entry, RawObject
from daemun_file.precedence import in_order
from daemun_file.translate import backend_of, routes_of

__all__ = ["Specs", "assemble", "decode_object", "split_document"]

Specs = BackendSpec | tuple[RouteSpec, ...]
"""What one object becomes."""

_KEYS = tuple(field.encode_name for field in msgspec.structs.fields(Document))


def split_document(data: Any) -> Iterator[RawObject | ObjectError]:
    """The back ends and routes of a document, and what stands in it that is neither."""
    if not isinstance(data, dict):
        yield ObjectError((), f"expected a mapping; accepted: {', '.join(_KEYS)}")
        return
    for key in data:
        if key not in _KEYS:
            yield ObjectError((key,), f"unknown key {key!r}; accepted: {', '.join(_KEYS)}{suggest(key, _KEYS)}")
    backends = data.get("backends", {})
    if isinstance(backends, dict):
        for name, backend in backends.items():
            yield RawObject("backend", name, ("backends", name), backend)
    else:
        yield ObjectError(("backends",), "expected a mapping from names to back ends")
    routes = data.get("routes", [])
    if isinstance(routes, list | tuple):
        for index, route in enumerate(routes):
            name = route.get("name") if isinstance(route, dict) else None
            shown = name if isinstance(name, str) and name else f"routes[{index}]"
            yield RawObject("route", shown, ("routes", index), route)
    else:
        yield ObjectError(("routes",), "expected a list of routes")


def decode_object(item: RawObject, origin: str) -> Specs:
    """What the core runs for one object. Raises `ObjectError`."""
    if item.kind == "route":
        return routes_of(decode(item.data, RouteDocument), origin)
    try:
        decode(item.name, Name)
    except ObjectError:
        raise ObjectError((), "the name is not accepted; accepted: letters, digits and _ . : / @ -") from None
    return backend_of(item.name, decode(item.data, BackendDocument), origin)


def assemble(entries: Iterable[Entry[Specs]], refused: tuple[ObjectStatus, ...]) -> Snapshot:
    """The snapshot of all objects, its routes in order of precedence."""
    routes: list[RouteSpec] = []
    backends: list[BackendSpec] = []
    for entry in entries:
        if isinstance(entry.value, BackendSpec):
            backends.append(entry.value)
        else:
            routes += entry.value
    return Snapshot(in_order(routes), tuple(backends), refused)
