"""Content of a SOAP message on its way: nothing passes before its envelope is right."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from daemun import Body, Buffered, ExchangeError, Headers, NoContent, Reason
from daemun_soap.envelopes.message import SHORT_BYTES, SoapMessage

__all__ = ["Check", "Held", "looked_at"]

Check = Callable[[SoapMessage], object]
"""What is asked of a message whose operation is known, and again when more of it was read. Raises `ExchangeError`."""


class Held:
    """What is in memory of long messages whose envelopes are not complete yet, over all of a filter: each for itself
    could be as long as an envelope may be, and slow."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0

    def grow(self, before: int, size: int) -> None:
        """A message that held `before` bytes holds `size`. Raises `ExchangeError` if that is too much beside others."""
        others = self._bytes - before
        if others > 0 and others + size > self._max_bytes:
            raise ExchangeError(
                Reason.OVERLOADED,
                f"SOAP messages that are not complete have more than {self._max_bytes} bytes together",
                retry_after_seconds=1,
            )
        self._bytes = others + size

    def release(self, size: int) -> None:
        """It holds them no longer."""
        self._bytes -= size


async def looked_at(body: Body, message: SoapMessage, check: Check, held: Held) -> Body:
    """`body`, to be read from its beginning: its envelope was read to the end and is right, attachments stream.

    Raises `ExchangeError`.
    """
    try:
        return await _looked_at(body, message, check, held)
    except BaseException:
        message.drop()
        raise


async def _looked_at(body: Body, message: SoapMessage, check: Check, held: Held) -> Body:
    if isinstance(body, Buffered | NoContent):
        message.read(body.data)
        check(message)
        return body
    limit = None if message.media.boundary else message.limits.max_envelope_bytes
    length = body.length
    if length is not None:
        _bound(length, limit)
        if length <= SHORT_BYTES:
            gathered = await _gathered(body)
            message.read(gathered.data)
            check(message)
            return gathered
    pieces: list[bytes] = []
    offset = counted = 0
    try:
        while not message.over:
            data = await body.read()
            if not data:
                message.close()
                check(message)
                await body.aclose()
                return Buffered(b"".join(pieces), body.trailers)
            if offset + len(data) > SHORT_BYTES:
                held.grow(counted, offset + len(data))
                counted = offset + len(data)
            pieces.append(data)
            message.show(offset, data)
            offset += len(data)
            _bound(offset, limit)  # what is compressed may be nothing for ever
            if message.operation is not None:
                check(message)
    finally:
        held.release(counted)
    check(message)
    return _PassingBody(body, pieces)


def _bound(size: int, limit: int | None) -> None:
    if limit is not None and size > limit:
        raise ExchangeError(Reason.CONTENT_TOO_LARGE, f"SOAP message too large: more than {limit} bytes")


async def _gathered(body: Body) -> Buffered:
    pieces = []
    while data := await body.read():
        pieces.append(data)
    await body.aclose()
    return Buffered(b"".join(pieces), body.trailers)


class _PassingBody:
    """Content whose beginning was read already."""

    __slots__ = ("_body", "_pieces")

    def __init__(self, body: Body, pieces: list[bytes]) -> None:
        self._body = body
        self._pieces = deque(pieces)

    @property
    def length(self) -> int | None:
        return self._body.length

    @property
    def trailers(self) -> Headers:
        return self._body.trailers

    async def read(self) -> bytes:
        return self._pieces.popleft() if self._pieces else await self._body.read()

    async def aclose(self) -> None:
        self._pieces.clear()
        await self._body.aclose()
