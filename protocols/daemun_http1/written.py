"""Fields as lines, each written once: what was checked and put together is remembered for the next head."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

from daemun import ExchangeError, Headers, Reason
from daemun_http1.lines import MAX_LINE_BYTES, MAX_LINES, SECRET

__all__ = ["Written", "field_lines"]

_written: dict[tuple[bytes, bytes], bytes] = {}
_look_up = _written.__getitem__


class Written(tuple[tuple[bytes, bytes], ...]):
    """Fields that came from a connection, with the lines that they make; what is derived from them is a plain tuple."""

    lines: bytes

    def __new__(cls, fields: Iterable[tuple[bytes, bytes]]) -> Self:
        written = super().__new__(cls, fields)
        written.lines = field_lines(tuple(written))
        return written


def field_lines(headers: Headers) -> bytes:
    """Fields as they stand in a head or a trailer section. Raises `ExchangeError` for what would break its line."""
    if type(headers) is Written:
        return headers.lines
    try:
        return b"".join(map(_look_up, headers))
    except (KeyError, TypeError):
        return b"".join([_line(field) for field in headers])


def _line(field: tuple[bytes, bytes]) -> bytes:
    try:
        line = _written.get(field)
        if line is not None:
            return line
        name, value = field
        line = b"%b: %b\r\n" % (name, value)
    except (TypeError, ValueError):
        raise ExchangeError(Reason.PLUGIN_FAULT, "a field is not a pair of bytes") from None
    if line.count(b"\n") > 1 or line.count(b"\r") > 1 or b"\0" in line:
        raise ExchangeError(Reason.PLUGIN_FAULT, "a field holds a line break or NUL")
    if len(line) <= MAX_LINE_BYTES and not SECRET.search(name):
        if len(_written) >= MAX_LINES:
            _written.clear()
        _written[field] = line
    return line
