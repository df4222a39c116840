"""Content that is shown to somebody on its way, chunk by chunk, and passes as it is."""

from __future__ import annotations

from collections.abc import Callable

from daemun import Body, Buffered, Headers, NoContent

__all__ = ["shown"]


def shown(body: Body, show: Callable[[bytes], None]) -> Body:
    """`body`, of which `show` is given every chunk before it goes on; what `show` raises ends it."""
    kind = type(body)
    if kind is NoContent:
        return body
    if kind is Buffered:
        show(body.data)  # type: ignore[attr-defined]
        return body
    return _Shown(body, show)


class _Shown:
    """Content that streams, and is shown."""

    __slots__ = ("_body", "_show")

    def __init__(self, body: Body, show: Callable[[bytes], None]) -> None:
        self._body = body
        self._show = show

    @property
    def length(self) -> int | None:
        return self._body.length

    @property
    def trailers(self) -> Headers:
        return self._body.trailers

    async def read(self) -> bytes:
        data = await self._body.read()
        self._show(data)
        return data

    async def aclose(self) -> None:
        await self._body.aclose()
