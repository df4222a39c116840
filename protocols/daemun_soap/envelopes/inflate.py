"""Compressed content (RFC 1952), read in small steps so that nothing grows beyond its limit unseen."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from daemun_soap.envelopes.prolog import malformed

__all__ = ["Inflater"]

_STEP_BYTES = 64 * 1024
_GZIP = 31


class Inflater:
    """Takes gzip as it comes and gives what it holds."""

    __slots__ = ("_stream",)

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(_GZIP)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Content in steps, none made before it is asked for. Raises `ExchangeError` if it is no gzip."""
        stream = self._stream
        while data and not stream.eof:
            try:
                content = stream.decompress(data, _STEP_BYTES)
            except zlib.error:
                raise malformed("its content is no gzip") from None
            data = stream.unconsumed_tail
            if content:
                yield content
        if stream.eof and (stream.unused_data or data):
            raise malformed("something follows its compressed content")

    def close(self) -> None:
        """Ends it. Raises `ExchangeError` if more should have come."""
        if not self._stream.eof:
            raise malformed("its compressed content is cut off")
