"""Routes that are chosen by content: how its beginning is looked at, and read again by who comes after."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Protocol, TypeVar

from daemun.errors import ExchangeError, Reason
from daemun.extend.culprit import ContractError
from daemun.extend.types import Matcher
from daemun.headers import Headers
from daemun.message import EMPTY, Body, Buffered, NoContent, Request

__all__ = ["ByContent", "Peeked", "first_match"]


class ByContent(Protocol):
    """A route with what it asks of content."""

    matchers: tuple[tuple[Matcher, int], ...]
    """Matchers, each with how many bytes it may look at."""


R = TypeVar("R", bound=ByContent)


class Peeked:
    """Content whose beginning was looked at. Read, it begins at its beginning."""

    __slots__ = ("_body", "_ended", "_pieces", "limit", "size")

    def __init__(self, body: Body) -> None:
        self.limit = 0
        """How much may be looked at."""
        self.size = 0
        """How much was."""
        self._body = body
        self._ended = False
        self._pieces: deque[bytes] = deque()

    # --- for matchers ---

    @property
    def seen(self) -> tuple[bytes, ...]:
        """What was looked at so far."""
        return tuple(self._pieces)

    async def more(self) -> bytes:
        """The next bytes, which stay to be read; b"" at the end. Raises `ExchangeError` above the limit."""
        if self._ended:
            return b""
        if self.size >= self.limit:
            raise ExchangeError(
                Reason.CONTENT_TOO_LARGE, f"the route cannot be told by the first {self.limit} bytes of the content"
            )
        data = await self._body.read()
        if data:
            self.size += len(data)
            self._pieces.append(data)
        else:
            self._ended = True
        return data

    @property
    def whole(self) -> Body:
        """All of the content, to be read from its beginning."""
        if not self._pieces and not self._ended:
            return self._body
        if self._ended:
            return Buffered(b"".join(self._pieces), self._body.trailers)
        return self

    # --- as a body ---

    @property
    def length(self) -> int | None:
        return self._body.length

    @property
    def trailers(self) -> Headers:
        return self._body.trailers

    async def read(self) -> bytes:
        if self._pieces:
            return self._pieces.popleft()
        return await self._body.read()

    async def aclose(self) -> None:
        self._pieces.clear()
        await self._body.aclose()


class _InMemory:
    """Content that needs no care to be read again."""

    __slots__ = ("_data", "_told", "limit", "whole")

    def __init__(self, body: Buffered | NoContent) -> None:
        self.limit = 0
        self.whole: Body = body
        self._data = body.data
        self._told = not body.data

    @property
    def seen(self) -> tuple[bytes, ...]:
        return (self._data,) if self._told and self._data else ()

    async def more(self) -> bytes:
        if self._told:
            return b""
        self._told = True
        return self._data


async def first_match(request: Request, routes: Iterable[R]) -> tuple[R, Request] | None:
    """The first route whose matchers all take `request`, and the request with content to be read from its beginning.

    Raises what a matcher raises.
    """
    body = EMPTY if request.protocol else request.body  # a tunnel has no content
    peek = _InMemory(body) if isinstance(body, Buffered | NoContent) else Peeked(body)
    for route in routes:
        for matcher, limit in route.matchers:
            peek.limit = limit
            took = await matcher(request, peek)
            if took is not True:
                if took is not False:
                    raise ContractError(f"a matcher returned {type(took).__name__}; accepted: True or False", matcher)
                break
        else:
            whole = peek.whole
            return route, request if whole is body else request.with_body(whole)
    return None
