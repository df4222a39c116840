"""Content of a SOAP message on its way: looked at while it passes, and not passed to its end before it is right."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from daemun import Body, Buffered, ExchangeError, Headers, NoContent, Reason
from daemun_soap.envelopes.message import SHORT_BYTES, SoapMessage

__all__ = ["Check", "looked_at"]

Check = Callable[[SoapMessage], object]
"""What is asked of a message whose operation is known, and again when more of it was read. Raises `ExchangeError`."""


async def looked_at(body: Body, message: SoapMessage, check: Check, *, whole: bool) -> Body:
    """`body`, to be read from its beginning, of which so much was looked at that `check` was asked.

    `whole`: until the envelope is over; otherwise until its operation is known, and what follows is looked at when it
    is read. What streams is in memory when its end was met. Raises `ExchangeError`, also out of what it returns.
    """
    if isinstance(body, Buffered | NoContent):
        message.read(body.data)
        check(message)
        return body
    length = body.length
    if length is not None:
        limit = message.limits.max_envelope_bytes
        if message.alone and length > limit:
            raise ExchangeError(Reason.CONTENT_TOO_LARGE, f"SOAP message too large: more than {limit} bytes")
        if length <= SHORT_BYTES:
            gathered = await _gathered(body)
            message.read(gathered.data)
            check(message)
            return gathered
    pieces: list[bytes] = []
    offset = 0
    while not message.over and (whole or message.operation is None or offset < message.seen):
        data = await body.read()
        if not data:
            message.close()
            check(message)
            await body.aclose()
            return Buffered(b"".join(pieces), body.trailers)
        pieces.append(data)
        message.show(offset, data)
        offset += len(data)
        if message.operation is not None:
            check(message)
    return _PassingBody(body, message, pieces, check)


async def _gathered(body: Body) -> Buffered:
    pieces = []
    while data := await body.read():
        pieces.append(data)
    await body.aclose()
    return Buffered(b"".join(pieces), body.trailers)


class _PassingBody:
    """Content whose beginning was read already. One piece is held back until the next came, or the envelope is over:
    a back end never gets all of a message that was refused. Attachments pass unseen."""

    __slots__ = ("_body", "_check", "_held", "_message", "_offset", "_pieces")

    def __init__(self, body: Body, message: SoapMessage, pieces: list[bytes], check: Check) -> None:
        self._body = body
        self._check = check
        self._message = message
        self._offset = sum(map(len, pieces))
        self._pieces = deque(pieces)
        self._held = b"" if message.over or not pieces else self._pieces.pop()

    @property
    def length(self) -> int | None:
        return self._body.length

    @property
    def trailers(self) -> Headers:
        return self._body.trailers

    async def read(self) -> bytes:
        if self._pieces:
            return self._pieces.popleft()
        message = self._message
        while not message.over:
            data = await self._body.read()
            held, self._held = self._held, data
            if data:
                message.show(self._offset, data)
                self._offset += len(data)
            else:
                message.close()
            self._check(message)
            if held:
                return held
        if self._held:
            held, self._held = self._held, b""
            return held
        return await self._body.read()

    async def aclose(self) -> None:
        self._pieces.clear()
        self._held = b""
        await self._body.aclose()
