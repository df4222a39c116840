"""Fields in, a field block out (HPACK, RFC 7541), each field written once.

Only the static table is used. A block depends on nothing that was sent before it, so that what a field looks like is
remembered for all connections; the price is a few bytes more in a packet that is sent anyway.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from daemun import ExchangeError, Reason
from daemun_http2.decoding import STATIC_TABLE, Field
from daemun_http2.secrets import NeverIndexed, is_secret

__all__ = ["MAX_FIELDS", "MAX_FIELD_BYTES", "TABLE_SIZE_ZERO", "encode", "encode_pseudo", "length_block", "literal"]

MAX_FIELDS = 16_384
"""Fields that a table holds; then it begins anew."""
MAX_FIELD_BYTES = 256
"""Longest field that is kept."""
_MAX_LENGTHS = 4096
TABLE_SIZE_ZERO = b"\x20"
"""Tells a peer that its table is not used."""

_VALUE = rb"(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?"
_FIELD = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+\x00" + _VALUE)
_PSEUDO = re.compile(rb":[a-z]+\x00[\x21-\x7e]*")
_OF_CONNECTION = frozenset(
    (
        b"connection",
        b"content-length",
        b"host",
        b"http2-settings",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"transfer-encoding",
        b"upgrade",
    )
)
"""Fields that are no part of a message here: they follow from its body, its authority and the connection."""

_whole = {field: bytes((0x80 | index,)) for index, field in enumerate(STATIC_TABLE) if index and field[1]}
_names: dict[bytes, int] = {}
for _index, (_name, _) in enumerate(STATIC_TABLE):
    _names.setdefault(_name, _index)
_known: dict[Field, bytes] = {}
_known_pseudo: dict[Field, bytes] = {}
_look_up = _known.get


def encode(fields: Iterable[Field]) -> bytes:
    """The block of `fields`. What belongs to a connection is left out.

    Raises `ExchangeError` for a field that cannot be sent.
    """
    fields = tuple(fields)
    try:
        found = list(map(_look_up, fields))
    except TypeError:
        found = [None] * len(fields)
    if None in found:
        found = [_encoded(field) if known is None else known for known, field in zip(found, fields, strict=True)]
    return b"".join(found)  # type: ignore[arg-type]


def encode_pseudo(name: bytes, value: bytes) -> bytes:
    """A pseudo-header field. Raises `ExchangeError` for a value that cannot be sent."""
    field = (name, value)
    found = _known_pseudo.get(field)
    if found is None:
        if not isinstance(value, bytes) or not _PSEUDO.fullmatch(name + b"\0" + value):
            raise ExchangeError(Reason.PLUGIN_FAULT, "a method, target or authority holds what it may not")
        found = _whole.get(field) or _written(field, 0)
        _keep(_known_pseudo, field, found)
    return found


def literal(name: bytes, value: bytes) -> bytes:
    """A field of our own."""
    return _written((name, value), 0)


@lru_cache(_MAX_LENGTHS)
def length_block(length: int) -> bytes:
    """The field that says the length of content."""
    return _written((b"content-length", b"%d" % length), 0)


def _encoded(field: Field) -> bytes:
    try:
        name, value = field
        whole = name + b"\0" + value
    except (TypeError, ValueError):
        raise ExchangeError(Reason.PLUGIN_FAULT, "a field is not a pair of bytes") from None
    if not _FIELD.fullmatch(whole):
        name, value = name.lower(), value.strip(b" \t")
        if not _FIELD.fullmatch(name + b"\0" + value):
            raise ExchangeError(Reason.PLUGIN_FAULT, "a field holds a line break, a control, or a name that is none")
    if name in _OF_CONNECTION:
        return b""
    if (name, value) in _whole:
        return _whole[name, value]
    if is_secret(name) or type(field) is NeverIndexed:
        return _written((name, value), 0x10)
    encoded = _written((name, value), 0)
    _keep(_known, field, encoded)
    return encoded


def _keep(known: dict[Field, bytes], field: Field, encoded: bytes) -> None:
    if len(encoded) <= MAX_FIELD_BYTES and type(field) is tuple:
        if len(known) >= MAX_FIELDS:
            known.clear()
        known[field] = encoded


def _written(field: Field, first: int) -> bytes:
    """A literal that is not to be put into a table; with the bits of `first` nobody on the way may do it either."""
    name, value = field
    index = _names.get(name, 0)
    head = _integer(index, 15, first) if index else bytes((first,)) + _integer(len(name), 127, 0) + name
    return b"%b%b%b" % (head, _integer(len(value), 127, 0), value)


def _integer(value: int, full: int, first: int) -> bytes:
    """An integer behind the bits of `first` (RFC 7541 §5.1)."""
    if value < full:
        return bytes((first | value,))
    made = bytearray((first | full,))
    value -= full
    while value >= 128:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)
