"""Bytes in; heads and content out. Knows framing and limits, and nothing of sockets or of our messages."""

from __future__ import annotations

import re

from daemun import Headers
from daemun_http1.chunked import Chunks

__all__ = ["CHUNKED", "UNTIL_CLOSE", "Reader"]

CHUNKED = -1
UNTIL_CLOSE = -2


class Reader:
    """Reads one side of a connection: a head, its content, the next head."""

    __slots__ = ("_buffer", "_chunks", "_left", "_max_fields", "seen", "trailers")

    def __init__(self, max_fields: int) -> None:
        self.trailers: Headers = ()
        """Of the content that ended last."""
        self.seen = 0
        """Bytes of the head that is to come in which no end was found."""
        self._buffer = b""
        self._left = 0
        self._chunks: Chunks | None = None
        self._max_fields = max_fields

    def feed(self, data: bytes) -> None:
        """Takes what came."""
        self._buffer = self._buffer + data if self._buffer else data

    @property
    def waiting(self) -> bytes:
        """What came and was not asked for yet."""
        return self._buffer

    def take(self) -> bytes:
        """What came and was not asked for, given away."""
        data, self._buffer = self._buffer, b""
        return data

    def skip_empty_line(self) -> None:
        """Passes over the CR LF that old clients send after content (RFC 9112 §2.2)."""
        while self._buffer[:2] == b"\r\n":
            self._buffer = self._buffer[2:]

    def head(self, pattern: re.Pattern[bytes]) -> tuple[bytes, re.Match[bytes] | None] | None:
        """The next head with its match, or None until it is whole. No match: it is malformed."""
        buffer = self._buffer
        end = buffer.find(b"\r\n\r\n", self.seen - 3 if self.seen > 3 else 0)
        if end < 0:
            self.seen = len(buffer)
            return None
        self.seen = 0
        end += 4
        if end == len(buffer):
            block, self._buffer = buffer, b""
        else:
            block, self._buffer = buffer[:end], buffer[end:]
        return block, pattern.fullmatch(block)

    def expect(self, length: int) -> None:
        """Content of `length` bytes follows, or `CHUNKED`, or `UNTIL_CLOSE`."""
        self._left = length
        self.trailers = ()
        self._chunks = Chunks(self._max_fields) if length == CHUNKED else None

    @property
    def ended(self) -> bool:
        """The content was read to its end."""
        return self._left == 0

    @property
    def left(self) -> int:
        """Bytes of content to come; negative: not known."""
        return self._left

    def content(self) -> bytes:
        """Content that is there; b"" where there is none, now or (`ended`) ever. Raises `ChunkError`."""
        data = self._buffer
        if not data or self._left == 0:
            return b""
        if self._left > 0:
            if len(data) <= self._left:
                self._buffer = b""
            else:
                data, self._buffer = data[: self._left], data[self._left :]
            self._left -= len(data)
            return data
        self._buffer = b""
        chunks = self._chunks
        if chunks is None:
            return data
        data, rest = chunks.decode(data)
        if chunks.done:
            self._left = 0
            self._buffer = rest
            self.trailers = chunks.trailers
            self._chunks = None
        return data
