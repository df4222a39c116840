"""Frames as a tunnel sees them: where one ends, so that another can stand between two (RFC 6455 §5.2)."""

from __future__ import annotations

import struct

__all__ = ["PING", "Boundary", "close_frame"]

PING = b"\x89\x00"
"""A ping of a server, without data."""
_CLOSE = 8
_LONGEST_HEAD = 10
"""Of a frame without mask."""


def close_frame(code: int, reason: str) -> bytes:
    """A server's Close; `reason` is cut to what fits."""
    data = struct.pack(">H", code) + reason.encode()[:123].decode(errors="ignore").encode()
    return bytes((0x80 | _CLOSE, len(data))) + data


class Boundary:
    """Follows one direction of a WebSocket: whether its last frame is whole, and whether it was a Close."""

    __slots__ = ("_head", "_left", "closed")

    def __init__(self) -> None:
        self.closed = False
        """A Close began."""
        self._left = 0
        self._head = b""

    @property
    def whole(self) -> bool:
        """The next byte begins a frame."""
        return self._left == 0 and not self._head

    def feed(self, data: bytes | memoryview) -> None:
        """More bytes passed. Costs little for frames without mask whose heads are in one piece."""
        size, place = len(data), self._left
        if self._head:
            self._follow(data)
            return
        while place < size:
            if size - place < _LONGEST_HEAD or data[place] & 15 == _CLOSE or (length := data[place + 1]) & 0x80:
                self._left = 0
                self._follow(data[place:])
                return
            if length < 126:
                place += 2 + length
            elif length == 126:
                place += 4 + (data[place + 2] << 8 | data[place + 3])
            else:
                place += 10 + int.from_bytes(data[place + 2 : place + 10], "big")
        self._left = place - size

    def rest(self, data: bytes) -> int:
        """How many of the next bytes, `data`, belong to the frame that has begun."""
        if not self._head:
            return min(self._left, len(data))
        for size in range(1, min(len(data), 14) + 1):
            head = self._head + data[:size]
            if (length := _length(head)) is not None:
                return min(size + length, len(data))
        return len(data)

    def _follow(self, data: bytes | memoryview) -> None:
        """The same, for any frames in any pieces."""
        place, size = 0, len(data)
        while place < size:
            if self._left:
                step = min(self._left, size - place)
                self._left -= step
                place += step
                continue
            head = self._head + bytes(data[place : place + 14 - len(self._head)])
            length = _length(head)
            if length is None:
                self._head = head
                return
            self.closed = self.closed or head[0] & 15 == _CLOSE
            place += _head_size(head) - len(self._head)
            self._head = b""
            self._left = length


def _head_size(head: bytes) -> int:
    size = 2 + (4 if head[1] & 0x80 else 0)
    return size + {126: 2, 127: 8}.get(head[1] & 0x7F, 0)


def _length(head: bytes) -> int | None:
    """Bytes of payload that follow a frame's head; None: the head is not whole."""
    if len(head) < 2 or len(head) < _head_size(head):
        return None
    length = head[1] & 0x7F
    if length == 126:
        return int.from_bytes(head[2:4], "big")
    return int.from_bytes(head[2:10], "big") if length == 127 else length
