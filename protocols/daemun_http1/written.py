"""Fields as lines, each written once: what was checked and put together is remembered for the next head."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Self

from daemun import ExchangeError, Headers, Reason
from daemun_http1.lines import MAX_LINE_BYTES, MAX_LINES, SECRET, Line
from daemun_http1.roles import DROPPED, KEPT

__all__ = ["Written", "field_lines", "plain"]

_written: dict[tuple[bytes, bytes], bytes] = {}
_look_up = _written.get
_OF_CONNECTION = frozenset((b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"proxy-connection"))
_UPGRADE = b"connection: upgrade\r\n"
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


class Written(tuple[tuple[bytes, bytes], ...]):
    """Fields that came from a connection, with the lines that they make; what is derived from them is a plain tuple."""

    lines: bytes

    @classmethod
    def of(cls, fields: Iterable[tuple[bytes, bytes]], lines: bytes) -> Self:
        """`fields` and their `lines`."""
        written = cls(fields)
        written.lines = lines
        return written


def plain(lines: list[Line], sought: int) -> tuple[Written, bytes] | None:
    """The fields of a head, and the value of the one whose role is `sought`. None unless that stands there once, and
    nothing else that says something about content or connection."""
    found = None
    fields = []
    written = b""
    for role, field, line in lines:
        if role == KEPT:
            fields.append(field)
            written += line
        elif role == sought and found is None:
            found = field[1]
        elif role < DROPPED:
            return None
    return None if found is None else (Written.of(fields, written), found)


def field_lines(headers: Headers) -> bytes:
    """Fields as they stand in a head or a trailer section. Raises `ExchangeError` for what would break its line."""
    if type(headers) is Written:
        return headers.lines
    try:
        found = list(map(_look_up, headers))
    except TypeError:
        found = [None] * len(headers)
    if None in found:
        found = [line or _line(field) for line, field in zip(found, headers, strict=True)]
    return b"".join(found)  # type: ignore[arg-type]


def _line(field: tuple[bytes, bytes]) -> bytes:
    try:
        name, value = field
        line = b"%b: %b\r\n" % (name, value)
    except (TypeError, ValueError):
        raise ExchangeError(Reason.PLUGIN_FAULT, "a field is not a pair of bytes") from None
    if name.lower() in _OF_CONNECTION and line.lower() != _UPGRADE:
        return b""  # which follow from the body and the connection, whatever a plugin says
    if not _NAME.fullmatch(name):
        raise ExchangeError(Reason.PLUGIN_FAULT, f"a field has the name {name!r}, which is none")
    if line.count(b"\n") > 1 or line.count(b"\r") > 1 or b"\0" in line:
        raise ExchangeError(Reason.PLUGIN_FAULT, "a field holds a line break or NUL")
    if len(line) <= MAX_LINE_BYTES and type(field) is tuple and not SECRET.search(name):
        if len(_written) >= MAX_LINES:
            _written.clear()
        _written[field] = line
    return line
