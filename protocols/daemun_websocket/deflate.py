"""permessage-deflate (RFC 7692) with bounds: the two halves of its coding."""

from __future__ import annotations

import zlib

__all__ = ["MIN_BITS", "Deflater", "Inflater", "TooLong"]

_TAIL = b"\x00\x00\xff\xff"
"""What a message leaves out at its end (RFC 7692 §7.2.1)."""
_NOTHING = b"\x00"
"""No bytes, compressed (RFC 7692 §7.2.3.6)."""
MIN_BITS = 9
"""zlib compresses with no smaller window."""
_LEVEL = 1
"""The worker's other connections wait while a message is compressed."""
_MAX_ENDS = 16
"""Final blocks in one message: usually none, and each costs a new decompressor."""


class TooLong(Exception):
    """More came out than may."""


class Inflater:
    """Decompresses messages, never further than it is told. It holds no memory before the first one."""

    __slots__ = ("_bits", "_ends", "_keeps", "_run", "_stream")

    def __init__(self, bits: int, keeps: bool) -> None:
        self._bits = bits
        self._keeps = keeps
        self._stream: zlib._Decompress | None = None
        self._run = False
        """The stream is inside of a block, or between two."""
        self._ends = 0

    def inflate(self, data: bytes, limit: int) -> bytes:
        """The next bytes of a message. Raises `TooLong` above `limit` of them, `zlib.error` if they are none."""
        found = b""
        while data:
            if self._stream is None:
                self._stream = zlib.decompressobj(-self._bits)
            stream = self._stream
            found += stream.decompress(data, limit + 1 - len(found))
            if len(found) > limit:
                raise TooLong
            self._run = not stream.eof
            if self._run:
                break
            self._stream = None  # a final block: what follows it is a stream of its own (RFC 7692 §7.2.3.4)
            self._ends += 1
            if self._ends > _MAX_ENDS:
                raise zlib.error("too many final blocks in one message")
            data = stream.unused_data
        return found

    def finish(self, limit: int) -> bytes:
        """What is left of the message at its end. Raises as `inflate` does."""
        found = self.inflate(_TAIL, limit) if self._run else b""
        self._run, self._ends = False, 0
        if not self._keeps:
            self._stream = None
        return found


class Deflater:
    """Compresses messages. It holds no memory before the first one."""

    __slots__ = ("_bits", "_keeps", "_stream")

    def __init__(self, bits: int, keeps: bool) -> None:
        self._bits = bits
        self._keeps = keeps
        self._stream: zlib._Compress | None = None

    def deflate(self, data: bytes, *, last: bool) -> bytes:
        """The next piece of a message; the other side can decompress it as soon as it is there."""
        if self._stream is None:
            self._stream = zlib.compressobj(_LEVEL, zlib.DEFLATED, -self._bits, self._bits - 7)
        packed = self._stream.compress(data) + self._stream.flush(zlib.Z_SYNC_FLUSH)
        if not last:
            return packed
        if not self._keeps:
            self._stream = None
        return packed[: -len(_TAIL)] or _NOTHING
