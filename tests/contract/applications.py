"""An application, a middleware and a WSGI application, as small as they can be: what the batteries put behind `asgi`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

__all__ = ["Passing", "asgi", "wsgi"]

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
_CONTENT = b"hello\n"


async def asgi(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Says hello."""
    if scope["type"] == "http":
        headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(_CONTENT))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else _CONTENT})


class Passing:
    """A middleware that does nothing."""

    def __init__(self, app: Callable[[dict[str, Any], Receive, Send], Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


def wsgi(environ: dict[str, Any], start_response: Callable[[str, list[tuple[str, str]]], object]) -> Iterable[bytes]:
    """Says hello."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(_CONTENT)))])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [_CONTENT]
