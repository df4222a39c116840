"""What `grpc-status-details-bin` holds: a `google.rpc.Status`, read without a protobuf library.

Of the wire format it takes what that message needs: fields with a number, as variable integers or as bytes.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Detail", "details_of"]

_DETAILS = 3
_TYPE_URL, _VALUE = 1, 2
_MAX_VARINT_BYTES = 10


class Detail(NamedTuple):
    """One detail of an error."""

    type: str
    """Full name of the message, such as `google.rpc.RetryInfo`."""
    value: bytes


def details_of(value: bytes) -> list[Detail]:
    """The details of a status, which is base64 with or without padding; none if it cannot be read."""
    try:
        status = binascii.a2b_base64(value + b"=" * (-len(value) % 4), strict_mode=True)
        return [_detail(data) for number, data in _fields(status) if number == _DETAILS]
    except (ValueError, IndexError):
        return []


def _detail(data: bytes) -> Detail:
    fields = dict(_fields(data))
    return Detail(fields.get(_TYPE_URL, b"").decode().rpartition("/")[2], fields.get(_VALUE, b""))


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The fields of a message that are bytes. Raises `ValueError` or `IndexError` for what is malformed."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        match tag & 7:
            case 0:
                _, at = _varint(data, at)
            case 1:
                at += 8
            case 2:
                size, at = _varint(data, at)
                if size > len(data) - at:
                    raise ValueError("a field is cut")
                yield tag >> 3, data[at : at + size]
                at += size
            case 5:
                at += 4
            case kind:
                raise ValueError(f"wire type {kind}")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 7 * _MAX_VARINT_BYTES, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number is too long")
