"""Records of FastCGI 1.0: a head of eight bytes, content, padding; and parameters in pairs with their lengths."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from enum import IntEnum

__all__ = ["HEAD_BYTES", "Kind", "decode_head", "encode", "encode_params", "records"]

HEAD_BYTES = 8
_HEAD = struct.Struct(">BBHHBx")
_VERSION = 1
_REQUEST = 1
_MOST_BYTES = 0xFFF8
"""Content of one record; a multiple of eight needs no padding."""
_SHORT = 0x7F


class Kind(IntEnum):
    """What a record is."""

    BEGIN_REQUEST = 1
    ABORT_REQUEST = 2
    END_REQUEST = 3
    PARAMS = 4
    STDIN = 5
    STDOUT = 6
    STDERR = 7


def encode(kind: Kind, content: bytes = b"") -> bytes:
    """One record. `content` has 65,528 bytes at most."""
    return _HEAD.pack(_VERSION, kind, _REQUEST, len(content), 0) + content


def records(kind: Kind, content: bytes) -> Iterator[bytes]:
    """As many records as `content` needs; none for b"", which would be the end."""
    for start in range(0, len(content), _MOST_BYTES):
        yield encode(kind, content[start : start + _MOST_BYTES])


def encode_params(params: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Names and values, each pair behind its two lengths."""
    return b"".join(_length(name) + _length(value) + name + value for name, value in params)


def decode_head(head: bytes) -> tuple[int, int, int]:
    """Kind, bytes of content and bytes of padding. Raises `ValueError` for what is no record of ours."""
    version, kind, request, content_bytes, padding_bytes = _HEAD.unpack(head)
    if version != _VERSION:
        raise ValueError(f"a record of version {version}")
    if request != _REQUEST:
        raise ValueError(f"a record of request {request}, which was never sent")
    return kind, content_bytes, padding_bytes


def _length(data: bytes) -> bytes:
    size = len(data)
    return bytes((size,)) if size <= _SHORT else struct.pack(">I", size | 0x80000000)
