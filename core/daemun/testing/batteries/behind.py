"""The handler behind a layer, and how an exchange is passed through both."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from daemun.errors import ExchangeError
from daemun.handler import Layer
from daemun.message import EMPTY, Body, Buffered, Request, Response
from daemun.testing.batteries.messages import ListenedBody
from daemun.testing.batteries.rules import cannot_tell
from daemun.testing.batteries.subject import Subject

__all__ = ["Inner", "answering", "content_for", "passed", "read_all"]


class Inner:
    """The handler behind a layer: it answers as told, and remembers what came to it."""

    def __init__(self, answer: Callable[[Request], Awaitable[Response]] | None = None) -> None:
        self.requests: list[Request] = []
        self._answer = answer

    async def __call__(self, request: Request) -> Response:
        self.requests.append(request)
        if self._answer is not None:
            return await self._answer(request)
        return Response(200, (), EMPTY if request.method == b"HEAD" else Buffered(b"ok\n"))


def answering(response: Callable[[], Response]) -> Inner:
    """One that answers each request by what `response` gives."""

    async def answer(request: Request) -> Response:
        return response()

    return Inner(answer)


async def passed(layer: Layer, inner: Inner, request: Request) -> Response:
    """What comes back for `request`; the rule is left if it does not come to the handler behind the layer."""
    try:
        response = await layer(inner)(request)
    except ExchangeError as error:
        if inner.requests:
            raise
        cannot_tell(f"it lets no request pass: {error.reason.value}: {error}; see `headers` (--daemun-header)")
    if not inner.requests:
        status = response.status
        await response.body.aclose()
        cannot_tell(f"it lets no request pass, it answers {status} itself; see `headers` (--daemun-header)")
    return response


async def read_all(body: Body) -> bytes:
    """All that there is of a body."""
    found = b""
    while data := await body.read():
        found += data
    return found


def content_for(subject: Subject, body: ListenedBody, data: bytes) -> Body:
    """Content as `subject` gets it: in memory already where it says so."""
    return Buffered(data) if getattr(subject.thing, "buffer_bytes", 0) else body
