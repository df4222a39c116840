"""Header fields between ASGI and our messages: lists of pairs there, tuples without framing here."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from daemun import Headers

__all__ = ["ResponseFields", "request_fields", "response_fields", "trailer_fields"]

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+").fullmatch
_BROKEN = re.compile(rb"[\r\n\x00]").search
_CONNECTION = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding", b"upgrade"))
"""What belongs to the connection: the gateway says it itself."""
_FRAMING = _CONNECTION | {b"content-length", b"trailer"}
_MAX_KNOWN = 1024
_MAX_KNOWN_BYTES = 128
_known: set[tuple[bytes, bytes]] = set()
"""Fields that were checked before, and may be sent as they are."""


class ResponseFields(Struct, frozen=True):
    """The fields of a response."""

    headers: Headers
    length: int | None
    """What they announce."""
    dated: bool


def response_fields(raw: Iterable[Any]) -> ResponseFields:
    """The fields that an application sends. Raises `TypeError` or `ValueError` for what cannot stand in a head."""
    kept: list[tuple[bytes, bytes]] = []
    length: int | None = None
    dated = False
    for field in raw:
        if type(field) is tuple and field in _known:
            kept.append(field)
            continue
        name, value = _checked(field)
        if name == b"content-length":
            if not value.isdigit() or len(value) > 18 or length not in (None, int(value)):
                raise ValueError(f"content-length {value!r} is none, or differs from another one")
            length = int(value)
        elif name == b"date":
            dated = True
            kept.append((name, value))
        elif name not in _FRAMING:
            kept.append((name, value))
            _remember((name, value))
    return ResponseFields(tuple(kept), length, dated)


def trailer_fields(raw: Iterable[Any]) -> Headers:
    """The trailers that an application sends. Raises as `response_fields` does."""
    return tuple(field for field in map(_checked, raw) if field[0] not in _FRAMING)


def request_fields(raw: Iterable[Any]) -> tuple[bytes, Headers]:
    """Host (b"": none) and fields of a request that a middleware hands on. Raises as `response_fields` does."""
    host = b""
    kept: list[tuple[bytes, bytes]] = []
    for name, value in map(_checked, raw):
        if name == b"host":
            host = value
        elif name not in _FRAMING:
            kept.append((name, value))
    return host, tuple(kept)


def _checked(field: Any) -> tuple[bytes, bytes]:
    name, value = field
    if not isinstance(name, bytes) or not isinstance(value, bytes):
        raise TypeError(f"the field {name!r} is not a pair of bytes")
    name = name.lower()
    if not _TOKEN(name):
        raise ValueError(f"{name!r} is no name of a field; accepted: letters, digits and -")
    if _BROKEN(value):
        raise ValueError(f"the field {name.decode()} holds a line break or NUL")
    return name, value


def _remember(field: tuple[bytes, bytes]) -> None:
    if field[0] != b"set-cookie" and len(field[1]) <= _MAX_KNOWN_BYTES:
        if len(_known) >= _MAX_KNOWN:
            _known.clear()
        _known.add(field)
