"""Bodies in pieces, as a connection would bring them, and all of what a body holds."""

from __future__ import annotations

from daemun.headers import Headers
from daemun.message import Body

__all__ = ["Pieces", "content"]


class Pieces:
    """A body of pieces; a piece may be an error to raise. Empty ones are left out, for they would be its end."""

    def __init__(self, *pieces: bytes | Exception, trailers: Headers = (), length: int | None = None) -> None:
        self.length = length
        """What it says that its length is."""
        self.trailers: Headers = ()
        """Those that were given, once the end was read."""
        self.closed = 0
        """How often it was closed."""
        self._pieces = [piece for piece in pieces if piece]
        self._trailers = trailers

    async def read(self) -> bytes:
        """The next piece; b"" is the end."""
        if not self._pieces:
            self.trailers = self._trailers
            return b""
        return self._next()

    def _next(self) -> bytes:
        piece = self._pieces.pop(0)
        if isinstance(piece, Exception):
            raise piece
        return piece

    async def aclose(self) -> None:
        """Counts."""
        self.closed += 1


async def content(body: Body) -> bytes:
    """All that `body` holds. Raises what reading it raises, and `AssertionError` if its end does not stay the end."""
    found = b""
    while data := await body.read():
        found += data
    assert await body.read() == b"", "there is something behind the end of the body"
    return found
