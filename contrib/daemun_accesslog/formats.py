"""From records to lines. Whatever a client sent, a line is printable ASCII and one line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import msgspec

from daemun_accesslog.columns import Column, header_column, json_columns, shortened, stamped, target_of
from daemun_accesslog.names import parse_field
from daemun_accesslog.record import Batch
from daemun_accesslog.settings import AccessLogSettings

__all__ = ["Format", "header_names", "make_format"]

Format: TypeAlias = Callable[[Batch], bytes]
"""The lines of a batch, each with its end."""

_COMBINED_HEADERS = ("referer", "user-agent")
_BEYOND_ASCII = re.compile("[^\x00-\x7e]")
_UNSAFE = re.compile(rb"[^ !#-\[\]-~]")
_UNSAFE_IN_WORD = re.compile(rb"[^!#-\[\]-~]")


def header_names(settings: AccessLogSettings) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The header fields of requests and of responses that the format shows, in the order of their slots."""
    if settings.format != "json":
        return (_COMBINED_HEADERS if settings.format == "combined" else ()), ()
    parsed = [parse_field(name) for name in settings.fields]
    return (
        tuple(name for side, name in parsed if side == "request"),
        tuple(name for side, name in parsed if side == "response"),
    )


def make_format(settings: AccessLogSettings, worker: int) -> Format:
    """The format that `settings` ask for; `worker` is what the field of that name shows."""
    if settings.format == "json":
        return _json(settings, worker)
    return _common(settings)


def _json(settings: AccessLogSettings, worker: int) -> Format:
    known = json_columns(settings.max_value_bytes, worker)
    requested, responded = header_names(settings)
    columns: list[Column] = []
    names: list[str] = []
    for side, name in map(parse_field, settings.fields):
        if side == "request":
            columns.append(_header_texts(side, name, requested.index(name), settings.max_value_bytes))
        elif side == "response":
            columns.append(_header_texts(side, name, responded.index(name), settings.max_value_bytes))
        else:
            columns.append(known[name])
        names.append(f"{side}.{name}" if side else name)
    places = [f"field{number}" for number in range(len(names))]
    line: Any = msgspec.defstruct(
        "Line", [(place, Any) for place in places], rename=dict(zip(places, names, strict=True)), gc=False
    )
    encode = msgspec.json.Encoder().encode_lines

    def format_(batch: Batch) -> bytes:
        return _as_ascii(encode(list(map(line, *[column(batch) for column in columns]))))

    return format_


def _header_texts(side: str, name: str, slot: int, limit: int) -> Column:
    shown = header_column(name, slot, limit)

    def column(batch: Batch) -> list[str | None]:
        values = shown(batch.request if side == "request" else batch.response)
        return [None if value is None else value.decode("utf-8", "backslashreplace") for value in values]

    return column


def _as_ascii(lines: bytes) -> bytes:
    """JSON that means the same and holds no character that a terminal or a reader of lines might obey."""
    if lines.isascii() and b"\x7f" not in lines:
        return lines
    return _BEYOND_ASCII.sub(_json_escape, lines.decode()).encode()


def _json_escape(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be").hex()
    return "".join(f"\\u{units[place : place + 4]}" for place in range(0, len(units), 4))


def _common(settings: AccessLogSettings) -> Format:
    limit, query, combined = settings.max_value_bytes, settings.query, settings.format == "combined"
    template = '%s - %s [%s] "%s" %s %s' + (' "%s" "%s"\n' if combined else "\n")
    headers = [header_column(name, slot, limit) for slot, name in enumerate(_COMBINED_HEADERS if combined else ())]

    def format_(batch: Batch) -> bytes:
        columns: list[Iterable[object]] = [
            [peer.address or "-" for peer in batch.peer],
            [_word(peer.client_name.encode("utf-8", "backslashreplace")) or "-" for peer in batch.peer],
            stamped(batch, "%d/%b/%Y:%H:%M:%S +0000"),
            _request_lines(batch, limit, query=query),
            batch.status,
            [sent or "-" for sent in batch.sent_bytes],
            *([_quoted(value or b"-") for value in column(batch.request)] for column in headers),
        ]
        return "".join(map(template.__mod__, zip(*columns, strict=True))).encode("ascii")

    return format_


def _request_lines(batch: Batch, limit: int, *, query: bool) -> list[str]:
    methods, targets = shortened(batch.method, limit), target_of(batch, limit, query=query)
    return [
        f"{_word(method)} {_word(target or authority)} {version}" if method else "-"
        for method, target, authority, version in zip(
            methods, targets, shortened(batch.authority, limit), batch.version, strict=True
        )
    ]


def _word(value: bytes) -> str:
    """What may stand between spaces."""
    if _UNSAFE_IN_WORD.search(value) is not None:
        value = _UNSAFE_IN_WORD.sub(_hexadecimal, value)
    return value.decode("ascii")


def _quoted(value: bytes) -> str:
    """What may stand between quotation marks."""
    if _UNSAFE.search(value) is not None:
        value = _UNSAFE.sub(_hexadecimal, value)
    return value.decode("ascii")


def _hexadecimal(match: re.Match[bytes]) -> bytes:
    return b"\\x%02X" % match[0][0]
