"""Filters that want the content of a request in memory."""

from __future__ import annotations

from daemun.errors import ExchangeError, Reason
from daemun.handler import Handler, Layer
from daemun.message import EMPTY, Buffered, NoContent, Request, Response

__all__ = ["buffered"]


def buffered(limit: int, layer: Layer) -> Layer:
    """`layer`, whose requests have their content in memory, up to `limit` bytes; as it is if that is 0.

    A larger content is refused with 413.
    """
    if not limit:
        return layer

    def wrapped(handler: Handler) -> Handler:
        filtered = layer(handler)

        async def handle(request: Request) -> Response:
            body = request.body
            if isinstance(body, NoContent):
                return await filtered(request)
            if body.length is not None and body.length > limit:
                raise ExchangeError(Reason.CONTENT_TOO_LARGE, f"the content is larger than {limit} bytes")
            if isinstance(body, Buffered):
                return await filtered(request)
            chunks, size = [], 0
            while chunk := await body.read():
                size += len(chunk)
                if size > limit:
                    raise ExchangeError(Reason.CONTENT_TOO_LARGE, f"the content is larger than {limit} bytes")
                chunks.append(chunk)
            data = b"".join(chunks)
            return await filtered(request.with_body(Buffered(data, body.trailers) if data or body.trailers else EMPTY))

        return handle

    return wrapped
