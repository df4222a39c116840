"""Content of a SOAP message on its way: nothing passes before its envelope is right."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from daemun import Body, Buffered, ExchangeError, Headers, NoContent, Reason
from daemun_soap.envelopes.message import SHORT_BYTES, SoapMessage

__all__ = ["Check", "looked_at"]

Check = Callable[[SoapMessage], object]
"""What is asked of a message whose operation is known, and again when more of it was read. Raises `ExchangeError`."""


async def looked_at(body: Body, message: SoapMessage, check: Check) -> Body:
    """`body`, to be read from its beginning: its envelope was read to the end and is right, attachments stream.

    Raises `ExchangeError`.
    """
    try:
        return await _looked_at(body, message, check)
    except BaseException:
        message.drop()
        raise


async def _looked_at(body: Body, message: SoapMessage, check: Check) -> Body:
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
    offset = 0
    while not message.over:
        data = await body.read()
        if not data:
            message.close()
            check(message)
            await body.aclose()
            return Buffered(b"".join(pieces), body.trailers)
        pieces.append(data)
        message.show(offset, data)
        offset += len(data)
        _bound(offset, limit)  # what is compressed may be nothing for ever
        if message.operation is not None:
            check(message)
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
