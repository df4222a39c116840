"""The framing of gRPC: a byte of flags and four of length before each message, whatever the chunks are.

Connect's envelopes and the frames of gRPC-Web are the same, with flags of their own.
"""

from __future__ import annotations

from typing import NamedTuple

from daemun import ExchangeError, Reason

__all__ = ["COMPRESSED", "PREFIX_BYTES", "Counter", "Message", "Reader", "frame", "too_long"]

COMPRESSED = 0x01
"""The flag of a message that is compressed."""
PREFIX_BYTES = 5


def frame(data: bytes, flags: int = 0) -> bytes:
    """One message with its prefix."""
    return b"%c%b%b" % (flags, len(data).to_bytes(4, "big"), data)


class Message(NamedTuple):
    """One message."""

    flags: int
    data: bytes


class Counter:
    """Counts the messages that pass in chunks of any size, and refuses those that are too long. It keeps no content."""

    __slots__ = ("_left", "_max_bytes", "_prefix", "_side", "begun")

    def __init__(self, side: str, max_bytes: int = 0) -> None:
        """`side` is whose messages they are, in words. `max_bytes`: the longest that may pass; 0: any."""
        self.begun = 0
        """Messages whose prefix has passed."""
        self._side = side
        self._max_bytes = max_bytes
        self._prefix = b""
        self._left = 0

    @property
    def inside(self) -> bool:
        """A message has begun and not ended."""
        return bool(self._left or self._prefix)

    def feed(self, data: bytes) -> None:
        """The next chunk. Raises `ExchangeError` if a message begins in it that is too long."""
        at, size = self._left, len(data)
        while at < size:
            begin = at
            at += PREFIX_BYTES - len(self._prefix)
            prefix = self._prefix + data[begin:at]
            if len(prefix) < PREFIX_BYTES:
                self._prefix, self._left = prefix, 0
                return
            length = int.from_bytes(prefix[1:], "big")
            if 0 < self._max_bytes < length:
                raise too_long(self._side, length, self._max_bytes)
            self.begun += 1
            self._prefix = b""
            at += length
        self._left = at - size


class Reader:
    """Takes messages out of chunks of any size. It keeps what is not complete, never more than one message is long."""

    __slots__ = ("_max_bytes", "_side", "_waiting")

    def __init__(self, side: str, max_bytes: int) -> None:
        """`side` is whose messages they are, in words. `max_bytes`: the longest that is taken."""
        self._side = side
        self._max_bytes = max_bytes
        self._waiting = bytearray()

    @property
    def inside(self) -> bool:
        """A message has begun and not ended."""
        return bool(self._waiting)

    def feed(self, data: bytes) -> list[Message]:
        """The messages that end in the next chunk. Raises `ExchangeError` if one begins that is too long."""
        waiting = self._waiting
        waiting += data
        found, at = [], 0
        while len(waiting) - at >= PREFIX_BYTES:
            begin = at + PREFIX_BYTES
            length = int.from_bytes(waiting[at + 1 : begin], "big")
            if length > self._max_bytes:
                raise too_long(self._side, length, self._max_bytes)
            if len(waiting) < begin + length:
                break
            found.append(Message(waiting[at], bytes(waiting[begin : begin + length])))
            at = begin + length
        del waiting[:at]
        return found


def too_long(side: str, length: int, most: int) -> ExchangeError:
    """The error for a message of `length` bytes where `most` are taken."""
    return ExchangeError(Reason.CONTENT_TOO_LARGE, f"a message of the {side} has {length} bytes; accepted: {most}")
