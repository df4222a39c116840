"""The format of a file of cells: records behind each other, each whole before it is counted.

A header of 64 bytes holds a mark and how many bytes are in use. A record is a head of 16 bytes (bytes of text, number
of cells, checksum), its kind and labels as MessagePack, filled up to 8 bytes, and its cells as doubles of the machine.
So every cell is aligned, and a process can be killed at any instruction without leaving half a record behind.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct, unpack_from
from zlib import crc32

import msgspec

from daemun_prometheus.cells import Place, Record

__all__ = ["HEADER_BYTES", "MARK", "BrokenFileError", "encode", "places", "records"]

HEADER_BYTES = 64
MARK = b"daemun 1"
"""The first 8 bytes of a file that is in use; they are 0 until its header is whole."""

_USED = Struct("8xQ")
_HEAD = Struct("IIII")
_CELL_BYTES = 8
_DECODER = msgspec.msgpack.Decoder(tuple[str, tuple[str, ...]])


class BrokenFileError(ValueError):
    """A file that nobody could have written like this; what was read before it is right."""


def encode(kind: str, labels: tuple[str, ...], count: int) -> tuple[bytes, int]:
    """A record whose cells are 0, and where in it they begin. Its place must be a multiple of 8."""
    text = msgspec.msgpack.encode((kind, labels))
    head = _HEAD.pack(len(text), count, crc32(text, count), 0) + text
    head += bytes(-len(head) % _CELL_BYTES)
    return head + bytes(count * _CELL_BYTES), len(head)


def places(data: bytes) -> Iterator[Place]:
    """Where the cells of each record begin, in bytes. Raises `BrokenFileError` at the first that is not whole."""
    if len(data) < HEADER_BYTES or data[: len(MARK)] == bytes(len(MARK)):
        return  # its owner has just made it
    if data[: len(MARK)] != MARK:
        raise BrokenFileError("it is no file of cells")
    (used,) = _USED.unpack_from(data)
    if not HEADER_BYTES <= used <= len(data):
        raise BrokenFileError(f"{used} bytes should be in use of {len(data)}")
    at = HEADER_BYTES
    while at < used:
        if used - at < _HEAD.size:
            raise BrokenFileError(f"the record at {at} is cut")
        text_bytes, count, checksum, _ = _HEAD.unpack_from(data, at)
        cells = at + _HEAD.size + text_bytes
        cells += -cells % _CELL_BYTES
        end = cells + count * _CELL_BYTES
        text = data[at + _HEAD.size : at + _HEAD.size + text_bytes]
        if end > used or crc32(text, count) != checksum:
            raise BrokenFileError(f"the record at {at} is not whole")
        try:
            kind, labels = _DECODER.decode(text)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise BrokenFileError(f"the record at {at} cannot be read") from error
        yield Place(kind, labels, cells, count)
        at = end


def records(data: bytes) -> Iterator[Record]:
    """The records of a file. Raises `BrokenFileError` at the first that is not whole."""
    for kind, labels, at, size in places(data):
        yield Record(kind, labels, unpack_from(f"{size}d", data, at))
