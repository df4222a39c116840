"""Bytes in; heads and content out. Knows framing and limits, and nothing of sockets or of our messages."""

from __future__ import annotations

from daemun import Headers
from daemun_http1.chunked import Chunks

__all__ = ["CHUNKED", "MAX_LENGTH_DIGITS", "RELAY_BYTES", "UNBOUNDED_BYTES", "UNTIL_CLOSE", "Reader"]

CHUNKED = -1
UNTIL_CLOSE = -2
MAX_LENGTH_DIGITS = 18
"""Of a `Content-Length`: no integer of any recipient overflows."""
RELAY_BYTES = 64 * 1024
"""Content of which so much is left may be passed on without a look at it."""
UNBOUNDED_BYTES = 1 << 62
"""More than ever comes."""


class Reader:
    """Reads one side of a connection: a head, its content, the next head."""

    __slots__ = ("_chunks", "_max_fields", "left", "seen", "trailers", "waiting")

    def __init__(self, max_fields: int) -> None:
        self.trailers: Headers = ()
        """Of the content that ended last."""
        self.seen = 0
        """Bytes of the head that is to come in which no end was found."""
        self.waiting = b""
        """What came and was not asked for yet."""
        self.left = 0
        """Bytes of content to come; 0: it was read to its end; negative: not known."""
        self._chunks: Chunks | None = None
        self._max_fields = max_fields

    def feed(self, data: bytes) -> None:
        """Takes what came."""
        self.waiting = self.waiting + data if self.waiting else data

    def take(self, length: int = -1) -> bytes:
        """What came and was not asked for, given away: all of it, or its first `length` bytes."""
        data = self.waiting
        if length < 0 or length == len(data):
            self.waiting = b""
            return data
        self.waiting = data[length:]
        return data[:length]

    def skip_empty_line(self) -> None:
        """Passes over the CR LF that old clients send after content (RFC 9112 §2.2)."""
        while self.waiting[:2] == b"\r\n":
            self.waiting = self.waiting[2:]
            self.seen = 0

    def head(self, data: bytes = b"") -> bytes:
        """Takes `data`, and gives the next head with its empty line; b"" until it is whole."""
        buffer = self.waiting
        if data:
            buffer = buffer + data if buffer else data
        end = buffer.find(b"\r\n\r\n", self.seen - 3 if self.seen > 3 else 0)
        if end < 0:
            self.waiting = buffer
            self.seen = len(buffer)
            return b""
        self.seen = 0
        end += 4
        if end == len(buffer):
            self.waiting = b""
            return buffer
        self.waiting = buffer[end:]
        return buffer[:end]

    def expect(self, length: int) -> None:
        """Content of `length` bytes follows, or `CHUNKED`, or `UNTIL_CLOSE`."""
        self.left = length
        self.trailers = ()
        self._chunks = Chunks(self._max_fields) if length == CHUNKED else None

    def content(self) -> bytes:
        """Content that is there; b"" where there is none, now or (`left` is 0) ever. Raises `ChunkError`."""
        data = self.waiting
        if not data or self.left == 0:
            return b""
        if self.left > 0:
            if len(data) <= self.left:
                self.waiting = b""
            else:
                data, self.waiting = data[: self.left], data[self.left :]
            self.left -= len(data)
            return data
        self.waiting = b""
        chunks = self._chunks
        if chunks is None:
            return data
        data, rest = chunks.decode(data)
        if chunks.done:
            self.left = 0
            self.waiting = rest
            self.trailers = chunks.trailers
            self._chunks = None
        return data
