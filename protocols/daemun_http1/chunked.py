"""Chunked transfer coding, read strictly (RFC 9112 §7.1). One decoder for both codecs: httptools cannot stop at the
end of a message, and h11 takes sizes beyond any integer."""

from __future__ import annotations

import re

from daemun import Headers

__all__ = ["FORBIDDEN_TRAILERS", "ChunkError", "Chunks"]

_SIZE = re.compile(
    rb"([0-9A-Fa-f]{1,15})[ \t]*"
    rb"(?:;[ \t]*[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?:[ \t]*=[ \t]*"
    rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
    rb"|\"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*\"))?[ \t]*)*"
)
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\t\x20-\x7e\x80-\xff]*)")
_MAX_LINE_BYTES = 4096
_MAX_OVERHEAD_BYTES = 64 * 1024

FORBIDDEN_TRAILERS = frozenset(
    (
        b"authorization",
        b"cache-control",
        b"connection",
        b"content-encoding",
        b"content-length",
        b"content-range",
        b"content-type",
        b"cookie",
        b"expect",
        b"forwarded",
        b"host",
        b"keep-alive",
        b"max-forwards",
        b"proxy-authorization",
        b"proxy-connection",
        b"range",
        b"set-cookie",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"via",
    )
)
"""Fields of framing, routing, identity and control, which a trailer section may not set (RFC 9110 §6.5.1)."""


class ChunkError(Exception):
    """The coding is broken; nothing after this point has a meaning."""


class Chunks:
    """Takes bytes as they come, gives content back."""

    __slots__ = (
        "_buffer",
        "_fields",
        "_in_trailers",
        "_left",
        "_max_fields",
        "_overhead",
        "done",
        "trailers",
    )

    def __init__(self, max_fields: int) -> None:
        self.done = False
        """The last chunk and its trailers were read; what follows is not ours."""
        self.trailers: Headers = ()
        self._buffer = b""
        self._left = 0  # content of the chunk that is to come, and its CR LF
        self._in_trailers = False
        self._fields: list[tuple[bytes, bytes]] = []
        self._max_fields = max_fields
        self._overhead = 0  # framing that brought no content yet, against a flood of it

    def decode(self, data: bytes) -> tuple[bytes, bytes]:
        """The content in `data`, and what follows the end of the message. Raises `ChunkError`."""
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        content: list[bytes] = []
        position, size = 0, len(data)
        while not self.done:
            if self._left > 2:
                piece = data[position : position + self._left - 2]
                content.append(piece)
                position += len(piece)
                self._left -= len(piece)
                self._overhead = max(0, self._overhead - len(piece))
                if self._left > 2:
                    break
            if self._left:
                if size - position < 2:
                    if data[position:] not in (b"", b"\r"):
                        raise ChunkError("a chunk does not end in CR LF")
                    break
                if data[position : position + 2] != b"\r\n":
                    raise ChunkError("a chunk does not end in CR LF")
                position += 2
                self._left = 0
            end = data.find(b"\n", position)
            if end < 0:
                if size - position > _MAX_LINE_BYTES + 1 or b"\r" in data[position : size - 1]:
                    raise ChunkError("a line of the chunked coding is malformed or too long")
                break
            line = data[position : end - 1]
            if data[end - 1 : end] != b"\r" or end <= position or len(line) > _MAX_LINE_BYTES:
                raise ChunkError("a line of the chunked coding does not end in CR LF or is too long")
            position = end + 1
            if self._in_trailers:
                self._trailer(line)
            else:
                self._size(line)
        if self.done:
            return b"".join(content), data[position:]
        self._buffer = data[position:]
        return content[0] if len(content) == 1 else b"".join(content), b""

    def _size(self, line: bytes) -> None:
        match = _SIZE.fullmatch(line)
        if match is None:
            raise ChunkError("a chunk size is malformed")
        self._overhead += len(line)
        if self._overhead > _MAX_OVERHEAD_BYTES:
            raise ChunkError("the chunked coding holds more framing than content")
        length = int(match[1], 16)
        if length:
            self._left = length + 2
        else:
            self._in_trailers = True

    def _trailer(self, line: bytes) -> None:
        if not line:
            self.trailers = tuple(self._fields)
            self.done = True
            return
        match = _FIELD.fullmatch(line)
        self._overhead += len(line)
        if match is None or len(self._fields) >= self._max_fields or self._overhead > _MAX_OVERHEAD_BYTES:
            raise ChunkError("the trailer section is malformed or too long")
        name = match[1].lower()
        if name not in FORBIDDEN_TRAILERS and not name.startswith(b"x-forwarded-") and b"_" not in name:
            self._fields.append((name, match[2].rstrip(b" \t")))
