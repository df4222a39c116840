"""An error of ours as a response, for requests that no dialect claims: plain text, or a problem document."""

from __future__ import annotations

from http import HTTPStatus

import msgspec

from daemun.dates import http_date
from daemun.errors import ExchangeError
from daemun.message import Buffered, Request, Response

__all__ = ["REASON_FIELD", "render"]

REASON_FIELD = b"x-daemun-reason"
"""Marks an error as the gateway's own, with its `Reason`."""


def render(error: ExchangeError, request: Request | None = None) -> Response:
    """The response for `error`: RFC 9457 if the client takes JSON, a line of text otherwise."""
    headers: list[tuple[bytes, bytes]] = [
        (b"date", http_date()),
        (b"server", b"daemun"),
        (b"cache-control", b"no-store"),
        (REASON_FIELD, error.reason.value.encode()),
    ]
    if error.retry_after_seconds is not None:
        headers.append((b"retry-after", b"%d" % error.retry_after_seconds))
    accept = (request.header(b"accept") or b"") if request is not None else b""
    if b"json" in accept:
        problem = {
            "type": "about:blank",
            "title": _phrase(error.status),
            "status": error.status,
            "detail": error.message,
            "reason": error.reason.value,
            "side": error.side.value,
        }
        headers.append((b"content-type", b"application/problem+json"))
        return Response(error.status, tuple(headers), Buffered(msgspec.json.encode(problem)))
    headers.append((b"content-type", b"text/plain; charset=utf-8"))
    text = f"{error.status} {_phrase(error.status)}\n{error.side.value}: {error.message}\n"
    return Response(error.status, tuple(headers), Buffered(text.encode()))


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Client Closed Request" if status == 499 else "Error"
